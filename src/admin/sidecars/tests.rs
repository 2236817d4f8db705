//! Who stands in a barrier's way, and who no longer does.

use super::*;
use crate::{
    postgres_server::Postgres,
    store::{Part, Store, StoreOptions},
};

fn me() -> Sidecar {
    Sidecar { id: "a".into(), process: "serve", host: "one".into(), staleness: Duration::from_secs(2) }
}

fn row(id: &str, passed: i64, unseen_ms: i64) -> Row {
    Row {
        id: id.into(),
        process: "serve".into(),
        host: "one".into(),
        policies: "sha256:aa".into(),
        staleness_ms: 2_000,
        passed,
        tried: 0,
        trouble: None,
        seen_at: "2026-03-10T15:00:00Z".parse().unwrap(),
        unseen_ms,
    }
}

fn ids(named: &[Named]) -> Vec<&str> {
    named.iter().map(|named| named.sidecar.as_str()).collect()
}

/// The confirmed, the unconfirmed, the gone.
fn named(everywhere: &Everywhere) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
    let unconfirmed = everywhere.unconfirmed.iter().map(|one| one.named.sidecar.as_str()).collect();
    (ids(&everywhere.confirmed), unconfirmed, ids(&everywhere.gone))
}

#[test]
fn it_is_in_force_when_each_has_passed_this_barrier_or_a_later_one() {
    let at_once = Duration::ZERO;
    let all = judge(&me(), &[row("a", 7, 0), row("b", 8, 9_000)], 7, at_once);
    assert!(all.in_force && named(&all) == (vec!["a", "b"], vec![], vec![]), "{all:?}");
    let one = judge(&me(), &[row("a", 7, 0), row("b", 6, 9_000)], 7, Duration::from_secs(9));
    assert!(!one.in_force && named(&one) == (vec!["a"], vec!["b"], vec![]), "{one:?}");
    assert_eq!(one.unconfirmed[0].why, "it has not looked since the call; it was seen 9 s ago");
}

#[test]
fn one_that_is_gone_stands_in_the_way_until_what_it_keeps_is_too_old() {
    let rows = [row("a", 7, 0), row("b", 6, 60_000)];
    let early = judge(&me(), &rows, 7, Duration::from_millis(2_499));
    assert!(!early.in_force && named(&early).1 == ["b"], "{early:?}");
    let late = judge(&me(), &rows, 7, Duration::from_millis(2_500));
    assert!(late.in_force && named(&late) == (vec!["a"], vec![], vec!["b"]), "{late:?}");
    let alive = judge(&me(), &[row("a", 7, 0), row("b", 6, 59_999)], 7, Duration::from_secs(60));
    assert!(!alive.in_force, "seen lately: it may well answer");
}

#[test]
fn its_own_words_are_told_and_those_of_an_earlier_barrier_are_not() {
    let failed = |tried| Row { tried, trouble: Some("the feed is silent".into()), ..row("b", 6, 1_000) };
    let why = |row| judge(&me(), &[self::row("a", 7, 0), row], 7, Duration::ZERO).unconfirmed[0].why.clone();
    assert_eq!(why(failed(7)), "its own barrier failed: the feed is silent");
    assert_eq!(why(failed(6)), "it has not looked since the call; it was seen 1 s ago");
}

#[test]
fn a_sidecar_that_is_not_noted_itself_promises_nothing() {
    let nobody = judge(&me(), &[], 7, Duration::from_secs(9));
    assert!(!nobody.in_force && named(&nobody).1 == ["a"], "{nobody:?}");
    assert!(!judge(&me(), &[row("b", 7, 0)], 7, Duration::ZERO).in_force);
}

#[tokio::test]
async fn a_follower_that_came_after_the_look_is_told_of_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    for url in [format!("sqlite://{}/store.db", folder.path().display()), Postgres::shared().demo().1] {
        let store = Store::open(&url, StoreOptions { create: true, ..StoreOptions::default() }).unwrap();
        store.install(&[Part::Tables], "2026-03-10T15:00:00Z".parse().unwrap()).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        rows::appear(&mut transaction, ("a", "serve", "one"), "p", 2_000).await.unwrap();
        rows::age(&mut transaction, "a", "b").await.unwrap();
        let number = rows::next(&mut transaction).await.unwrap();
        // The barrier was under way when it came, and so was a beat of before.
        rows::pass(&mut transaction, "a", number).await.unwrap();
        rows::fail(&mut transaction, "a", number, "the feed is silent").await.unwrap();
        rows::beat(&mut transaction, "a", "p", None).await.unwrap();
        rows::beat(&mut transaction, "a", "p", Some("earlier")).await.unwrap();
        let standing = rows::standing(&mut transaction, "a").await.unwrap();
        assert_eq!((standing.passed, standing.follower.as_deref()), (Some(number), Some("b")), "{url}");
        rows::beat(&mut transaction, "a", "p", Some("b")).await.unwrap();
        assert_eq!(rows::standing(&mut transaction, "a").await.unwrap().follower, None, "{url}");
        // Told once; its own words count again.
        rows::fail(&mut transaction, "a", number, "the feed is silent").await.unwrap();
        let row = rows::all(&mut transaction).await.unwrap().unwrap().into_iter().find(|row| row.id == "a").unwrap();
        assert_eq!((row.tried, row.trouble.as_deref()), (number, Some("the feed is silent")), "{url}");
        transaction.commit().await.unwrap();
    }
}
