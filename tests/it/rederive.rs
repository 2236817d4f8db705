//! Decisions made again of what was kept of them: all of them, byte for byte, and nothing but ids and labels is kept.

use std::{fs, path::Path, sync::Arc, time::Duration};

use chaperone::{
    audit::{
        Captures, Trail, TrailConfig,
        query::{FolderRecords, Found, Query},
    },
    authorize::{Authorizer, Derived, NotDerived, Rederiver, Settings, bundles_folder},
    clock::{Clock, FrozenClock},
    domain::{Record, RecordKind, Tier},
    entities::{Facts, FactsOptions},
    telemetry::Metrics,
};
use serde_json::Value as Json;

use crate::helpers::{
    authorizer::{NOW, shipped},
    clinic::{Clinic, paths},
    random::Draw,
    sidecar::{Ended, Sidecar, ana_reads, chaperone},
    world::World,
};

/// How many questions are asked; `REDERIVE=100000` asks more.
fn count() -> usize {
    std::env::var("REDERIVE").ok().and_then(|count| count.parse().ok()).unwrap_or(1_200)
}

/// Decides `count` random questions of the demo world at instants of their own, and keeps what they were made of.
async fn decided(dir: &Path, count: usize) {
    let clinic = Clinic::demo().await;
    let mut draw = Draw::new(&clinic, 41).await;
    let world = World::sqlite().await;
    let clock = FrozenClock::at(NOW.parse().unwrap());
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let options = FactsOptions { staleness: Duration::from_secs(20), ..world.options() };
    let facts = Arc::new(Facts::connect(options, Arc::clone(&shared)).unwrap());
    let config = TrailConfig { accept_ephemeral: true, ..TrailConfig::at(dir) };
    let trail = Arc::new(Trail::open(config, Arc::clone(&shared)).unwrap());
    let captures = Arc::new(Captures::open(dir, &trail.status().writer, 1 << 30, None).unwrap());
    paths().keep(&shipped().current().unwrap().revision, &bundles_folder(dir)).unwrap();
    let settings = Settings { durability: Tier::Process, durability_of_changes: Tier::Process };
    let authorizer = Authorizer::new(shipped(), facts, Arc::clone(&trail), shared, Metrics::local().unwrap(), settings)
        .capturing(Some(Arc::clone(&captures)));
    for number in 0..count {
        let (mut request, now) = draw.question();
        clock.set(now);
        request.decision_id = format!("d{number}");
        if number.is_multiple_of(7) {
            request.context.insert("access_reason".to_owned(), "Mr. Roe called, José asks for it".into());
            request.context.insert("user_agent".to_owned(), "Mozilla/5.0 (X11; Linux x86_64)".into());
        }
        authorizer.authorize(request).await.unwrap();
    }
    trail.close().await.unwrap();
    captures.close();
}

fn decisions(dir: &Path) -> Vec<Found> {
    let query = Query { kind: Some(RecordKind::Decision), ..Query::default() };
    let mut run = FolderRecords::once(dir).run(query, None).unwrap();
    std::iter::from_fn(|| run.next_found().unwrap()).collect()
}

/// The same record with another line, as if it had been recorded so.
fn said_otherwise(found: &Found, change: impl FnOnce(&mut Record)) -> Found {
    let mut record = found.record().unwrap();
    change(&mut record);
    let json = serde_json::to_string(&record).unwrap();
    Found {
        line: format!("{{\"v\":1,\"seq\":{},{}", found.seq, json.strip_prefix('{').unwrap()).into_bytes(),
        ..found.clone()
    }
}

#[tokio::test]
async fn every_decision_comes_out_again_byte_for_byte() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("audit");
    decided(&dir, count()).await;
    let found = decisions(&dir);
    assert_eq!(found.len(), count());
    let mut rederiver = Rederiver::open(&dir).unwrap();
    let (mut same, mut allows) = (0, 0);
    for found in &found {
        let derived = rederiver.derive(found).unwrap().unwrap();
        assert_eq!(derived, Derived::Same, "{}", String::from_utf8_lossy(&found.line));
        same += 1;
        allows += usize::from(found.record().unwrap().decision.is_some_and(|decision| decision.is_allow()));
    }
    println!("{same} decisions came out again, {allows} of them allows");
    assert!(allows > count() / 50, "only {allows} allows");

    // One decision that is told otherwise is found out, key by key.
    let allow = found.iter().find(|found| found.record().unwrap().evidence.len() == 1).unwrap();
    let changed = said_otherwise(allow, |record| {
        record.evidence.clear();
        record.resource_tenant = Some("T9".into());
    });
    let Derived::Differs(differences) = rederiver.derive(&changed).unwrap().unwrap() else { panic!("not found out") };
    let keys: Vec<_> = differences.iter().map(|difference| difference.key.as_str()).collect();
    assert_eq!(keys, ["evidence", "resource_tenant"]);
    assert_eq!(differences[1].recorded.as_deref(), Some("\"T9\""));
    let other = decisions(&dir)
        .into_iter()
        .find(|found| found.record().unwrap().slice_sha256 != allow.record().unwrap().slice_sha256);
    let other = other.unwrap().record().unwrap();
    let of_another = said_otherwise(allow, |record| record.slice_sha256.clone_from(&other.slice_sha256));
    assert_ne!(rederiver.derive(&of_another).unwrap().unwrap(), Derived::Same, "another slice gives another decision");

    // Nothing but ids and labels is kept, and each slice once.
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir.join("captured")).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() {
            let text = fs::read_to_string(entry).unwrap();
            assert!(!text.contains(' ') && text.is_ascii(), "a text was kept");
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    let kept = lines.len();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), kept, "each once");
    assert!(kept < 2 * count(), "slices are shared: {kept}");

    // What is gone, or never was, is said.
    let never = said_otherwise(allow, |record| record.slice_sha256 = None);
    assert_eq!(rederiver.derive(&never).unwrap(), Some(Derived::Not(NotDerived::NotCaptured)));
    let gone = said_otherwise(allow, |record| record.slice_sha256 = Some("AAAA".to_owned()));
    assert_eq!(rederiver.derive(&gone).unwrap(), Some(Derived::Not(NotDerived::NotKept)));
    fs::remove_dir_all(bundles_folder(&dir)).unwrap();
    let mut rederiver = Rederiver::open(&dir).unwrap();
    let derived = rederiver.derive(allow).unwrap().unwrap();
    assert!(matches!(derived, Derived::Not(NotDerived::NoBundle(revision)) if revision.starts_with("sha256:")));
}

fn rederive(words: &[&str]) -> Ended {
    let mut command = chaperone();
    command.args(["audit", "rederive"]).args(words);
    Ended::of(&mut command)
}

#[test]
fn the_decisions_of_a_demo_are_derived_again_from_its_folder_alone() {
    let sidecar = Sidecar::demo();
    let mut asker = sidecar.doors().tcp();
    for _ in 0..5 {
        asker.ask(&ana_reads()).unwrap();
    }
    let mut unknown = ana_reads();
    unknown["subject"]["type"] = "Robot".into();
    asker.ask(&unknown).unwrap();
    let mut nameless = ana_reads();
    nameless["resource"]["type"] = "Jane Roe's notes".into();
    asker.ask(&nameless).unwrap();
    let dir = sidecar.folder().join("audit");
    let dir = dir.to_str().unwrap();
    let told = crate::helpers::sidecar::wait_for("all is written", || {
        let ended = rederive(&[dir, "-o", "json"]);
        (ended.code == Some(0)).then_some(ended)
    });
    let report: Json = serde_json::from_str(&told.stdout).unwrap();
    let counts = ["decisions", "same", "without_facts", "differing"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(counts, [7, 6, 1, 0], "{report}");
    let pretty = rederive(&[dir, "--client", "C1"]);
    assert_eq!(pretty.stdout, "5 of 5 decisions came out byte for byte as recorded\n");
    rederive(&[dir, "--kind", "grant"]).says(2, &["only decisions"]);

    let home = tempfile::tempdir().unwrap();
    let off = home.path().join("audit");
    fs::create_dir(&off).unwrap();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        fs::copy(&entry, off.join(entry.file_name().unwrap())).unwrap();
    }
    rederive(&[off.to_str().unwrap()]).says(1, &["nothing is kept", "audit.capture: slices"]);
}
