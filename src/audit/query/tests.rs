//! Queries over real folders: the same rows in the same order, however they are asked for.

#![expect(clippy::disallowed_methods, reason = "tests change files behind the trail's back")]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    audit::{
        Trail,
        tests::{clock, config, copy, segments},
    },
    clock::FrozenClock,
    domain::{
        Record, Tier,
        record::{PrincipalRecord, ResourceRecord},
    },
};

const START: &str = "2026-03-10T15:00:00Z";

fn at(second: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(second)
}

/// A decision about one of seven clients, by one of three people.
fn decision(number: u32) -> Record {
    // Every fifth record is older than the one before: requests overtake each other.
    let second = if number % 5 == 4 { number - 2 } else { number };
    let mut record = Record::new(RecordKind::Decision, at(second.into()));
    record.decision_id = Some(format!("d{number}"));
    record.principal =
        Some(PrincipalRecord { kind: "User".to_owned(), id: format!("u{}", number % 3), roles: Vec::new() });
    record.tenant = Some(if number.is_multiple_of(2) { "T1" } else { "T2" }.into());
    record.action = Some("read".to_owned());
    record.resource = Some(ResourceRecord { kind: "Note".to_owned(), id: format!("N{}", number % 11) });
    record.client = Some(format!("C{}", number % 7).into());
    record.resource_tenant = (number % 4 != 3).then(|| "T1".into());
    record.decision = Some(if number.is_multiple_of(3) { Decision::Deny } else { Decision::Allow });
    // The words of others, where a careless reader would find them.
    record.user_agent = Some(format!("\"client\":\"C{}\" {}", (number + 1) % 7, "x".repeat(200)));
    record
}

async fn write(dir: &std::path::Path, numbers: std::ops::Range<u32>) -> Trail {
    let trail = Trail::open(config(dir), clock()).unwrap();
    for number in numbers {
        drop(trail.append((), decision(number), Tier::Process).await.unwrap());
    }
    trail
}

fn asked(words: &[(&str, &str)]) -> Query {
    let mut query = Query::default();
    for (word, value) in words {
        query.set(word, value).unwrap();
    }
    query
}

fn all(source: &FolderRecords, query: Query) -> Vec<Found> {
    let mut run = source.run(query, None).unwrap();
    std::iter::from_fn(|| run.next_found().unwrap()).collect()
}

fn ids(found: &[Found]) -> Vec<String> {
    found.iter().filter_map(|found| found.record().unwrap().decision_id).collect()
}

/// Two writers, several segments each.
async fn two_writers() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..150).await.close().await.unwrap();
    write(dir.path(), 150..300).await.close().await.unwrap();
    assert!(segments(dir.path()).len() > 6);
    dir
}

#[tokio::test]
async fn a_query_finds_what_a_reader_of_every_line_would() {
    let dir = two_writers().await;
    let lasting = FolderRecords::lasting(dir.path(), clock(), std::time::Duration::from_secs(60));
    for words in [
        &[][..],
        &[("client", "C3")],
        &[("client", "C3"), ("decision", "deny")],
        &[("principal", "u1")],
        &[("principal", "User/u1"), ("tenant", "T1")],
        &[("principal", "Service/u1")],
        &[("tenant", "T2")],
        &[("tenant", "T1"), ("client", "C3")],
        &[("resource", "Note/N5")],
        &[("decision_id", "d77")],
        &[("kind", "system")],
        &[("from", "2026-03-10T15:00:10Z"), ("to", "2026-03-10T15:00:20Z")],
        &[("client", "C3\"")],
    ] {
        let query = asked(words);
        let mut expected: Vec<Found> = all(&FolderRecords::once(dir.path()), Query::default());
        expected.retain(|found| belongs(found, &query));
        assert_eq!(all(&FolderRecords::once(dir.path()), query.clone()), expected, "{words:?}");
        for _ in 0..2 {
            assert_eq!(all(&lasting, query.clone()), expected, "{words:?}, remembered");
        }
        assert!(expected.is_sorted_by_key(Found::place), "{words:?}");
    }
    let everything = all(&FolderRecords::once(dir.path()), asked(&[("kind", "decision")]));
    assert_eq!(everything.len(), 300);
    assert_eq!(ids(&everything)[..6], ["d0", "d1", "d2", "d4", "d3", "d5"], "by instant, then by number");
}

/// The rule of the filters, said a second time and without any haste.
fn belongs(found: &Found, query: &Query) -> bool {
    let line: serde_json::Value = serde_json::from_slice(&found.line).unwrap();
    query.said().iter().all(|(word, value)| {
        let is = |path: &str| line.pointer(path).and_then(serde_json::Value::as_str) == Some(value.as_str());
        let both = |key: &str| {
            let text = |name: &str| line[key][name].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text("type"), text("id")) == *value
        };
        match *word {
            "principal" => is("/principal/id") || both("principal"),
            "resource" => both("resource"),
            "from" => found.at >= value.parse().unwrap(),
            "to" => found.at < value.parse().unwrap(),
            "tenant" => is("/tenant") || is("/resource_tenant"),
            word => is(&format!("/{word}")),
        }
    })
}

#[tokio::test]
async fn pages_are_the_whole_run_also_while_records_come() {
    let dir = tempfile::tempdir().unwrap();
    let trail = write(dir.path(), 0..120).await;
    let source = FolderRecords::lasting(dir.path(), clock(), std::time::Duration::from_secs(60));
    let query = asked(&[("tenant", "T1")]);
    let expected = all(&source, query.clone());
    let key = CursorKey::new([7; 32]);
    let (mut pages, mut cursor) = (Vec::new(), None);
    for number in 120.. {
        let page = page(&source, query.clone(), cursor, 7).await.unwrap();
        pages.extend(page.records);
        // Newer ones, and one that is older than all that was given.
        drop(trail.append((), decision(number), Tier::Process).await.unwrap());
        drop(trail.append((), Record { tenant: Some("T1".into()), ..decision(4) }, Tier::Process).await.unwrap());
        let Some(next) = page.next else { break };
        let text = next.encode(&query, Some(&key));
        assert_eq!(text, next.encode(&query, Some(&key)), "the same place is the same text");
        cursor = Some(Cursor::decode(&text, &query, Some(&key)).unwrap());
    }
    assert_eq!(pages, expected);
    trail.close().await.unwrap();
    assert!(all(&source, query).len() > expected.len());
}

#[test]
fn a_cursor_of_another_query_or_key_or_with_another_byte_is_refused() {
    let (query, key) = (asked(&[("client", "C1")]), CursorKey::new([1; 32]));
    let after = Place { at: at(3), writer: uuid::Uuid::from_u128(5), seq: 9 };
    let of_folder = Until { writer: uuid::Uuid::from_u128(6), seq: 10, arrived: 0 };
    for until in
        [None, Some(of_folder), Some(Until { arrived: 7, ..of_folder }), Some(Until { arrived: 7, ..Until::default() })]
    {
        let cursor = Cursor { after, until };
        let text = cursor.encode(&query, Some(&key));
        assert_eq!(Cursor::decode(&text, &query, Some(&key)), Ok(cursor));
        let foreign = Err(CursorError::Foreign);
        assert_eq!(Cursor::decode(&text, &asked(&[("client", "C2")]), Some(&key)), foreign);
        assert_eq!(Cursor::decode(&text, &query, Some(&CursorKey::new([2; 32]))), foreign);
        let plain = cursor.encode(&query, None);
        assert_eq!(Cursor::decode(&plain, &query, None), Ok(cursor));
        assert!(Cursor::decode(&plain, &query, Some(&key)).is_err());
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last letter has bits that mean nothing; a decoder refuses them or they change nothing.
            let decoded = Cursor::decode(&changed, &query, Some(&key));
            assert!(decoded.is_err() || decoded == Ok(cursor), "{at}");
        }
    }
    assert_eq!(Cursor::decode("", &query, None), Err(CursorError::Form));
}

proptest! {
    #[test]
    fn any_text_is_taken_for_a_cursor_without_harm(text in "[A-Za-z0-9_-]{0,120}") {
        let refused = Cursor::decode(&text, &Query::default(), Some(&CursorKey::new([1; 32])));
        prop_assert!(refused.is_err());
        prop_assert!(Cursor::decode(&text, &Query::default(), None).is_err() || text.len() >= 49);
    }
}

#[tokio::test]
async fn a_query_that_runs_out_of_time_gets_further_when_it_is_asked_again() {
    let dir = two_writers().await;
    let source = FolderRecords::lasting(dir.path(), clock(), std::time::Duration::ZERO);
    let error = source.run(asked(&[("client", "C1")]), None).unwrap_err();
    assert!(matches!(error, QueryError::Unfinished { read: 0, .. }), "{error}");
    assert!(error.to_string().contains("0 of "), "{error}");
}

#[tokio::test]
async fn damage_is_passed_over_and_said() {
    let dir = two_writers().await;
    let before = all(&FolderRecords::once(dir.path()), Query::default()).len();
    let path = segments(dir.path()).into_iter().nth(1).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).skip(5_000).position(|window| window == b"d\":\"").unwrap() + 5_000;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut run = FolderRecords::once(dir.path()).run(Query::default(), None).unwrap();
    let after = std::iter::from_fn(|| run.next_found().unwrap()).count();
    assert!(after < before, "{after} of {before}");
    assert!(run.lost().is_some());
}

#[tokio::test]
async fn a_trail_that_is_written_is_read_as_far_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let trail = write(dir.path(), 0..40).await;
    let halfway = copy(dir.path());
    for folder in [dir.path(), halfway.path()] {
        assert_eq!(all(&FolderRecords::once(folder), asked(&[("kind", "decision")])).len(), 40);
    }
    trail.close().await.unwrap();
}

#[test]
fn a_word_that_is_none_is_refused_with_what_would_be_one() {
    let mut query = Query::default();
    assert_eq!(query.set("decision", "maybe"), Err(QueryWordError::Form("`allow` or `deny`")));
    assert_eq!(query.set("clinet", "C1"), Err(QueryWordError::Unknown));
    assert_eq!(query.set("client", ""), Err(QueryWordError::Empty));
    assert_eq!(query.set("client", &"x".repeat(513)), Err(QueryWordError::TooLong));
    assert!(query.set("resource", "N1").is_err() && query.set("principal", "User/").is_err());
    query.set("client", "C1").unwrap();
    assert_eq!(query.set("client", "C2"), Err(QueryWordError::Twice));
    query.set("to", START).unwrap();
    assert_eq!(query.set("from", "2026-03-10T16:00:00Z"), Err(QueryWordError::Backwards));
    let id_with_a_slash = asked(&[("principal", "a/b")]).principal.unwrap();
    assert_eq!((id_with_a_slash.kind, id_with_a_slash.id.as_str()), (None, "a/b"));
}

#[test]
fn the_clock_of_a_demo_stands_still_and_the_order_is_still_one() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let frozen = Arc::new(FrozenClock::at(at(0)));
        let trail = Trail::open(config(dir.path()), frozen).unwrap();
        for number in 0..200 {
            drop(trail.append((), Record { at: at(0), ..decision(number) }, Tier::Process).await.unwrap());
        }
        trail.close().await.unwrap();
        let found = all(&FolderRecords::once(dir.path()), asked(&[("kind", "decision")]));
        assert_eq!(ids(&found), (0..200).map(|number| format!("d{number}")).collect::<Vec<_>>());
    });
}
