//! Two administrators who move the same window by the state they read, 64 callers who ask meanwhile, and `kill -9` in
//! between: no update is lost, no change is without its record, and no record without its change.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use chaperone::{
    audit::Verdict,
    domain::{Timestamp, mapping::Source},
    store::{Sql, Store},
};
use serde_json::{Value as Json, json};

use crate::helpers::{
    office::{self, Administrator, number},
    random::Dice,
    sidecar::{DEADLINE, Doors, Receipt, Sidecar, wait_for},
    world::World,
};

const CALLERS: usize = 64;
const KILLS: usize = 6;
/// Callers think between their questions: a test machine that only answers them would come to no change.
const PAUSE: Duration = Duration::from_millis(500);
/// Whom and what it is about; without an end at first.
const ASSIGNMENT: &str = "A3";

/// What one administrator tried.
#[derive(Debug, Default)]
struct Tried {
    made: Vec<String>,
    /// It was another state by then.
    late: Vec<String>,
    /// No answer came: it stands or it does not.
    unknown: Vec<String>,
}

/// Moves the end on and on, by what was read before.
fn moves(doors: &Doors, (who, first): (&'static str, i64), went_on: &[AtomicUsize; 3], is_over: &AtomicBool) -> Tried {
    let mut administrator = Administrator::new(doors, who);
    let path = format!("/admin/v1/assignments/{ASSIGNMENT}");
    let mut tried = Tried::default();
    for turn in 0.. {
        if is_over.load(SeqCst) {
            break;
        }
        let Ok(shown) = administrator.get(&path) else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        if shown.status != 200 {
            continue;
        }
        let version = shown.json()["version"].as_str().unwrap().to_owned();
        // Each end is of one call alone.
        let to = Timestamp::from_second(4_102_444_800 + 2 * turn + first).unwrap().to_string();
        let told = administrator.post(&format!("{path}/window"), &json!({ "to": to }), Some(&version));
        match told.as_ref().map(|told| told.status) {
            Ok(200) => {
                tried.made.push(to);
                went_on[usize::try_from(first).unwrap()].fetch_add(1, SeqCst);
            }
            Ok(412) => {
                tried.late.push(to);
                went_on[2].fetch_add(1, SeqCst);
            }
            // 503: cut off, or not begun.
            Err(_) | Ok(503) => tried.unknown.push(to),
            Ok(other) => panic!("{other}: {told:?}"),
        }
    }
    tried
}

/// Asks what the assignment allows, and keeps the receipts of the answers.
fn asks(doors: &Doors, is_over: &AtomicBool) -> Vec<Receipt> {
    let question = json!({
        "subject": { "type": "User", "id": "ana" },
        "action": { "name": "read", "properties": { "fields": ["clin.plan"] } },
        "resource": { "type": "Client", "id": "C2" },
        "context": { "session": { "mfa": true, "idle_seconds": 5, "age_seconds": 60 } },
    });
    let mut receipts = Vec::new();
    while !is_over.load(SeqCst) {
        let told = doors.unix_if_there().and_then(|mut line| line.ask(&question));
        if let Ok(told) = told
            && told.status == 200
        {
            let body = told.json();
            let is_outage = body["context"]["reason"].as_str().is_some_and(|why| why.starts_with("data_"));
            assert!(is_outage || body["decision"] == true, "in force whatever its end: {}", told.body);
            receipts.push(told.receipt());
        }
        thread::sleep(PAUSE);
    }
    receipts
}

/// The ends that the trail tells of in its order, those aside that it took back: each with the one before it.
fn told(sidecar: &Sidecar) -> Vec<(Json, Json)> {
    let records = sidecar.records();
    let events = |event: &'static str| records.iter().filter(move |(_, line)| line["detail"]["event"] == event);
    let taken_back: BTreeSet<&str> =
        events("not_made").map(|(_, line)| line["detail"]["change"].as_str().unwrap()).collect();
    let stand = events("moved").filter(|(_, line)| !taken_back.contains(line["detail"]["change"].as_str().unwrap()));
    let ends = |line: &Json| (line["detail"]["before"]["to"].clone(), line["detail"]["after"]["to"].clone());
    stand.map(|(_, line)| ends(line)).collect()
}

async fn end_in(store: &Store) -> Json {
    let mut transaction = store.read().await.unwrap();
    let sql = Sql::both("SELECT valid_to FROM assignments WHERE id = 'A3'");
    let row = transaction.row(sql, &[]).await.unwrap().unwrap();
    row.at("valid_to").unwrap().map_or(Json::Null, |to| to.to_string().into())
}

/// Kills it while both change something, until one was in the other's way.
fn kills(sidecar: &mut Sidecar, went_on: &[AtomicUsize; 3]) {
    let mut dice = Dice::new(20_260_310);
    let both_go_on = || {
        let before = [went_on[0].load(SeqCst), went_on[1].load(SeqCst)];
        let is_more = |of: usize| went_on[of].load(SeqCst) > before[of];
        wait_for("both have changed something", || (is_more(0) && is_more(1)).then_some(()));
    };
    for _ in 0..KILLS {
        both_go_on();
        thread::sleep(Duration::from_millis(dice.next() % 100));
        sidecar.kill();
        sidecar.start();
    }
    both_go_on();
    wait_for("one was in the other's way", || (went_on[2].load(SeqCst) > 0).then_some(()));
}

/// What the administrators were told against what the trail tells.
fn agree(tried: &[Tried], told: &[(Json, Json)]) {
    let mut stand: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, after) in told {
        *stand.entry(after.as_str().unwrap()).or_default() += 1;
    }
    let all = |of: fn(&Tried) -> &Vec<String>| tried.iter().flat_map(of).map(String::as_str).collect::<BTreeSet<_>>();
    let (made, late, unknown) = (all(|tried| &tried.made), all(|tried| &tried.late), all(|tried| &tried.unknown));
    for to in &made {
        assert_eq!(stand.get(to), Some(&1), "{to} was acknowledged");
    }
    for to in &late {
        assert_eq!(stand.get(to), None, "{to} was refused");
    }
    for to in stand.keys() {
        assert!(made.contains(to) || unknown.contains(to), "{to} was asked for by nobody");
    }
    println!(
        "{KILLS} kills, {CALLERS} callers: {} changes made, {} refused as late, {} unanswered of which {} stand",
        made.len(),
        late.len(),
        unknown.len(),
        stand.len() - made.len(),
    );
}

async fn no_update_is_lost_and_each_change_has_its_record(world: World) {
    let another = "INSERT INTO user_roles (id, user_id, tenant_id, role, granted_by, valid_from) \
                   VALUES ('r_adm2', 'adm', 'T1', 'super_admin', 'sid', '2025-01-01T00:00:00Z')";
    world.execute(Source::App, another).await;
    let (sidecar, store) = office::prepared(&world.url(Source::App), &world.url(Source::Store)).await;
    let mut sidecar = sidecar.started();
    let doors = sidecar.doors();
    // Changes of either, and those that were refused as late.
    let (is_over, went_on) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; 3]);
    let (tried, receipts) = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| asks(&doors, &is_over))).collect();
        let administrators = [("sid", 0), ("adm", 1)].map(|who| {
            let (doors, went_on, is_over) = (&doors, &went_on, &is_over);
            scope.spawn(move || moves(doors, who, went_on, is_over))
        });
        // Whatever goes wrong, the others are let go.
        let done = catch_unwind(AssertUnwindSafe(|| kills(&mut sidecar, &went_on)));
        is_over.store(true, SeqCst);
        let tried = administrators.map(|administrator| administrator.join().unwrap());
        let receipts: Vec<Receipt> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
        done.unwrap_or_else(|panic| resume_unwind(panic));
        (tried, receipts)
    });
    // What the last kill cut off is ended by the start after it.
    let latest = Instant::now() + DEADLINE;
    while number(&store, "SELECT count(*) AS n FROM change_intents").await > 0 {
        assert!(Instant::now() < latest, "a change is still noted as begun");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
    assert_eq!(sidecar.verify().verdict, Verdict::Whole);

    let told = told(&sidecar);
    let mut last = Json::Null;
    for (number, (before, after)) in told.iter().enumerate() {
        assert_eq!(before, &last, "change {number} of {} rests on another state than the one before it", told.len());
        last = after.clone();
    }
    assert_eq!(end_in(&store).await, last, "the last record is of the state that stands");
    agree(&tried, &told);
    let records: BTreeSet<Receipt> = sidecar.records().into_iter().map(|(receipt, _)| receipt).collect();
    let lost = receipts.iter().filter(|receipt| !records.contains(receipt)).count();
    assert_eq!(lost, 0, "of {} answers", receipts.len());
    assert!(receipts.len() > CALLERS, "the callers heard {} answers", receipts.len());
}

crate::on_both!(no_update_is_lost_and_each_change_has_its_record);
