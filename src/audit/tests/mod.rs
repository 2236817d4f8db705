//! The trail under test, room-wide.

#![expect(clippy::disallowed_methods, reason = "tests change files behind the trail's back")]

mod append;
mod checkpoints;
mod encryption;
mod faults;
mod flaky;
mod power;
mod proofs;
mod restart;
mod retention;
mod shipping;
mod tamper;
mod witnesses;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::*;
use crate::{
    clock::{Clock, SystemClock},
    domain::{Receipt, Record, RecordKind, Tier},
};

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// A key file, and the folder it stays in.
pub(super) struct Key {
    _dir: tempfile::TempDir,
    file: PathBuf,
    pub(super) public: VerifierKey,
}

impl Key {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, key) = (dir.path().join("key"), SigningKey::generate("trail.example/clinic").unwrap());
        key.write_new(&file).unwrap();
        Self { _dir: dir, file, public: key.verifier() }
    }
}

/// The key that signs every trail under test.
pub(super) static KEY: LazyLock<Key> = LazyLock::new(Key::new);

/// Small segments, so that a handful of records fills several. Signed at each seal and at the end; not on time.
pub(super) fn config(dir: &Path) -> TrailConfig {
    TrailConfig {
        segment_bytes: 16 * 1024,
        accept_ephemeral: true,
        key_file: Some(KEY.file.clone()),
        checkpoint_after: Duration::from_secs(3600),
        ..TrailConfig::at(dir)
    }
}

pub(super) fn open(dir: &Path) -> Trail {
    Trail::open(config(dir), clock()).unwrap()
}

/// A decision of some length.
pub(super) fn decision(id: &str) -> Record {
    let mut record = Record::new(RecordKind::Decision, clock().now());
    record.decision_id = Some(id.to_owned());
    record.caller = Some("ehr".to_owned());
    record.user_agent = Some("x".repeat(300));
    record
}

/// The receipt of one appended decision.
pub(super) async fn append(trail: &Trail, id: &str, tier: Tier) -> Result<Receipt, AppendError> {
    trail.append((), decision(id), tier).await.map(|recorded| recorded.into_parts().1)
}

pub(super) async fn append_many(trail: &Trail, count: usize, tier: Tier) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for n in 0..count {
        receipts.push(append(trail, &format!("d{n}"), tier).await.unwrap());
    }
    receipts
}

pub(super) fn check(dir: &Path) -> Report {
    verify(dir, &VerifyOptions::default()).unwrap()
}

/// What an auditor checks, who has the key and perhaps what was kept elsewhere.
pub(super) fn audit(dir: &Path, outside: Option<&Path>) -> Report {
    let keys = vec![KEY.public.clone()];
    verify(dir, &VerifyOptions { keys, checkpoints: outside.map(Path::to_owned), ..VerifyOptions::default() }).unwrap()
}

#[track_caller]
pub(super) fn assert_verdict(dir: &Path, verdict: Verdict) {
    let report = check(dir);
    assert_eq!(report.verdict, verdict, "{report:#?}");
}

/// The records of a folder as `writer/seq`.
pub(super) fn stored(dir: &Path) -> std::collections::BTreeSet<(String, u64)> {
    records(dir, Filter::default())
        .unwrap()
        .map(|record| record.unwrap())
        .map(|record| (record.writer.to_string(), record.seq))
        .collect()
}

/// Waits for a state of the trail, with a deadline.
pub(super) async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come about in 10 s");
}

/// Copies a folder as it is at this moment: what a process killed now would leave behind.
pub(super) fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

/// The segment files of a folder, in order of their names.
pub(super) fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "trail"))
        .collect();
    paths.sort();
    paths
}
