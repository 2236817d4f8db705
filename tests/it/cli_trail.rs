//! `chaperone audit query`, `audit export` and `audit tail -f` over folders that writers left or are writing.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use chaperone::{
    audit::{SigningKey, Trail, TrailConfig},
    clock::FrozenClock,
    domain::{Decision, Record, RecordKind, Tier, record::PrincipalRecord},
};
use serde_json::Value as Json;

use crate::helpers::sidecar::{Ended, chaperone};

/// A folder with a trail, and the key that signed it.
struct Left {
    home: tempfile::TempDir,
    vkey: String,
}

const START: &str = "2026-03-10T15:00:00Z";

fn decision(number: u32) -> Record {
    let at = START.parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_secs(number.into());
    let mut record = Record::new(RecordKind::Decision, at);
    record.decision_id = Some(format!("d{number}"));
    record.principal = Some(PrincipalRecord { kind: "User".to_owned(), id: "ana".to_owned(), roles: Vec::new() });
    record.client = Some(format!("C{}", number % 3).into());
    record.tenant = Some(if number.is_multiple_of(2) { "T1" } else { "T2" }.into());
    record.decision = Some(Decision::Deny);
    record.access_reason = Some("=1+1".to_owned());
    record
}

fn config(home: &Path) -> TrailConfig {
    let key_file = Some(home.join("key"));
    TrailConfig { accept_ephemeral: true, key_file, ..TrailConfig::at(home.join("audit")) }
}

fn open(home: &Path) -> Trail {
    Trail::open(config(home), Arc::new(FrozenClock::at(START.parse().unwrap()))).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

fn append(trail: &Trail, numbers: std::ops::Range<u32>) {
    runtime().block_on(async {
        for number in numbers {
            drop(trail.append((), decision(number), Tier::Process).await.unwrap());
        }
    });
}

impl Left {
    fn with(count: u32) -> Self {
        let home = tempfile::tempdir().unwrap();
        let key = SigningKey::generate("trail.example/clinic").unwrap();
        key.write_new(&home.path().join("key")).unwrap();
        let trail = open(home.path());
        append(&trail, 0..count);
        runtime().block_on(trail.close()).unwrap();
        Self { vkey: key.verifier().to_string(), home }
    }

    fn trail(&self) -> PathBuf {
        self.home.path().join("audit")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Ended {
        let mut command = chaperone();
        command.arg("audit").args(words).current_dir(self.home.path());
        Ended::of(&mut command)
    }

    #[track_caller]
    fn said(&self, words: &[&str]) -> String {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    }
}

fn ids(records: &Json) -> Vec<String> {
    let records = records["records"].as_array().unwrap().iter();
    records.map(|found| found["record"]["decision_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_query_pages_through_what_belongs_to_it() {
    let left = Left::with(30);
    let (mut found, mut cursor) = (Vec::new(), String::new());
    for _ in 0..5 {
        let mut words = vec!["query", "audit", "--client", "C1", "--limit", "4", "-o", "json"];
        if !cursor.is_empty() {
            words.extend(["--cursor", &cursor]);
        }
        let page: Json = serde_json::from_str(&left.said(&words)).unwrap();
        assert_eq!(page["schema_version"], 1);
        found.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, (0..10).map(|n| format!("d{}", n * 3 + 1)).collect::<Vec<_>>());

    let shown = left.run(&["query", "audit", "--tenant", "T2", "--limit", "2"]);
    assert_eq!(shown.stdout, "2026-03-10T15:00:01Z  #3  deny  User/ana\n2026-03-10T15:00:03Z  #5  deny  User/ana\n");
    assert!(shown.stderr.contains("there are more: --cursor "), "{}", shown.stderr);
    assert!(left.run(&["query", "audit", "--client", "none"]).stderr.contains("no record is like that"));
    left.run(&["query", "audit", "--decision", "maybe"]).says(2, &["--decision must be `allow` or `deny`"]);
    left.run(&["query", "audit", "--limit", "1001"]).says(2, &["from 1 to 1000", "audit export"]);
    left.run(&["query", "audit", "--cursor", "x"]).says(2, &["--cursor is no cursor"]);
    left.run(&["query", "nowhere"]).says(1, &["there is no trail"]);
}

#[test]
fn an_export_is_whole_and_its_proof_holds_without_the_trail() {
    let left = Left::with(40);
    let ended = left.run(&["export", "audit", "--format", "jsonl", "--client", "C2", "--out", "c2.jsonl"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("13 records") && ended.stderr.contains("nothing in the trail says so"));
    let file = fs::read_to_string(left.at("c2.jsonl")).unwrap();
    assert_eq!(file, left.said(&["export", "audit", "--format", "jsonl", "--client", "C2"]));
    fs::remove_dir_all(left.trail()).unwrap();
    let verify = |key: &str| left.run(&["verify-export", "c2.jsonl", "--key", key]);
    assert_eq!(verify(&left.vkey).stdout, "13 lines · 13 proved · 0 under no signature\n");
    let other = SigningKey::generate("trail.example/clinic").unwrap().verifier().to_string();
    verify(&other).says(6, &["none of the given keys"]);
    fs::write(left.at("c2.jsonl"), file.replace("=1+1", "=1+2")).unwrap();
    verify(&left.vkey).says(6, &["its digest is another"]);
}

#[test]
fn an_export_that_nothing_signs_is_unsigned_whatever_key_is_given() {
    let left = Left::with(0);
    let unsigned = TrailConfig { accept_ephemeral: true, ..TrailConfig::at(left.at("unsigned")) };
    let trail = Trail::open(unsigned, Arc::new(FrozenClock::at(START.parse().unwrap()))).unwrap();
    append(&trail, 0..3);
    runtime().block_on(trail.close()).unwrap();
    left.said(&["export", "unsigned", "--format", "jsonl", "--out", "out.jsonl"]);
    let verified = left.run(&["verify-export", "out.jsonl", "--key", &left.vkey]);
    verified.says(6, &["unsigned: none of its 4 lines is under a signature"]);
}

#[test]
fn every_form_is_written_and_no_half_file_is_left() {
    let left = Left::with(9);
    let rows = |format: &str| left.said(&["export", "audit", "--format", format, "--kind", "decision"]);
    let csv = rows("csv");
    assert!(csv.starts_with("writer,seq,at,kind,") && csv.contains("\"'=1+1\"") && !csv.contains(",=1"), "{csv}");
    assert_eq!(csv.matches("\r\n").count(), 10);
    assert_eq!(rows("ocsf").lines().count(), 9);
    assert_eq!(rows("fhir").lines().count(), 9);
    assert_eq!(rows("ocsf"), rows("ocsf"));

    let path = fs::read_dir(left.trail()).unwrap().map(|entry| entry.unwrap().path());
    let path = path.filter(|path| path.extension().is_some_and(|end| end == "trail")).min().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|window| window == b"\"d3\"").unwrap();
    bytes[at + 1] ^= 1;
    fs::write(&path, bytes).unwrap();
    left.run(&["export", "audit", "--format", "csv", "--out", "out.csv"]).says(6, &["damaged or missing"]);
    let names = fs::read_dir(left.home.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.contains("out.csv")).count(), 0);
    let ended = left.run(&["query", "audit", "-o", "json"]);
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(ended.stdout.contains(r#""damaged_at":""#), "{}", ended.stdout);
}

#[test]
fn what_left_the_folder_is_named_and_no_file_passes_for_the_whole() {
    let left = Left::with(0);
    let small = TrailConfig { segment_bytes: 16 * 1024, ..config(left.home.path()) };
    let trail = Trail::open(small, Arc::new(FrozenClock::at(START.parse().unwrap()))).unwrap();
    append(&trail, 0..150);
    runtime().block_on(trail.close()).unwrap();
    let segments = || fs::read_dir(left.trail()).unwrap().map(|entry| entry.unwrap().path());
    let of_last = segments().filter(|path| path.extension().is_some_and(|end| end == "trail")).max().unwrap();
    let writer = of_last.file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
    fs::remove_file(left.trail().join(format!("{writer}.000001.trail"))).unwrap();
    let page = left.run(&["query", "audit", "-o", "json", "--limit", "1"]);
    assert_eq!(page.code, Some(6), "{}", page.stderr);
    for part in [writer.as_str(), "not here any more", "--from 2026-03-10T16:00:00Z"] {
        assert!(page.stderr.contains(part), "`{part}` is not in:\n{}", page.stderr);
    }
    assert!(page.stdout.contains(&format!(r#""missing_upto":"{writer}/"#)), "{}", page.stdout);
    let export = ["export", "audit", "--format", "csv", "--out", "out.csv"];
    left.run(&export).says(6, &["not here any more"]);
    assert!(!left.at("out.csv").exists());
    let later = left.run(&[&export[..], &["--from", "2026-03-10T16:00:00Z"]].concat());
    assert_eq!(later.code, Some(0), "{}", later.stderr);
}

#[test]
fn a_follower_sees_new_records_segments_and_writers_as_ocsf_and_ends_by_sigint() {
    let left = Left::with(3);
    let mut command = chaperone();
    command.args(["audit", "tail", "-f", "-o", "ocsf", "--tail", "1", "audit"]).current_dir(left.home.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Json { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["metadata"]["uid"], "d2");
    // Another writer, and more than its first segment holds.
    let config = TrailConfig { segment_bytes: 16 * 1024, ..config(left.home.path()) };
    let trail = Trail::open(config, Arc::new(FrozenClock::at(START.parse().unwrap()))).unwrap();
    append(&trail, 3..80);
    let seen: Vec<Json> = std::iter::from_fn(|| Some(next())).take(78).collect();
    assert_eq!(seen[0]["api"]["operation"], "system.started");
    assert_eq!((&seen[1]["metadata"]["uid"], &seen[77]["metadata"]["uid"]), (&"d3".into(), &"d79".into()));
    assert!(seen.iter().all(|event| event["class_uid"] == 6003));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    runtime().block_on(trail.close()).unwrap();
}

#[test]
fn a_disclosure_by_another_house_stands_in_the_accounting_of_the_clients_own() {
    let left = Left::with(0);
    let trail = open(left.home.path());
    let mut allowed = decision(1);
    allowed.decision = Some(Decision::Allow);
    allowed.tenant = Some("TA".into());
    allowed.resource_tenant = Some("TW".into());
    allowed.client = Some("L1".into());
    allowed.obligations = vec!["record_disclosure".into()];
    let mut reported = Record::new(RecordKind::Outcome, allowed.at);
    reported.decision_id.clone_from(&allowed.decision_id);
    for (key, text) in
        [("outcome", "success"), ("recipient", "County Court"), ("description", "notes"), ("basis", "164.512(e)")]
    {
        reported.detail.insert(key.to_owned(), text.into());
    }
    runtime().block_on(async {
        for record in [allowed, reported] {
            drop(trail.append((), record, Tier::Disk).await.unwrap());
        }
        trail.close().await.unwrap();
    });
    let listed = |tenant: &str| -> Json {
        let words = ["disclosures", "audit", "--client", "L1", "--tenant", tenant, "--format", "json"];
        let dates = ["--requested-at", "2026-03-11T15:00:00Z", "--generated-at", "2026-03-11T15:00:00Z"];
        let ended = left.run(&[&words[..], &dates].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let own = listed("TW");
    assert_eq!(own["disclosures"][0]["recipient"], "County Court", "{own}");
    assert_eq!(listed("TA")["disclosures"], serde_json::json!([]));
}
