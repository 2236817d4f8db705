//! What goes when its time is over, what stays all the same, and what the rest still proves.

use super::{
    flaky::{Crash, Dice, Event, FlakyDisk, image},
    *,
};
use crate::{
    audit::{
        extent,
        retention::{HoldScope, HoldTurn, Kept, Plan, PlanError, Retention, hold_record, holds, plan, prune},
    },
    clock::FrozenClock,
    domain::Timestamp,
};

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Six years to the day after the first records, that day over.
pub(super) fn later() -> Timestamp {
    at("2024-03-11T00:00:00Z")
}

pub(super) fn six() -> Retention {
    Retention::new(6, std::collections::BTreeMap::new())
}

fn open_at(now: Timestamp, dir: &Path, storage: Arc<dyn Storage>) -> Trail {
    Trail::open_on(config(dir), Arc::new(FrozenClock::at(now)), storage).unwrap()
}

/// One writer of that day, with so many decisions about a tenant's client.
async fn write_on(day: Timestamp, dir: &Path, storage: Arc<dyn Storage>, (tenant, client): (&str, &str), count: usize) {
    let trail = open_at(day, dir, storage);
    for n in 0..count {
        let mut record = decision(&format!("d{n}"));
        (record.at, record.tenant, record.client) = (day, Some(tenant.into()), Some(client.into()));
        trail.append((), record, Tier::Process).await.unwrap();
    }
    trail.close().await.unwrap();
}

/// One record of that day in a writer of its own, which started two years before.
async fn write_one(dir: &Path, mut record: Record, day: &str) {
    record.at = at(day);
    let trail = open_at(record.at - jiff::SignedDuration::from_hours(24 * 731), dir, Arc::new(Disk));
    trail.append((), record, Tier::Process).await.unwrap();
    trail.close().await.unwrap();
}

/// What keeps the first segment of the folder's first writer.
fn first_kept(dir: &Path, retention: &Retention, now: Timestamp) -> Option<Kept> {
    let first = check(dir).writers[0].writer.clone();
    let planned = planned(dir, retention, now).unwrap();
    planned.kept.into_iter().find(|(writer, segment, _)| (writer, *segment) == (&first, 1)).map(|(_, _, why)| why)
}

/// A writer of 2018, one of the year after, one of 2024.
pub(super) async fn three_writers() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (day, client) in
        [("2018-03-10T15:00:00Z", "C1"), ("2019-03-10T15:00:00Z", "C2"), ("2024-03-01T15:00:00Z", "C3")]
    {
        write_on(at(day), dir.path(), Arc::new(Disk), ("T1", client), 60).await;
    }
    dir
}

pub(super) fn planned(dir: &Path, retention: &Retention, now: Timestamp) -> Result<Plan, PlanError> {
    plan(dir, retention, &VerifyOptions::default(), now)
}

pub(super) async fn pruned_at(now: Timestamp, dir: &Path, retention: &Retention) -> u64 {
    let trail = open_at(now, dir, Arc::new(Disk));
    let planned = planned(dir, retention, now).unwrap();
    let pruned = prune(&trail, &planned, "pri", now).await.unwrap();
    trail.close().await.unwrap();
    pruned.records
}

fn clients(dir: &Path) -> std::collections::BTreeSet<String> {
    records(dir, Filter::default())
        .unwrap()
        .map(|record| serde_json::from_slice::<Record>(&record.unwrap().line).unwrap())
        .filter(|record| record.kind == RecordKind::Decision)
        .filter_map(|record| record.client.map(|client| client.to_string()))
        .collect()
}

pub(super) async fn hold(dir: &Path, now: Timestamp, id: &str, turn: HoldTurn) {
    let standing = holds(dir, EncryptionKeys::default()).unwrap();
    let record = hold_record(id, turn, ("pri", "case 26-113"), &standing, now).unwrap();
    let trail = open_at(now, dir, Arc::new(Disk));
    trail.append((), record, Tier::Disk).await.unwrap();
    trail.close().await.unwrap();
}

#[tokio::test]
async fn what_is_over_goes_to_the_day_and_the_rest_verifies_with_the_stub_named() {
    let dir = three_writers().await;
    let first = check(dir.path()).writers[0].clone();
    let day_before = planned(dir.path(), &six(), at("2024-03-10T23:59:59Z")).unwrap();
    assert_eq!((day_before.segments(), &day_before.kept[0].2), (0, &Kept::Time));
    let before = segments(dir.path());
    let planned = planned(dir.path(), &six(), later()).unwrap();
    assert_eq!((planned.segments(), planned.records()), (first.segments, 61));
    assert_eq!(segments(dir.path()), before, "a plan changes nothing");

    assert_eq!(pruned_at(later(), dir.path(), &six()).await, 61);
    assert_eq!(clients(dir.path()), ["C2".to_owned(), "C3".to_owned()].into());
    let report = audit(dir.path(), None);
    assert_eq!((report.verdict, report.signatures), (Verdict::Whole, Signatures::Verified), "{report:#?}");
    let [stub] = report.pruned.as_slice() else { panic!("{report:#?}") };
    assert_eq!(
        (stub.writer.as_str(), stub.last_seq, stub.root.as_str()),
        (first.writer.as_str(), 61, first.root.as_str())
    );
    assert!(stub.signed, "{stub:?}");
    // It is recorded twice: as it was to begin, and as it was done.
    let events: Vec<String> = records(dir.path(), Filter::default())
        .unwrap()
        .filter_map(|record| {
            serde_json::from_slice::<Record>(&record.unwrap().line).unwrap().detail.get("event").cloned()
        })
        .filter_map(|event| event.as_str().map(str::to_owned))
        .filter(|event| event.contains("prune"))
        .collect();
    assert_eq!(events, ["prune_begun", "pruned"]);
    // An accounting of a time that the pruned records are not of lacks nothing; one that reaches back does.
    let missing = |since| extent(dir.path(), at(since)).unwrap().elsewhere;
    assert_eq!(missing("2018-03-11T00:00:00Z"), []);
    let lost = missing("2018-03-10T00:00:00Z");
    assert!(lost.iter().all(|(writer, _)| *writer == first.writer) && !lost.is_empty(), "{lost:?}");
    // The next start goes on, and the next pruning finds nothing.
    assert_eq!(pruned_at(later(), dir.path(), &six()).await, 0);
    assert_eq!(audit(dir.path(), None).verdict, Verdict::Whole);
}

#[tokio::test]
async fn a_writer_goes_in_part_and_its_stub_grows_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = FrozenClock::at(at("2018-03-10T15:00:00Z"));
    let trail = Trail::open(config(dir.path()), Arc::new(clock.clone())).unwrap();
    for n in 0..180 {
        let mut record = decision(&format!("d{n}"));
        (record.at, record.tenant) = (clock.now(), Some("T1".into()));
        trail.append((), record, Tier::Process).await.unwrap();
        if n % 60 == 59 {
            clock.set(clock.now() + jiff::SignedDuration::from_hours(24 * 366));
        }
    }
    trail.close().await.unwrap();
    let mut left = 182;
    for day in ["2024-03-12T00:00:00Z", "2025-03-13T00:00:00Z"] {
        let gone = pruned_at(at(day), dir.path(), &six()).await;
        assert!(gone > 20 && gone < left, "{gone} of {left}");
        left -= gone;
        let report = audit(dir.path(), None);
        assert_eq!((report.verdict, report.pruned.len()), (Verdict::Whole, 1), "{report:#?}");
        assert_eq!(report.writers[0].first_seq, report.pruned[0].last_seq + 1);
    }
}

#[tokio::test]
async fn a_hold_keeps_what_it_names_until_it_is_lifted() {
    let dir = three_writers().await;
    let early = at("2024-03-02T00:00:00Z");
    let scope = HoldScope { client: Some("C1".to_owned()), ..HoldScope::default() };
    hold(dir.path(), early, "case-1", HoldTurn::Place(scope)).await;
    let standing = holds(dir.path(), EncryptionKeys::default()).unwrap();
    assert_eq!((standing.len(), standing[0].by.as_str(), standing[0].reason.as_str()), (1, "pri", "case 26-113"));
    let planned = planned(dir.path(), &six(), later()).unwrap();
    assert_eq!((planned.segments(), &planned.kept[0].2), (0, &Kept::Hold("case-1".to_owned())));
    // The record of a hold that stands outlives its own time, or the hold would end by itself.
    let far = at("2040-01-01T00:00:00Z");
    assert!(pruned_at(far, dir.path(), &six()).await > 0);
    assert_eq!(holds(dir.path(), EncryptionKeys::default()).unwrap(), standing);
    assert!(clients(dir.path()).contains("C1"), "{:?}", clients(dir.path()));
    assert_eq!(audit(dir.path(), None).verdict, Verdict::Whole);

    hold(dir.path(), far, "case-1", HoldTurn::Lift).await;
    assert!(holds(dir.path(), EncryptionKeys::default()).unwrap().is_empty());
    assert!(pruned_at(far, dir.path(), &six()).await > 0);
    assert!(!clients(dir.path()).contains("C1"));
    assert_eq!(audit(dir.path(), None).verdict, Verdict::Whole);
}

#[tokio::test]
async fn the_record_of_a_hold_stays_while_it_stands_also_where_no_hold_is_about_that_record() {
    let dir = three_writers().await;
    let scope =
        HoldScope { client: Some("C1".to_owned()), to: Some(at("2019-01-01T00:00:00Z")), ..HoldScope::default() };
    hold(dir.path(), at("2024-03-02T00:00:00Z"), "case-1", HoldTurn::Place(scope)).await;
    let far = at("2040-01-01T00:00:00Z");
    assert!(pruned_at(far, dir.path(), &six()).await > 0);
    assert_eq!(holds(dir.path(), EncryptionKeys::default()).unwrap().len(), 1);
    assert!(clients(dir.path()).contains("C1"), "{:?}", clients(dir.path()));
    hold(dir.path(), far, "case-1", HoldTurn::Lift).await;
    assert!(pruned_at(far, dir.path(), &six()).await > 0);
    assert!(!clients(dir.path()).contains("C1"));
}

#[tokio::test]
async fn a_tenant_with_more_years_keeps_its_segments() {
    let dir = three_writers().await;
    let ten = Retention::new(6, [("T1".to_owned(), 10)].into());
    assert_eq!(pruned_at(later(), dir.path(), &ten).await, 0);
    assert_eq!(pruned_at(at("2028-03-11T00:00:00Z"), dir.path(), &ten).await, 61);
}

#[tokio::test]
async fn a_stub_that_was_changed_forged_or_taken_away_is_found() {
    let dir = three_writers().await;
    // The first writer goes wholly, and a part of it stays: both kinds of stub.
    assert!(pruned_at(later(), dir.path(), &six()).await > 0);
    let path = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "pruned"))
        .unwrap();
    let original = std::fs::read(&path).unwrap();
    for at in (0..original.len()).step_by(7) {
        let mut changed = original.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert_eq!(audit(dir.path(), None).verdict, Verdict::Damaged, "byte {at}");
    }
    // The digest put right, without the key: the signature tells; and without a key, the chain of the next writer.
    let text = String::from_utf8(original.clone()).unwrap();
    let json = text.lines().nth(2).unwrap();
    let forge = |json: &str| {
        let digest = crate::audit::merkle::Hash::of(&[json.as_bytes()]).to_string();
        let mut lines: Vec<&str> = text.lines().collect();
        (lines[1], lines[2]) = (&digest, json);
        lines.join("\n") + "\n"
    };
    std::fs::write(&path, forge(&json.replace("\"to\":\"2018", "\"to\":\"2017"))).unwrap();
    assert_eq!(check(dir.path()).verdict, Verdict::Whole);
    assert_eq!(audit(dir.path(), None).first_bad().unwrap().problem, "stub");
    std::fs::write(&path, forge(&json.replace("\"clean\":true", "\"clean\":false"))).unwrap();
    assert_eq!(check(dir.path()).first_bad().unwrap().problem, "stub");

    std::fs::remove_file(&path).unwrap();
    assert_eq!(check(dir.path()).first_bad().unwrap().problem, "missing_writer");
    std::fs::write(&path, &original).unwrap();
    assert_eq!(audit(dir.path(), None).verdict, Verdict::Whole);
    // A segment that somebody took away has no stub.
    std::fs::remove_file(segments(dir.path()).remove(0)).unwrap();
    assert_eq!(audit(dir.path(), None).verdict, Verdict::Damaged);
}

#[tokio::test]
async fn a_damaged_trail_is_not_pruned() {
    let dir = three_writers().await;
    let path = segments(dir.path()).remove(1);
    let mut stored = std::fs::read(&path).unwrap();
    stored[5000] ^= 1;
    std::fs::write(&path, &stored).unwrap();
    let planned = planned(dir.path(), &six(), later());
    assert!(matches!(planned, Err(PlanError::Damaged { .. })), "{planned:?}");
}

#[tokio::test]
async fn a_pruning_that_is_cut_off_anywhere_is_finished_or_never_was() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FlakyDisk::new(|_, _| None);
    for day in ["2018-03-10T15:00:00Z", "2018-03-10T16:00:00Z"] {
        write_on(at(day), dir.path(), disk.storage(), ("T1", "C1"), 30).await;
    }
    let before = stored(dir.path());
    let trail = open_at(later(), dir.path(), disk.storage());
    let begun = disk.events().len();
    let planned = planned(dir.path(), &six(), later()).unwrap();
    prune(&trail, &planned, "pri", later()).await.unwrap();
    trail.close().await.unwrap();
    let events = disk.events();
    assert!(events.iter().any(|event| matches!(event, Event::Rename(..))));
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let (mut whole, mut gone) = (0, 0);
    for upto in begun..=events.len() {
        for crash in [Crash::Process, Crash::Power, Crash::Power, Crash::Power] {
            let left = image(&events[..upto], crash, &mut dice);
            open_at(later(), left.path(), Arc::new(Disk)).close().await.unwrap();
            let report = audit(left.path(), None);
            assert_eq!(report.verdict, Verdict::Whole, "{crash:?} after event {upto}: {report:#?}");
            assert!(
                std::fs::read_dir(left.path())
                    .unwrap()
                    .all(|entry| { !entry.unwrap().file_name().to_str().unwrap().ends_with(".new") })
            );
            let now = stored(left.path());
            for files in before.iter().map(|(writer, _)| writer).collect::<std::collections::BTreeSet<_>>() {
                let of =
                    |all: &std::collections::BTreeSet<(String, u64)>| all.iter().filter(|(of, _)| of == files).count();
                // All of a writer or nothing.
                assert!(of(&now) == 0 || of(&now) == of(&before), "{crash:?} after event {upto}");
                if of(&now) == 0 { gone += 1 } else { whole += 1 }
            }
        }
    }
    assert!(whole > 0 && gone > 0, "{whole} {gone}");
}

#[tokio::test]
async fn a_record_of_two_tenants_is_kept_for_either_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut record = decision("d1");
    (record.tenant, record.resource_tenant, record.client) =
        (Some("vendor".into()), Some("T1".into()), Some("C1".into()));
    write_one(dir.path(), record, "2018-03-10T15:00:00Z").await;
    write_one(dir.path(), decision("d2"), "2024-03-01T15:00:00Z").await;
    let longer = |tenant: &str| Retention::new(6, [(tenant.to_owned(), 10)].into());
    // Ten years after the start, whose record is of no tenant, and not yet after the record.
    let far = at("2027-01-01T00:00:00Z");
    for tenant in ["vendor", "T1"] {
        assert_eq!(first_kept(dir.path(), &longer(tenant), far), Some(Kept::Time), "{tenant}");
    }
    assert_eq!(first_kept(dir.path(), &six(), far), None);
    for (tenant, is_kept) in [("vendor", true), ("T1", true), ("T2", false)] {
        let scope = HoldScope { tenant: Some(tenant.to_owned()), ..HoldScope::default() };
        hold(dir.path(), far, "case", HoldTurn::Place(scope)).await;
        let why = is_kept.then(|| Kept::Hold("case".to_owned()));
        assert_eq!(first_kept(dir.path(), &six(), far), why, "{tenant}");
        hold(dir.path(), far, "case", HoldTurn::Lift).await;
    }
}

#[tokio::test]
async fn a_note_about_another_record_is_kept_by_every_hold_and_a_plain_one_of_the_trail_by_none_that_names() {
    let note = |key: &str| {
        let mut record = Record::new(RecordKind::System, later());
        match key {
            "decision_id" => record.decision_id = Some("d1".to_owned()),
            key => drop(record.detail.insert(key.to_owned(), 7.into())),
        }
        record
    };
    let scope =
        HoldScope { client: Some("C1".to_owned()), to: Some(at("2018-01-01T00:00:00Z")), ..HoldScope::default() };
    let kept = Some(Kept::Hold("case".to_owned()));
    for (key, why) in [("decision_id", &kept), ("change", &kept), ("withheld_seq", &kept), ("count", &None)] {
        let dir = tempfile::tempdir().unwrap();
        write_one(dir.path(), note(key), "2018-03-10T15:00:00Z").await;
        hold(dir.path(), at("2024-03-02T00:00:00Z"), "case", HoldTurn::Place(scope.clone())).await;
        assert_eq!(&first_kept(dir.path(), &six(), later()), why, "{key}");
    }
    // Nobody knows whose the other record is: the longest years count, though this one names a tenant with less.
    let dir = tempfile::tempdir().unwrap();
    write_one(dir.path(), Record { tenant: Some("T1".into()), ..note("change") }, "2018-03-10T15:00:00Z").await;
    write_one(dir.path(), decision("d2"), "2024-03-01T15:00:00Z").await;
    let ten = Retention::new(6, [("T2".to_owned(), 10)].into());
    assert_eq!(first_kept(dir.path(), &ten, at("2027-01-01T00:00:00Z")), Some(Kept::Time));
}
