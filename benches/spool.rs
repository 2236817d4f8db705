//! What a large spool costs: verifying all of it, and opening it as a start does. Not a micro-bench: one run, three figures.
//!
//! `cargo bench --bench spool -- [RECORDS] [FOLDER]` writes so many records of a KiB (1,000,000: a GiB) into a folder of
//! its own, in the clear and then encrypted.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench stops where it is wrong, and prints its figures"
)]

use std::{path::Path, sync::Arc, time::Duration};

use chaperone::{
    audit::{EncryptionKeys, SigningKey, Trail, TrailConfig, Verdict, VerifyOptions, verify},
    clock::{Clock, SystemClock},
    domain::{Record, RecordKind, Tier},
};

/// What a record is padded to.
const RECORD_BYTES: usize = 1024;
/// Callers at once.
const CALLERS: usize = 512;

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let records: usize = words.next().map_or(1_000_000, |word| word.parse().unwrap());
    let home = words.next().map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(home).unwrap();
    let key = folder.path().join("trail.enc");
    EncryptionKeys::generate(&EncryptionKeys::default()).unwrap().write_new(&key).unwrap();
    measure(&folder.path().join("clear"), records, None);
    measure(&folder.path().join("encrypted"), records, Some(&key));
}

fn measure(dir: &Path, records: usize, encryption: Option<&Path>) {
    let signing = dir.with_extension("key");
    SigningKey::generate("trail.example/bench").unwrap().write_new(&signing).unwrap();
    let config = TrailConfig {
        accept_ephemeral: true,
        key_file: Some(signing),
        encryption_key_file: encryption.map(Path::to_owned),
        ..TrailConfig::at(dir)
    };
    write(&config, records);
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    say(&name, "opened", 200, || {
        // A writer of its own, which a later one follows; its end is no part of the figure.
        let trail = Trail::open(config.clone(), Arc::new(SystemClock)).unwrap();
        drop(trail);
    });
    let report = say(&name, "verified", 5_000, || verify(dir, &VerifyOptions::default()).unwrap());
    assert_ne!(report.verdict, Verdict::Damaged, "{report:?}");
    println!("{name}: {} records, {} bytes", report.records, report.bytes);
    if let Some(path) = encryption {
        let options = VerifyOptions { encryption: EncryptionKeys::read(path).unwrap(), ..VerifyOptions::default() };
        say(&name, "verified with its key", 10_000, || verify(dir, &options).unwrap());
    }
}

fn say<T>(name: &str, done: &str, ms_max: u64, work: impl FnOnce() -> T) -> T {
    let began = SystemClock.elapsed();
    let result = work();
    let took = SystemClock.elapsed().saturating_sub(began);
    let verdict = if took <= Duration::from_millis(ms_max) { "within" } else { "OVER" };
    println!("{name}: {done} in {} ms, {verdict} {ms_max} ms", took.as_millis());
    result
}

fn write(config: &TrailConfig, records: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let trail = Arc::new(Trail::open(config.clone(), Arc::new(SystemClock)).unwrap());
        let each = records.div_ceil(CALLERS);
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            let trail = Arc::clone(&trail);
            callers.spawn(async move {
                for n in 0..each {
                    let mut record = Record::new(RecordKind::Decision, SystemClock.now());
                    record.decision_id = Some(format!("{caller}.{n}"));
                    record.user_agent = Some("x".repeat(RECORD_BYTES - 150));
                    trail.append((), record, Tier::Process).await.unwrap();
                }
            });
        }
        while let Some(done) = callers.join_next().await {
            done.unwrap();
        }
        trail.close().await.unwrap();
    });
}
