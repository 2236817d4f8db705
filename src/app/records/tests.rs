//! A folder and the stores that it is shipped to: the same rows in the same order, each once, page by page.

use std::path::{Path, PathBuf};

use super::*;
use crate::{
    audit::{
        Trail, TrailConfig,
        query::{FolderRecords, page},
    },
    clock::{Clock, SystemClock},
    domain::{
        Decision, Record, RecordKind, Tier,
        record::{PrincipalRecord, ResourceRecord},
    },
    postgres_server::Postgres,
    store::{Part, Store, StoreOptions},
};

const EACH: Duration = Duration::from_secs(20);

/// Three to a microsecond, and neighbours overtake each other: finer than a database keeps instants.
fn decision(number: u32) -> Record {
    let start: Timestamp = "2026-03-31T23:59:59.9999Z".parse().unwrap();
    let mut record =
        Record::new(RecordKind::Decision, start + jiff::SignedDuration::from_nanos(i64::from(number ^ 1) * 300));
    record.decision_id = Some(format!("d{number}"));
    record.principal =
        Some(PrincipalRecord { kind: "User".to_owned(), id: format!("u{}", number % 3), roles: Vec::new() });
    record.tenant = Some(if number.is_multiple_of(2) { "T1" } else { "T2" }.into());
    record.action = Some("read".to_owned());
    record.resource = Some(ResourceRecord { kind: "Note".to_owned(), id: format!("N{}", number % 11) });
    record.client = Some(format!("C{}", number % 7).into());
    record.decision = Some(if number.is_multiple_of(3) { Decision::Deny } else { Decision::Allow });
    record.grant = number.is_multiple_of(13).then(|| "G1".into());
    record.user_agent = Some("x".repeat(200));
    record
}

/// A trail in `dir` that ships to `url`, with these records on both sides.
async fn shipping(dir: &Path, url: &str, numbers: std::ops::Range<u32>) -> Trail {
    let config = TrailConfig { ships: true, segment_bytes: 16 * 1024, accept_ephemeral: true, ..TrailConfig::at(dir) };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let trail = Trail::open(config, Arc::clone(&clock)).unwrap();
    let url = url.to_owned();
    trail.ship(move || super::super::shipping::to_store(url, clock)).unwrap();
    more(&trail, numbers).await;
    trail
}

async fn more(trail: &Trail, numbers: std::ops::Range<u32>) {
    for number in numbers {
        drop(trail.append((), decision(number), Tier::Disk).await.unwrap());
    }
    for _ in 0..2_000 {
        if trail.status().shipping.lag == 0 && trail.status().shipping.shipped > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not shipped in time: {:?}", trail.status().shipping);
}

/// A SQLite file and a PostgreSQL, both empty.
async fn stores(folder: &Path) -> [String; 2] {
    let (_, postgres) = Postgres::shared().demo();
    let options = StoreOptions { connections: 1, statement_timeout: EACH, create: true };
    let store = Store::open(&postgres, options).unwrap();
    store.install(&[Part::Trail], SystemClock.now()).await.unwrap();
    [format!("sqlite://{}/trail.db", folder.display()), postgres]
}

fn asked(words: &[(&str, &str)]) -> Query {
    let mut query = Query::default();
    for (word, value) in words {
        query.set(word, value).unwrap();
    }
    query
}

/// All pages of some size.
async fn paged(source: &dyn RecordSource, query: &Query, size: usize) -> Vec<Found> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = page(source, query.clone(), after, size).await.unwrap();
        found.extend(page.records);
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

fn folder(dir: &Path) -> Arc<dyn RecordSource> {
    Arc::new(FolderRecords::once(dir))
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "trail"));
    paths.sort();
    paths
}

const QUESTIONS: [&[(&str, &str)]; 11] = [
    &[],
    &[("client", "C3")],
    &[("client", "C3"), ("decision", "deny"), ("tenant", "T1")],
    &[("principal", "User/u1")],
    &[("principal", "Service/u1")],
    &[("resource", "Note/N4"), ("tenant", "T2")],
    &[("decision_id", "d17")],
    &[("grant", "G1")],
    &[("kind", "system")],
    &[("client", "C1"), ("from", "2026-03-31T23:59:59.999909Z"), ("to", "2026-03-31T23:59:59.9999304Z")],
    &[("tenant", "T1"), ("from", "2026-03-31T23:59:59.9999306Z")],
];

#[tokio::test]
async fn a_store_gives_what_the_folder_gives_in_the_same_order_and_bytes() {
    let home = tempfile::tempdir().unwrap();
    for (nth, url) in stores(home.path()).await.iter().enumerate() {
        let dir = home.path().join(format!("audit{nth}"));
        shipping(&dir, url, 0..90).await.close().await.unwrap();
        let trail = shipping(&dir, url, 90..150).await;
        let store = StoreRecords::open(url, EACH).unwrap();
        let both = store.clone().and(folder(&dir));
        let mut seen = 0;
        for words in QUESTIONS {
            let query = asked(words);
            let here = paged(&*folder(&dir), &query, 1_000).await;
            seen += here.len();
            assert_eq!(paged(&store, &query, 1_000).await, here, "{words:?} of {url}");
            assert_eq!(paged(&store, &query, 7).await, here, "{words:?} of {url}, page by page");
            assert_eq!(paged(&both, &query, 7).await, here, "{words:?} of both, each once");
        }
        assert!(seen > 250, "{seen} rows were compared");
        trail.close().await.unwrap();
    }
}

#[tokio::test]
async fn pages_stay_what_they_are_while_records_come() {
    let home = tempfile::tempdir().unwrap();
    for (nth, url) in stores(home.path()).await.iter().enumerate() {
        let dir = home.path().join(format!("audit{nth}"));
        let trail = shipping(&dir, url, 0..60).await;
        let store = StoreRecords::open(url, EACH).unwrap();
        let sources: [Arc<dyn RecordSource>; 2] = [Arc::new(store.clone()), Arc::new(store.and(folder(&dir)))];
        let query = asked(&[("client", "C3")]);
        for (turn, source) in sources.iter().enumerate() {
            let before = paged(&**source, &query, 1_000).await;
            let first = page(&**source, query.clone(), None, 3).await.unwrap();
            // Of the same instants as those that are there: they would be in the midst of them.
            more(&trail, 0..30).await;
            let other = home.path().join(format!("other{nth}{turn}"));
            shipping(&other, url, 0..30).await.close().await.unwrap();
            let (mut found, mut after) = (first.records, first.next);
            while let Some(cursor) = after {
                // As it leaves and comes back.
                let cursor = Cursor::decode(&cursor.encode(&query, None), &query, None).unwrap();
                let page = page(&**source, query.clone(), Some(cursor), 3).await.unwrap();
                found.extend(page.records);
                after = page.next;
            }
            assert_eq!(found, before, "{url}");
            assert!(paged(&**source, &query, 1_000).await.len() > before.len(), "they are there for whoever asks anew");
        }
        trail.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_taken_away_here_and_what_others_wrote_is_found_there() {
    let home = tempfile::tempdir().unwrap();
    for (nth, url) in stores(home.path()).await.iter().enumerate() {
        let dir = home.path().join(format!("audit{nth}"));
        let first = shipping(&dir, url, 0..90).await;
        first.close().await.unwrap();
        let gone = segments(&dir);
        let trail = shipping(&dir, url, 90..120).await;
        trail.close().await.unwrap();
        let whole = paged(&*folder(&dir), &Query::default(), 1_000).await;
        let other = home.path().join(format!("other{nth}"));
        shipping(&other, url, 200..210).await.close().await.unwrap();
        gone.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let left = paged(&*folder(&dir), &Query::default(), 1_000).await;
        assert!(left.len() < whole.len());

        let mut expected = whole;
        expected.extend(paged(&*folder(&other), &Query::default(), 1_000).await);
        expected.sort_by_key(Found::place);
        let both = StoreRecords::open(url, EACH).unwrap().and(folder(&dir));
        assert_eq!(paged(&both, &Query::default(), 16).await, expected);
    }
}
