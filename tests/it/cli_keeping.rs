//! `chaperone audit encryption-key`, `audit hold` and `audit prune`, and what readers say of an encrypted trail.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use chaperone::{
    audit::{Trail, TrailConfig},
    clock::{Clock, SystemClock},
    domain::{Record, RecordKind, Tier},
};

use crate::helpers::sidecar::{Ended, chaperone};

/// A folder with an encrypted trail, its configuration and its key.
struct Kept {
    home: tempfile::TempDir,
}

impl Kept {
    fn new() -> Self {
        let kept = Self { home: tempfile::tempdir().unwrap() };
        let made = kept.run(&["encryption-key", "--out", "trail.enc"]);
        assert_eq!((made.code, made.stdout.trim().len()), (Some(0), 16), "{made:?}");
        let yaml = "audit: { dir: audit, accept_ephemeral: true, encryption_key_file: trail.enc }\n";
        fs::write(kept.path("chaperone.yaml"), yaml).unwrap();
        kept.write(5);
        kept
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn open(&self) -> Trail {
        let config = TrailConfig {
            accept_ephemeral: true,
            encryption_key_file: Some(self.path("trail.enc")),
            ..TrailConfig::at(self.path("audit"))
        };
        Trail::open(config, Arc::new(SystemClock)).unwrap()
    }

    fn write(&self, records: usize) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let trail = self.open();
            for n in 0..records {
                let mut record = Record::new(RecordKind::Decision, SystemClock.now());
                (record.decision_id, record.client) = (Some(format!("d{n}")), Some("C1".into()));
                drop(trail.append((), record, Tier::Disk).await.unwrap());
            }
            trail.close().await.unwrap();
        });
    }

    fn run(&self, words: &[&str]) -> Ended {
        Ended::of(chaperone().arg("audit").args(words).current_dir(self.home.path()))
    }

    fn id(&self, file: &str) -> String {
        let text = fs::read_to_string(self.path(file)).unwrap();
        text.split('+').nth(2).unwrap().to_owned()
    }
}

#[test]
fn every_reader_of_an_encrypted_trail_names_the_key_it_lacks_and_verifying_needs_none() {
    let kept = Kept::new();
    let again = kept.run(&["encryption-key", "--out", "trail.enc"]);
    assert_eq!(again.code, Some(1), "a key is never written over: {again:?}");
    let other = kept.run(&["encryption-key", "--out", "other.enc"]);
    assert_eq!(other.code, Some(0));
    let key = kept.id("trail.enc");
    let readers: [&[&str]; 4] = [
        &["tail", "audit"],
        &["query", "audit", "--client", "C1"],
        &["export", "--format", "jsonl", "audit"],
        &["disclosures", "--missing", "audit"],
    ];
    for words in readers {
        let blind = kept.run(words);
        assert_eq!((blind.code, blind.stdout.as_str()), (Some(1), ""), "{blind:?}");
        assert!(blind.stderr.contains(&key) && blind.stderr.contains("--encryption-key"), "{blind:?}");
        let wrong = kept.run(&[words, &["--encryption-key", "other.enc"]].concat());
        assert!(wrong.code == Some(1) && wrong.stderr.contains(&kept.id("other.enc")), "{wrong:?}");
        let read = kept.run(&[words, &["--encryption-key", "trail.enc"]].concat());
        assert_eq!(read.code, Some(0), "{read:?}");
    }
    // As configured, the key is at hand.
    assert!(kept.run(&["tail"]).stdout.contains("\"d4\""));
    let verified = kept.run(&["verify", "audit"]);
    assert!(verified.code == Some(0) && verified.stdout.contains("verified as stored, not read"), "{verified:?}");
    let opened = kept.run(&["verify", "audit", "--encryption-key", "trail.enc"]);
    assert!(opened.code == Some(0) && opened.stdout.contains("frames opened"), "{opened:?}");
    let wrong = kept.run(&["verify", "audit", "--encryption-key", "other.enc"]);
    assert!(wrong.code == Some(1) && wrong.stdout.contains("chain whole"), "another key is no damage: {wrong:?}");
    assert!(wrong.stdout.contains(&key) && wrong.stdout.contains(&kept.id("other.enc")), "{wrong:?}");
}

#[test]
fn holds_are_placed_listed_and_lifted_and_pruning_says_what_stays() {
    let kept = Kept::new();
    let place = ["hold", "place", "case-1", "--client", "C1", "--by", "pri", "--reason", "26-113"];
    let placed = kept.run(&place);
    assert_eq!(placed.code, Some(0), "{placed:?}");
    assert_eq!(kept.run(&place).code, Some(2), "it stands already");
    let listed = kept.run(&["hold", "list"]);
    assert!(
        listed.stdout.contains("case-1  client C1  placed ") && listed.stdout.contains("by pri: 26-113"),
        "{listed:?}"
    );
    let dry = kept.run(&["prune", "--dry-run"]);
    assert!(dry.code == Some(0) && dry.stdout.starts_with("no segment may go"), "{dry:?}");
    assert!(dry.stdout.contains("segment 000001 stays, the time of a record of it is not over"), "{dry:?}");
    let pruned = kept.run(&["prune", "--by", "pri"]);
    assert!(pruned.code == Some(0) && pruned.stdout.starts_with("no segment may go"), "{pruned:?}");

    let running = kept.open();
    for words in [&["prune", "--by", "pri"][..], &["hold", "lift", "case-1", "--by", "pri", "--reason", "over"]] {
        let taken = kept.run(words);
        assert!(taken.code == Some(1) && taken.stderr.contains("stop the sidecar"), "{taken:?}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(running.close()).unwrap();
    assert_eq!(kept.run(&["hold", "lift", "case-1", "--by", "pri", "--reason", "over"]).code, Some(0));
    assert_eq!(kept.run(&["hold", "list"]).stdout, "");
    let recorded = kept.run(&["tail", "--tail", "100"]).stdout;
    assert!(recorded.contains("\"hold_placed\"") && recorded.contains("\"hold_lifted\""), "{recorded}");
    assert!(is_whole(&kept.path("audit")));
}

#[test]
fn holds_and_pruning_open_with_the_keys_that_are_typed_and_write_with_the_configured_one_alone() {
    let kept = Kept::new();
    fs::write(kept.path("chaperone.yaml"), "audit: { dir: audit, accept_ephemeral: true }\n").unwrap();
    let place = ["hold", "place", "case-1", "--client", "C1", "--by", "pri", "--reason", "26-113"];
    for words in [&place[..], &["hold", "list"], &["prune", "--dry-run"], &["prune", "--by", "pri"]] {
        let blind = kept.run(words);
        assert!(blind.code == Some(1) && blind.stderr.contains("--encryption-key FILE"), "{blind:?}");
    }
    let typed = |words: &[&str]| kept.run(&[words, &["--encryption-key", "trail.enc"]].concat());
    assert_eq!(typed(&["hold", "list"]).code, Some(0));
    let dry = typed(&["prune", "--dry-run"]);
    assert!(dry.code == Some(0) && dry.stdout.starts_with("no segment may go"), "{dry:?}");
    // What is written with another key than the sidecar's is closed to the sidecar.
    let refused = typed(&place);
    assert!(refused.code == Some(1) && refused.stderr.contains("`audit.encryption_key_file`"), "{refused:?}");
    assert_eq!(typed(&["hold", "list"]).stdout, "");
    let yaml = "audit: { dir: audit, accept_ephemeral: true, encryption_key_file: trail.enc }\n";
    fs::write(kept.path("chaperone.yaml"), yaml).unwrap();
    let newer = kept.run(&["encryption-key", "--out", "newer.enc", "--older", "trail.enc"]);
    assert_eq!(newer.code, Some(0), "{newer:?}");
    let foreign = kept.run(&[&place[..], &["--encryption-key", "newer.enc"]].concat());
    assert!(foreign.code == Some(1) && foreign.stderr.contains("`audit.encryption_key_file`"), "{foreign:?}");
    assert_eq!(typed(&place).code, Some(0));
    assert!(kept.run(&["hold", "list"]).stdout.starts_with("case-1  client C1"));
    assert_eq!(typed(&["prune", "--by", "pri"]).code, Some(0));
    let read = typed(&["tail", "audit", "--tail", "100"]);
    assert!(read.stdout.contains("\"hold_placed\""), "{read:?}");
    for entry in fs::read_dir(kept.path("audit")).unwrap() {
        let path = entry.unwrap().path();
        let stored = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        assert!(!stored.windows(6).any(|bytes| bytes == b"case-1"), "in the clear in {}", path.display());
    }
}

#[test]
fn pruning_needs_the_key_that_signed_and_holds_need_the_beginning() {
    let kept = Kept::new();
    for name in ["one.key", "other.key"] {
        let made = kept.run(&["keygen", "--out", name, "--origin", "trail.example/clinic"]);
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    let with_key = |name: &str| {
        let rest = format!("accept_ephemeral: true, encryption_key_file: trail.enc, key_file: {name}");
        fs::write(kept.path("chaperone.yaml"), format!("audit: {{ dir: audit, {rest} }}\n")).unwrap();
    };
    with_key("one.key");
    let place = ["hold", "place", "case-1", "--by", "pri", "--reason", "26-113"];
    assert_eq!(kept.run(&place).code, Some(0));
    assert_eq!(kept.run(&["prune", "--dry-run"]).code, Some(0));
    with_key("other.key");
    let other = kept.run(&["prune", "--dry-run"]);
    assert!(other.code == Some(6) && other.stderr.contains("none of the given keys"), "{other:?}");
    with_key("nowhere.key");
    for words in [&["prune", "--dry-run"][..], &["prune", "--by", "pri"]] {
        let blind = kept.run(words);
        assert!(blind.code == Some(1) && blind.stderr.contains("audit.key_file"), "{blind:?}");
    }
    // Shipped and taken away.
    with_key("one.key");
    let mut segments: Vec<_> = fs::read_dir(kept.path("audit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "trail"));
    segments.sort();
    fs::remove_file(&segments[0]).unwrap();
    for words in [&["hold", "list"][..], &["prune", "--dry-run"], &place] {
        let unseen = kept.run(words);
        assert!(unseen.code == Some(1) && unseen.stderr.contains("not in the folder any more"), "{unseen:?}");
    }
}

fn is_whole(dir: &Path) -> bool {
    let report = chaperone::audit::verify(dir, &chaperone::audit::VerifyOptions::default()).unwrap();
    report.verdict == chaperone::audit::Verdict::Whole
}
