//! `chaperone audit` over a trail that a writer left.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

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
    trail_signed_with(None, count)
}

fn trail_signed_with(key_file: Option<PathBuf>, count: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let start = "2026-03-10T15:00:00Z".parse().unwrap();
        let clock = Arc::new(FrozenClock::at(start));
        let checkpoints_dir = key_file.as_ref().map(|key| key.with_file_name("checkpoints"));
        let config =
            TrailConfig { accept_ephemeral: true, key_file, checkpoints_dir, ..TrailConfig::at(folder.path()) };
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
        .stdout(contains("signatures not checked: there are none"));
}

/// The words that a run of the program printed.
fn said(arguments: &[&str], code: i32) -> String {
    let output = chaperone().args(arguments).assert().code(code).get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_key_is_made_signs_and_verifies_and_without_it_signatures_are_unchecked() {
    let keys = tempfile::tempdir().unwrap();
    let at = |name: &str| keys.path().join(name).to_str().unwrap().to_owned();
    let vkey = said(&["audit", "keygen", "--origin", "trail.example/clinic", "--out", &at("trail.key")], 0);
    assert!(vkey.starts_with("trail.example/clinic+"), "{vkey}");
    assert_eq!(fs::metadata(at("trail.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(said(&["audit", "vkey", &at("trail.key")], 0), vkey);
    chaperone()
        .args(["audit", "keygen", "--origin", "trail.example/clinic", "--out", &at("trail.key")])
        .assert()
        .code(1)
        .stderr(contains("never written over"));
    assert_eq!(said(&["audit", "vkey", &at("trail.key")], 0), vkey);
    chaperone()
        .args(["audit", "keygen", "--origin", "a b", "--out", &at("x")])
        .assert()
        .code(1)
        .stderr(contains("name"));

    let folder = trail_signed_with(Some(at("trail.key").into()), 3);
    let folder = folder.path().to_str().unwrap();
    fs::write(at("all.vkeys"), &vkey).unwrap();
    let whole = said(&["audit", "verify", folder, "--key", vkey.trim(), "--checkpoints", &at("checkpoints")], 0);
    assert!(whole.contains("chain whole · 2 checkpoints signed and whole"), "{whole}");
    let whole = said(&["audit", "verify", folder, "--key", &at("all.vkeys"), "-o", "json"], 0);
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    assert_eq!((&whole["signatures"], &whole["writers"][0]["signed_seq"]), (&"verified".into(), &4.into()));
    let unchecked = said(&["audit", "verify", folder], 0);
    assert!(unchecked.contains("signatures not checked: give the public key"), "{unchecked}");

    let other = said(&["audit", "keygen", "--origin", "trail.example/clinic", "--out", &at("other.key")], 0);
    let refused = said(&["audit", "verify", folder, "--key", other.trim()], 6);
    assert!(refused.contains("record 1 ") && refused.contains("none of the given keys"), "{refused}");
    chaperone().args(["audit", "verify", folder, "--key", "no.such.file"]).assert().code(2).stderr(contains("no file"));
    let unsigned = trail(1);
    let refused = said(&["audit", "verify", unsigned.path().to_str().unwrap(), "--key", vkey.trim()], 6);
    assert!(refused.starts_with("no checkpoint at all: nothing is signed"), "{refused}");
    assert!(refused.contains("chain whole") && !refused.contains("not whole"), "nothing is damaged: {refused}");
    let secret = fs::read_to_string(at("trail.key")).unwrap();
    for private in [at("trail.key"), secret.trim().to_owned()] {
        chaperone()
            .args(["audit", "verify", folder, "--key", &private])
            .assert()
            .code(2)
            .stderr(contains("that is the private key").and(contains("audit vkey")).and(contains(secret.trim()).not()));
    }
}

#[test]
fn one_record_is_proved_and_verified_without_its_trail() {
    let keys = tempfile::tempdir().unwrap();
    let at = |name: &str| keys.path().join(name).to_str().unwrap().to_owned();
    let vkey = said(&["audit", "keygen", "--origin", "trail.example/clinic", "--out", &at("trail.key")], 0);
    let folder = trail_signed_with(Some(at("trail.key").into()), 5);
    let dir = folder.path().to_str().unwrap();
    let report: serde_json::Value = serde_json::from_str(&said(&["audit", "verify", dir, "-o", "json"], 0)).unwrap();
    let record = format!("{}/4", report["writers"][0]["writer"].as_str().unwrap());
    said(&["audit", "prove", &record, dir, "-o", &at("p.tlog-proof")], 0);
    assert_eq!(fs::read_to_string(at("p.tlog-proof")).unwrap(), said(&["audit", "prove", &record, dir], 0));
    let line = said(&["audit", "tail", "--lookup", &record, dir], 0);
    drop(folder);
    assert_eq!(said(&["audit", "verify-proof", &at("p.tlog-proof"), "--key", vkey.trim()], 0), line);

    let proof = fs::read_to_string(at("p.tlog-proof")).unwrap();
    fs::write(at("p.tlog-proof"), proof.replace("index 3", "index 2")).unwrap();
    assert_eq!(said(&["audit", "verify-proof", &at("p.tlog-proof"), "--key", vkey.trim()], 6), "");
    let unsigned = trail(1);
    let unsigned_dir = unsigned.path().to_str().unwrap();
    chaperone().args(["audit", "prove", "x", unsigned_dir]).assert().code(2).stderr(contains("WRITER/SEQ"));
    let writer: serde_json::Value =
        serde_json::from_str(&said(&["audit", "verify", unsigned_dir, "-o", "json"], 0)).unwrap();
    let record = format!("{}/1", writer["writers"][0]["writer"].as_str().unwrap());
    chaperone()
        .args(["audit", "prove", &record, unsigned_dir])
        .assert()
        .code(1)
        .stderr(contains("no checkpoint covers"));
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
    chaperone()
        .args(["audit", "tail", "--lookup", "d99"])
        .arg(folder.path())
        .assert()
        .code(0)
        .stdout("")
        .stderr(contains("no record").and(contains("d99")));
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
