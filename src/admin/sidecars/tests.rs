//! Who stands in a barrier's way, and who no longer does.

use super::*;

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
