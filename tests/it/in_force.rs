//! In force at once, over the API of the real binary while 64 callers ask: the very next read after the answer to a grant is
//! allowed, the very next one after that to its revocation is denied, and nobody heard otherwise in between.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

use crate::helpers::{
    following::Databases,
    office::{self, Administrator},
    postgres::Postgres,
    sidecar::{Doors, Told, wait_for},
    sqlite::Sqlite,
};

const CALLERS: usize = 64;
const ROUNDS: usize = 6;
/// Callers think between their questions: what is tested is the order, not how much a test machine bears.
const PAUSE: Duration = Duration::from_millis(500);

fn reads() -> Json {
    json!({
        "subject": { "type": "User", "id": "ana" },
        "action": { "name": "read", "properties": { "fields": ["clin.summary"] } },
        "resource": { "type": "Client", "id": "C4" },
        "context": { "session": { "mfa": true, "idle_seconds": 5, "age_seconds": 60 } },
    })
}

fn glass(round: usize) -> Json {
    json!({
        "subject": { "type": "User", "id": "ana" }, "client": "C4", "reason_code": "COVERING",
        "justification": format!("Covering for a colleague on leave, round {round}"),
        "session": { "mfa": true, "idle_seconds": 5, "age_seconds": 60 },
    })
}

/// The decision about ana and C4; `None`: a busy machine was late, and said so.
fn decided(doors: &Doors) -> Option<bool> {
    let told = doors.unix().ask(&reads()).unwrap();
    let body = told.json();
    let is_late = told.status == 503 || body["context"]["reason"].as_str().is_some_and(|why| why.starts_with("data_"));
    assert!(is_late || told.status == 200, "{}", told.body);
    (!is_late).then(|| body["decision"].as_bool().unwrap())
}

/// What came of a call that a busy machine was late with at first, and said so: nothing was changed.
fn at_last(mut call: impl FnMut() -> Told) -> Told {
    wait_for("the call is answered in time", || Some(call()).filter(|told| told.status != 503))
}

struct Heard {
    asked: Instant,
    answered: Instant,
    is_allow: bool,
}

/// From one instant to another only this may be heard: by who asked after the first and heard before the other.
struct Span {
    from: Instant,
    to: Instant,
    is_allow: bool,
}

/// Asks on and on.
fn asks(doors: &Doors, is_over: &AtomicBool, answers: &AtomicUsize) -> Vec<Heard> {
    let mut heard = Vec::new();
    while !is_over.load(SeqCst) {
        let asked = Instant::now();
        if let Some(is_allow) = decided(doors) {
            heard.push(Heard { asked, answered: Instant::now(), is_allow });
            answers.fetch_add(1, SeqCst);
        }
        thread::sleep(PAUSE);
    }
    heard
}

/// Grants and revokes again and again, and reads next each time. No line is kept from call to call: on a busy machine
/// it is idle for so long that the sidecar closes it.
fn turns(doors: &Doors, answers: &AtomicUsize) -> Vec<Span> {
    let mut officer = Administrator::new(doors, "sid");
    let all_asked = || {
        let before = answers.load(SeqCst);
        wait_for("the callers hear answers", || (answers.load(SeqCst) > before + CALLERS).then_some(()));
    };
    let next = |is_allow: bool, round: usize| {
        let decision = wait_for("a decision comes", || decided(doors));
        assert_eq!(decision, is_allow, "the next read, round {round}");
    };
    let mut spans = Vec::new();
    all_asked();
    next(false, 0);
    for round in 0..ROUNDS {
        let granted = at_last(|| doors.unix().post("/grants/v1/emergency", &glass(round)).unwrap());
        let from = Instant::now();
        assert_eq!(granted.status, 201, "{}", granted.body);
        next(true, round);
        all_asked();
        let id = granted.json()["grant_id"].as_str().unwrap().to_owned();
        spans.push(Span { from, to: Instant::now(), is_allow: true });
        let path = format!("/admin/v1/grants/{id}/revoke");
        let mut revokes = || officer.post(&path, &json!({}), None);
        let revoked = at_last(|| revokes().or_else(|_closed| revokes()).unwrap());
        let from = Instant::now();
        assert_eq!(revoked.status, 200, "{}", revoked.body);
        next(false, round);
        all_asked();
        spans.push(Span { from, to: Instant::now(), is_allow: false });
    }
    spans
}

fn what_is_granted_is_read_next_and_what_is_revoked_is_not((app, store): (String, String)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (sidecar, _store) = runtime.block_on(office::prepared(&app, &store));
    let sidecar = sidecar.started();
    let doors = sidecar.doors();
    wait_for("it is ready", || (doors.probe("/readyz").status == 200).then_some(()));
    let (is_over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (heard, spans) = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| asks(&doors, &is_over, &answers))).collect();
        // Whatever goes wrong, the callers are let go.
        let done = catch_unwind(AssertUnwindSafe(|| turns(&doors, &answers)));
        is_over.store(true, SeqCst);
        let heard: Vec<Heard> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
        (heard, done.unwrap_or_else(|panic| resume_unwind(panic)))
    });
    for (number, span) in spans.iter().enumerate() {
        let within: Vec<&Heard> =
            heard.iter().filter(|heard| heard.asked >= span.from && heard.answered <= span.to).collect();
        assert!(within.len() > CALLERS / 4, "span {number}: {} answers only", within.len());
        let wrong = within.iter().filter(|heard| heard.is_allow != span.is_allow).count();
        assert_eq!(wrong, 0, "span {number}: of {} answers, all to be {}", within.len(), span.is_allow);
    }
}

#[test]
fn what_is_granted_is_read_next_and_what_is_revoked_is_not_on_sqlite() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(Sqlite::demo());
    what_is_granted_is_read_next_and_what_is_revoked_is_not((world.url("app"), world.url("store")));
}

/// With whole feeds, so that facts are kept between questions.
#[test]
fn what_is_granted_is_read_next_and_what_is_revoked_is_not_on_postgres() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let databases = runtime.block_on(Databases::on(Postgres::shared()));
    what_is_granted_is_read_next_and_what_is_revoked_is_not((databases.app.clone(), databases.store.clone()));
}
