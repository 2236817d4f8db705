//! What is kept, for how long, and how much of it.

use super::*;
use crate::domain::{Cell, mapping::Source};

fn key(relation: Option<&str>, id: &str) -> FactKey {
    FactKey { source: Source::App, kind: "Client".into(), relation: relation.map(Into::into), id: id.into() }
}

fn row(id: &str, word: &str) -> Row {
    Row { id: id.into(), cells: [Cell::Text(word.into())].into() }
}

fn mark(validity: &Validity) -> Mark {
    validity.mark(Duration::ZERO)
}

fn found(keep: &Keep, key: &FactKey, slot: &Slot, validity: &Validity, seconds: u64) -> Option<Vec<Row>> {
    keep.find(1, key, slot, validity, Duration::from_secs(seconds), Ageing::Ages).map(|kept| kept.rows.to_vec())
}

#[test]
fn facts_of_one_entity_share_an_entry_and_stay_apart() {
    let (keep, validity) = (Keep::new(1 << 20, Duration::ZERO), Validity::new());
    let (own, team) = (key(None, "C1"), key(Some("team"), "C1"));
    keep.put(1, &own, &Slot::OfEntity(0), &[row("C1", "own")], mark(&validity));
    keep.put(1, &team, &Slot::OfEntity(3), &[], mark(&validity));
    assert_eq!(found(&keep, &own, &Slot::OfEntity(0), &validity, 1), Some(vec![row("C1", "own")]));
    assert_eq!(found(&keep, &team, &Slot::OfEntity(3), &validity, 1), Some(Vec::new()), "no rows is a fact");
    assert_eq!(found(&keep, &key(Some("other"), "C1"), &Slot::OfEntity(4), &validity, 1), None);
    assert_eq!(found(&keep, &key(None, "C2"), &Slot::OfEntity(0), &validity, 1), None);
    keep.put(1, &own, &Slot::OfEntity(0), &[row("C1", "newer")], mark(&validity));
    assert_eq!(found(&keep, &own, &Slot::OfEntity(0), &validity, 1), Some(vec![row("C1", "newer")]));
    assert_eq!(keep.stats().hits, 3);
}

#[test]
fn another_mapping_finds_nothing() {
    let (keep, validity) = (Keep::new(1 << 20, Duration::ZERO), Validity::new());
    let own = key(None, "C1");
    keep.put(2, &own, &Slot::OfEntity(0), &[row("C1", "own")], mark(&validity));
    assert_eq!(found(&keep, &own, &Slot::OfEntity(0), &validity, 1), None);
}

#[test]
fn a_stamp_touches_its_fact_alone() {
    let (keep, validity) = (Keep::new(1 << 20, Duration::ZERO), Validity::new());
    let (own, team) = (key(None, "C1"), key(Some("team"), "C1"));
    keep.put(1, &own, &Slot::OfEntity(0), &[row("C1", "own")], mark(&validity));
    keep.put(1, &team, &Slot::OfEntity(1), &[row("A1", "ana")], mark(&validity));
    let changed = crate::entities::fresh::ChangedFact {
        kind: "Client".into(),
        relation: Some("team".into()),
        id: Some("C1".into()),
    };
    validity.apply(&crate::entities::fresh::Changed::These(vec![changed]));
    assert_eq!(found(&keep, &team, &Slot::OfEntity(1), &validity, 1), None);
    assert!(found(&keep, &own, &Slot::OfEntity(0), &validity, 1).is_some());
    keep.put(1, &team, &Slot::OfEntity(1), &[], mark(&validity));
    assert_eq!(found(&keep, &team, &Slot::OfEntity(1), &validity, 1), Some(Vec::new()), "read after the stamp");
    validity.forget();
    assert_eq!(found(&keep, &own, &Slot::OfEntity(0), &validity, 1), None);
}

#[test]
fn what_does_not_exist_is_known_for_seconds_and_what_exists_for_a_minute() {
    let (keep, validity) = (Keep::new(1 << 20, Duration::ZERO), Validity::new());
    let (there, absent) = (key(None, "C1"), key(None, "nobody"));
    keep.put(1, &there, &Slot::OfEntity(0), &[row("C1", "own")], mark(&validity));
    keep.put(1, &absent, &Slot::OfEntity(0), &[], mark(&validity));
    assert_eq!(found(&keep, &absent, &Slot::OfEntity(0), &validity, 4), Some(Vec::new()));
    assert_eq!(found(&keep, &absent, &Slot::OfEntity(0), &validity, 6), None);
    assert!(found(&keep, &there, &Slot::OfEntity(0), &validity, 59).is_some());
    assert_eq!(found(&keep, &there, &Slot::OfEntity(0), &validity, 71), None);
}

#[test]
fn the_room_is_bounded() {
    let (keep, validity) = (Keep::new(1 << 20, Duration::ZERO), Validity::new());
    for number in 0..20_000 {
        let id = format!("C{number}");
        keep.put(1, &key(None, &id), &Slot::OfEntity(0), &[row(&id, "own")], mark(&validity));
        keep.put(1, &key(None, &format!("no{number}")), &Slot::OfEntity(0), &[], mark(&validity));
    }
    keep.entries.run_pending_tasks();
    keep.absent.run_pending_tasks();
    assert!(keep.stats().bytes <= 1 << 20, "{:?}", keep.stats());
    assert!(keep.stats().entries > 1_000, "{:?}", keep.stats());
}
