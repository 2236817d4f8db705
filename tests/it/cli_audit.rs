//! `audit tail` and `audit verify` over a trail that a writer left.

use std::{fs, path::Path, sync::Arc};

use assert_cmd::Command;
use chaperone::{
    audit::{Trail, TrailConfig},
    clock::FrozenClock,
    domain::{Decision, Record, RecordKind, Tier},
};
use predicates::{prelude::*, str::contains};

fn chaperone() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    command.env_clear().current_dir(std::env::temp_dir());
    command
}

/// A sealed trail of `count` decisions `d1`, `d2`, …, a second apart.
fn trail(count: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let start = "2026-03-10T15:00:00Z".parse().unwrap();
        let clock = Arc::new(FrozenClock::at(start));
        let config = TrailConfig { accept_ephemeral: true, ..TrailConfig::at(folder.path()) };
        let trail = Trail::open(config, clock).unwrap();
        for number in 1..=count {
            let mut record = Record::new(RecordKind::Decision, start + jiff::SignedDuration::from_secs(number.into()));
            record.decision_id = Some(format!("d{number}"));
            record.decision = Some(Decision::Deny);
            drop(trail.append((), record, Tier::Process).await.unwrap());
        }
        trail.close().await.unwrap();
    });
    folder
}

fn flip_a_byte_of(folder: &Path, needle: &str) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let mut bytes = fs::read(entry.path()).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()) {
            bytes[at + needle.len() - 2] ^= 1;
            fs::write(entry.path(), bytes).unwrap();
            return;
        }
    }
    panic!("no file holds {needle}");
}

#[test]
fn verify_says_what_is_whole_and_that_no_signature_was_checked() {
    let folder = trail(3);
    chaperone()
        .args(["audit", "verify"])
        .arg(folder.path())
        .assert()
        .code(0)
        .stdout(contains("chain whole"))
        .stdout(contains("signatures not checked"));
    chaperone()
        .args(["audit", "verify", "--key", "some.vkey"])
        .arg(folder.path())
        .assert()
        .code(1)
        .stderr(contains("no signatures"));
}

#[test]
fn verify_ends_with_6_and_names_the_record_in_which_a_byte_was_flipped() {
    let folder = trail(3);
    flip_a_byte_of(folder.path(), r#""decision_id":"d2""#);
    chaperone()
        .args(["audit", "verify"])
        .arg(folder.path())
        .assert()
        .code(6)
        .stdout(contains("record "))
        .stdout(contains("verifies"));
    let output =
        chaperone().args(["audit", "verify", "-o", "json"]).arg(folder.path()).assert().code(6).get_output().clone();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["verdict"], &report["signatures"]), (&"damaged".into(), &"none".into()));
    // Another record of the trail may stand before the decisions, so the second decision is found by its number.
    let bad = report["findings"][0]["seq"].as_u64().unwrap();
    let tail =
        chaperone().args(["audit", "tail", "--lookup", "d1"]).arg(folder.path()).assert().code(0).get_output().clone();
    let first: serde_json::Value = serde_json::from_slice(&tail.stdout).unwrap();
    assert_eq!(bad, first["seq"].as_u64().unwrap() + 1);
}

#[test]
fn tail_finds_a_decision_by_its_id_and_prints_the_stored_line() {
    let folder = trail(12);
    let output =
        chaperone().args(["audit", "tail", "--lookup", "d2"]).arg(folder.path()).assert().code(0).get_output().clone();
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1);
    assert!(line.starts_with("{\"v\":1,\"seq\":") && line.contains(r#""decision_id":"d2""#), "{line}");
    chaperone().args(["audit", "tail", "--lookup", "d99"]).arg(folder.path()).assert().code(0).stdout("");
}

#[test]
fn tail_shows_the_last_ones_and_keeps_to_a_window() {
    let folder = trail(12);
    let lines = |words: &[&str]| {
        let output =
            chaperone().args(["audit", "tail"]).args(words).arg(folder.path()).assert().code(0).get_output().clone();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter_map(|line| Some(line.split_once(r#""decision_id":"d"#)?.1.split('"').next()?.to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&["--tail", "2"]), ["11", "12"]);
    assert_eq!(lines(&["--since", "2026-03-10T15:00:11Z"]), ["11", "12"]);
    assert_eq!(lines(&["--between", "2026-03-10T15:00:03Z", "2026-03-10T15:00:05Z", "--"]), ["3", "4"]);
}

#[test]
fn a_folder_that_is_not_there_is_said() {
    chaperone()
        .args(["audit", "verify", "/nowhere"])
        .assert()
        .code(1)
        .stderr(contains("there is no trail").and(contains("/nowhere")));
}
