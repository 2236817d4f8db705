//! What it takes to find a client's records among 100,000, and to export them all.
#![expect(clippy::unwrap_used, reason = "a bench stops where it is wrong")]

use std::{sync::Arc, time::Duration};

use chaperone::{
    audit::{
        Trail, TrailConfig,
        export::Format,
        query::{FolderRecords, Query},
    },
    clock::{Clock, SystemClock},
    domain::{
        Decision, Record, RecordKind, Tier,
        record::{PrincipalRecord, ResourceRecord, SessionRecord},
    },
};
use divan::{Bencher, counter::ItemsCount};

const RECORDS: u32 = 100_000;

fn main() {
    divan::main();
}

fn decision(number: u32) -> Record {
    let mut record = Record::new(RecordKind::Decision, SystemClock.now());
    record.decision_id = Some(chaperone::clock::new_id(&SystemClock).to_string());
    record.request_id = Some(chaperone::clock::new_id(&SystemClock).to_string());
    record.caller = Some("ehr".to_owned());
    let roles = vec!["therapist".into()];
    record.principal = Some(PrincipalRecord { kind: "User".to_owned(), id: format!("u{}", number % 97), roles });
    record.tenant = Some("T1".into());
    record.action = Some("read".to_owned());
    record.crud = Some('R');
    record.resource = Some(ResourceRecord { kind: "Note".to_owned(), id: format!("N{number}") });
    record.client = Some(format!("C{}", number % 5_000).into());
    record.decision = Some(if number.is_multiple_of(9) { Decision::Deny } else { Decision::Allow });
    record.policies = vec!["therapist-reads-assigned".into(), "team-reads-notes".into()];
    record.purpose = Some("TREAT".into());
    record.session = Some(SessionRecord { mfa: Some(true), age_seconds: Some(900), ..SessionRecord::default() });
    record.user_agent = Some("ehr/4.2 (a browser of some length, as they are)".to_owned());
    record
}

/// A sealed trail in segments of 4 MiB, so that there are several.
fn trail() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let config =
            TrailConfig { accept_ephemeral: true, segment_bytes: 4 * 1024 * 1024, ..TrailConfig::at(folder.path()) };
        let trail = Arc::new(Trail::open(config, Arc::new(SystemClock)).unwrap());
        for first in (0..RECORDS).step_by(1_000) {
            let appended = (first..first + 1_000).map(|number| trail.append((), decision(number), Tier::Process));
            futures_util::future::try_join_all(appended).await.unwrap();
        }
        trail.close().await.unwrap();
    });
    folder
}

fn of_client() -> Query {
    let mut query = Query::default();
    query.set("client", "C77").unwrap();
    query
}

fn count(source: &FolderRecords, query: Query) -> usize {
    let mut run = source.run(query, None).unwrap();
    std::iter::from_fn(|| run.next_found().unwrap()).count()
}

/// One question to a folder that nobody looked at before.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn a_client_once(bencher: Bencher) {
    let folder = trail();
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        assert_eq!(count(&FolderRecords::once(folder.path()), of_client()), 20);
    });
}

/// The same to a process that was asked before.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn a_client_again(bencher: Bencher) {
    let folder = trail();
    let source = FolderRecords::lasting(folder.path(), Arc::new(SystemClock), Duration::from_secs(600));
    count(&source, of_client());
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| assert_eq!(count(&source, of_client()), 20));
}

#[divan::bench(args = [Format::Jsonl, Format::Csv, Format::Ocsf, Format::Fhir], sample_count = 3, sample_size = 1)]
fn export(bencher: Bencher, format: Format) {
    let folder = trail();
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut run = FolderRecords::once(folder.path()).run(Query::default(), None).unwrap();
        let mut row = Vec::new();
        while let Some(found) = run.next_found().unwrap() {
            row.clear();
            format.row(&found, &mut row).unwrap();
        }
    });
}
