//! The database goes away under load and comes back: answers are recorded denies meanwhile, and turn back by themselves.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use chaperone::audit::Verdict;
use serde_json::Value as Json;

use crate::helpers::{
    postgres::Postgres,
    sidecar::{Doors, Receipt, Sidecar, Told, ana_reads, wait_for},
    sqlite::Sqlite,
};

/// `serve` goes by the real clock: moves every instant of the demo world by the time that has passed since its day.
pub(crate) const TO_TODAY: &str = r"
DO $$ DECLARE moved record; BEGIN
  FOR moved IN
    SELECT table_name AS name, string_agg(format('%1$I = %1$I + (now() - timestamptz ''2026-03-10T15:00:00Z'')', column_name), ', ') AS columns
    FROM information_schema.columns
    WHERE table_schema = 'public' AND data_type = 'timestamp with time zone' GROUP BY table_name
  LOOP EXECUTE format('UPDATE %I SET %s', moved.name, moved.columns); END LOOP;
END $$;";

const CALLERS: usize = 4;

struct Heard {
    status: u16,
    decision: bool,
    reason: Json,
    receipt: Receipt,
}

impl Heard {
    fn of(told: &Told) -> Self {
        let body = told.json();
        assert!(body["decision"].is_boolean(), "{}", told.body);
        Self {
            status: told.status,
            decision: body["decision"].as_bool().unwrap(),
            reason: body["context"]["reason"].clone(),
            receipt: told.receipt(),
        }
    }

    fn is_outage(&self) -> bool {
        !self.decision && self.reason == "data_unavailable"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_another_journal_mode_is_told_of_and_read_all_the_same() {
    let sqlite = Sqlite::demo().await;
    sqlite.execute("app", "PRAGMA journal_mode = DELETE").await;
    let mut sidecar = Sidecar::serve(&sqlite.url("app"), &sqlite.url("store"));
    let doors = sidecar.doors();
    let words = "source `app` is in journal mode `delete`";
    let told = wait_for("the mode is told of", || {
        let told = doors.probe("/readyz?verbose");
        told.body.contains(words).then_some(told)
    });
    assert_eq!(told.status, 200, "{}", told.body);
    assert!(
        told.body.contains("PRAGMA journal_mode = WAL") && !told.body.contains("source `store` is in"),
        "{}",
        told.body
    );
    let log = sidecar.log();
    assert!(log.contains(words), "{log}");
    sqlite.execute("app", "PRAGMA journal_mode = WAL").await;
    wait_for("it is mended", || (!doors.probe("/readyz?verbose").body.contains(words)).then_some(()));
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
}

#[test]
fn a_database_that_is_killed_turns_answers_into_recorded_denies_until_it_is_back() {
    let postgres = Postgres::start();
    for database in ["demo_app", "demo_store"] {
        postgres.psql(database, &["-c", TO_TODAY]);
    }
    let (app, store) = postgres.demo();
    let mut sidecar = Sidecar::serve(&app, &store);
    let doors = sidecar.doors();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (doors, heard, is_over) = (doors.clone(), Arc::clone(&heard), Arc::clone(&is_over));
            std::thread::spawn(move || ask_on(&doors, caller, &heard, &is_over))
        })
        .collect();

    let last_are = |state: &str, holds: fn(&Heard) -> bool| {
        let from = heard.lock().unwrap().len();
        wait_for(state, || {
            let heard = heard.lock().unwrap();
            // More than one answer of each caller, all asked after the change.
            let latest = heard.get(from..).unwrap_or_default();
            let enough = latest.len() >= 5 * CALLERS;
            (enough && latest[latest.len() - 3 * CALLERS..].iter().all(holds)).then_some(())
        });
    };
    last_are("ana is allowed", |heard| heard.decision);
    postgres.kill();
    last_are("answers say that facts are away", Heard::is_outage);
    wait_for("it is not ready", || {
        let readiness = doors.probe("/readyz");
        (readiness.status == 503 && readiness.body.contains("[-] facts: source `app`")).then_some(())
    });
    assert_eq!(doors.probe("/livez").status, 200, "alive is another question");
    postgres.restart();
    last_are("ana is allowed again", |heard| heard.decision);
    wait_for("it is ready again", || (doors.probe("/readyz").status == 200).then_some(()));
    is_over.store(true, Ordering::Release);
    for caller in callers {
        caller.join().unwrap();
    }
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());

    let records: HashMap<Receipt, Json> = sidecar.records().into_iter().collect();
    let heard = heard.lock().unwrap();
    for heard in heard.iter() {
        assert_eq!(heard.status, 200);
        assert!(heard.decision || heard.is_outage(), "another reason: {}", heard.reason);
        let record = records.get(&heard.receipt).unwrap_or_else(|| panic!("{:?} is not in the trail", heard.receipt));
        assert_eq!(record["decision"], if heard.decision { "allow" } else { "deny" });
        assert_eq!(record["reason"], heard.reason);
    }
    let denied = heard.iter().filter(|heard| heard.is_outage()).count();
    println!("{} answers, {denied} of them denied while the database was away, all recorded", heard.len());
    assert_eq!(sidecar.verify().verdict, Verdict::Whole);
}

fn ask_on(doors: &Doors, caller: usize, heard: &Mutex<Vec<Heard>>, is_over: &AtomicBool) {
    let question = ana_reads();
    let (mut tcp, mut unix) = (doors.tcp(), doors.unix());
    while !is_over.load(Ordering::Acquire) {
        let told = if caller.is_multiple_of(2) { tcp.ask(&question) } else { unix.ask(&question) };
        heard.lock().unwrap().push(Heard::of(&told.expect("every question is answered")));
    }
}
