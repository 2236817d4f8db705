//! Every call to the disk fails once, at every place; and every crash in between.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use super::{
    flaky::{Call, Crash, Dice, Event, Fault, FlakyDisk, image},
    *,
};

/// Appends records of both tiers, four at a time, and notes each receipt.
async fn work(disk: &Arc<FlakyDisk>, trail: &Trail, count: usize) -> Vec<Result<Receipt, AppendError>> {
    let mut results = Vec::new();
    for round in 0..count / 4 {
        let one = |nth: usize| {
            let id = format!("{round}.{nth}");
            let tier = if nth.is_multiple_of(2) { Tier::Process } else { Tier::Disk };
            async move {
                let result = append(trail, &id, tier).await;
                if let Ok(receipt) = &result {
                    disk.note(Event::Acknowledged {
                        seq: receipt.seq,
                        writer: receipt.writer.clone(),
                        disk: receipt.durability == Tier::Disk,
                    });
                }
                result
            }
        };
        results.extend(futures_util::future::join_all((0..4).map(one)).await);
    }
    results
}

async fn closed(trail: &Trail) -> Result<(), CloseError> {
    tokio::time::timeout(Duration::from_secs(30), trail.close()).await.expect("the trail closes or fails in time")
}

/// The receipts that callers got within these events.
fn acknowledged(events: &[Event], at_disk_alone: bool) -> Vec<(String, u64)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Acknowledged { seq, writer, disk } if *disk || !at_disk_alone => Some((writer.clone(), *seq)),
            _ => None,
        })
        .collect()
}

#[track_caller]
fn assert_holds(dir: &Path, receipts: &[(String, u64)], what: &str) {
    let stored = stored(dir);
    for receipt in receipts {
        assert!(stored.contains(receipt), "{what}: {receipt:?} was acknowledged and is gone; {:#?}", check(dir));
    }
}

/// With checkpoints between the records.
fn signed_often(dir: &Path) -> TrailConfig {
    TrailConfig { checkpoint_after: Duration::from_millis(5), ..config(dir) }
}

/// Lets the `n`th call fail for n = 1, 2, … until a run passes untouched.
async fn fail_each_call(fault: Fault) {
    for n in 1.. {
        assert!(n < 1_000, "the faults never end");
        let dir = tempfile::tempdir().unwrap();
        let disk = FlakyDisk::new(move |number, _| (number == n).then_some(fault));
        let Ok(trail) = Trail::open_on(signed_often(dir.path()), clock(), disk.storage()) else { continue };
        let results = work(&disk, &trail, 60).await;
        let end = closed(&trail).await;
        let events = disk.events();
        let what = format!("{fault:?} at call {n}");
        assert_holds(dir.path(), &acknowledged(&events, false), &what);
        assert_ne!(check(dir.path()).verdict, Verdict::Damaged, "{what}: {:#?}", check(dir.path()));
        let power_lost = image(&events, Crash::Power, &mut Dice(u64::try_from(n).unwrap()));
        assert_holds(power_lost.path(), &acknowledged(&events, true), &what);
        if fault != Fault::Full {
            assert!(end.is_ok(), "{what}: one failure is survived, but {end:?}");
            assert!(results.iter().all(Result::is_ok), "{what}: one failure costs no answer: {results:?}");
        }
        if disk.struck() == 0 {
            assert!(n > 30, "only {n} calls");
            return;
        }
    }
}

#[tokio::test]
async fn one_failing_call_at_any_place_loses_nothing_that_was_acknowledged() {
    fail_each_call(Fault::Io).await;
}

#[tokio::test]
async fn one_short_write_at_any_place_loses_nothing_that_was_acknowledged() {
    fail_each_call(Fault::Short).await;
}

#[tokio::test]
async fn one_call_without_room_at_any_place_loses_nothing_that_was_acknowledged() {
    fail_each_call(Fault::Full).await;
}

/// Crashes after every single event of a run: what the folder holds then, and what a restart makes of it.
async fn crash_everywhere(plan: impl Fn(usize, Call) -> Option<Fault> + Send + Sync + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let disk = FlakyDisk::new(plan);
    let trail = Trail::open_on(signed_often(dir.path()), clock(), disk.storage()).unwrap();
    work(&disk, &trail, 60).await;
    closed(&trail).await.unwrap();
    let events = disk.events();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for upto in 1..=events.len() {
        let events = &events[..upto];
        let what = format!("after event {upto}, {:?}", events.last().map(std::mem::discriminant));
        let killed = image(events, Crash::Process, &mut dice);
        assert_holds(killed.path(), &acknowledged(events, false), &format!("killed {what}"));
        for _ in 0..2 {
            let lost = image(events, Crash::Power, &mut dice);
            let receipts = acknowledged(events, true);
            assert_holds(lost.path(), &receipts, &format!("power lost {what}"));
            assert_ne!(check(lost.path()).verdict, Verdict::Damaged, "{what}: {:#?}", check(lost.path()));
            let next = open(lost.path());
            next.close().await.unwrap();
            assert_holds(lost.path(), &receipts, &format!("restarted {what}"));
            assert_signed(lost.path());
        }
        let next = open(killed.path());
        next.close().await.unwrap();
        assert_holds(killed.path(), &acknowledged(events, false), &format!("restarted {what}"));
        assert_signed(killed.path());
    }
}

/// Whole, and every head that stands in it signed, the last one of a dead writer too.
#[track_caller]
fn assert_signed(dir: &Path) {
    let report = audit(dir, None);
    assert_eq!((report.verdict, report.signatures), (Verdict::Whole, Signatures::Verified), "{report:#?}");
    assert!(report.writers.iter().all(|writer| writer.signed_seq == writer.last_seq), "{report:#?}");
}

#[tokio::test]
async fn a_crash_after_any_event_loses_nothing_that_was_acknowledged() {
    crash_everywhere(|_, _| None).await;
}

#[tokio::test]
async fn a_crash_around_a_failed_sync_loses_nothing_that_was_acknowledged() {
    let syncs = AtomicUsize::new(0);
    crash_everywhere(move |_, call| {
        (call == Call::Sync && syncs.fetch_add(1, Ordering::SeqCst) == 5).then_some(Fault::Io)
    })
    .await;
}

#[tokio::test]
async fn a_failed_sync_is_made_good_by_a_new_segment_and_is_never_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    // The 4th sync is the first of frames, or the spare's: both are survived; from there on the file is left alone.
    let failed = Arc::new(AtomicBool::new(false));
    let (count, flag) = (AtomicUsize::new(0), Arc::clone(&failed));
    let disk = FlakyDisk::new(move |_, call| {
        let strikes = call == Call::Sync && count.fetch_add(1, Ordering::SeqCst) == 3;
        flag.fetch_or(strikes, Ordering::SeqCst);
        strikes.then_some(Fault::Io)
    });
    let trail = Trail::open_on(config(dir.path()), clock(), disk.storage()).unwrap();
    let results = work(&disk, &trail, 40).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    closed(&trail).await.unwrap();
    assert!(failed.load(Ordering::SeqCst));
    assert_verdict(dir.path(), Verdict::Whole);
    let events = disk.events();
    let at = events.iter().position(|event| matches!(event, Event::SyncFailed(..))).unwrap();
    let Event::SyncFailed(poisoned, _) = &events[at] else { unreachable!() };
    let again = events[at..]
        .iter()
        .any(|event| matches!(event, Event::Sync(path, _) | Event::Pwrite(path, _, _) if path == poisoned));
    assert!(!again, "the poisoned segment was written or synced again");
}

#[tokio::test]
async fn a_write_that_hangs_is_left_behind_and_its_record_is_answered() {
    hangs(Call::Pwrite, 4).await;
}

#[tokio::test]
async fn a_sync_that_hangs_is_left_behind_and_its_record_is_answered() {
    hangs(Call::Sync, 4).await;
}

async fn hangs(what: Call, nth: usize) {
    let dir = tempfile::tempdir().unwrap();
    let count = AtomicUsize::new(0);
    let disk = FlakyDisk::new(move |_, call| {
        (call == what && count.fetch_add(1, Ordering::SeqCst) + 1 == nth).then_some(Fault::Hang)
    });
    let trail = Trail::open_on(config(dir.path()), clock(), disk.storage()).unwrap();
    let results = tokio::time::timeout(Duration::from_secs(20), work(&disk, &trail, 40)).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(disk.struck(), 1);
    disk.release();
    closed(&trail).await.unwrap();
    assert_holds(dir.path(), &acknowledged(&disk.events(), false), "after the hang");
    assert_ne!(check(dir.path()).verdict, Verdict::Damaged, "{:#?}", check(dir.path()));
}

#[tokio::test]
async fn a_disk_that_fails_for_good_stops_the_trail_and_says_so_to_everyone() {
    let dir = tempfile::tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let disk = FlakyDisk::new(move |_, _| is_broken.load(Ordering::SeqCst).then_some(Fault::Io));
    let trail = Trail::open_on(config(dir.path()), clock(), disk.storage()).unwrap();
    let before = work(&disk, &trail, 8).await;
    assert!(before.iter().all(Result::is_ok));
    broken.store(true, Ordering::SeqCst);
    let fatal = trail.fatal();
    assert!(matches!(append(&trail, "d", Tier::Disk).await, Err(AppendError::Fatal)));
    let why = tokio::time::timeout(Duration::from_secs(10), fatal).await.unwrap();
    assert!(!why.is_empty());
    assert!(matches!(append(&trail, "e", Tier::Process).await, Err(AppendError::Fatal)));
    assert_eq!(trail.status().health, TrailHealth::Fatal);
    assert!(matches!(closed(&trail).await, Err(CloseError::Fatal(_))));
    assert_holds(dir.path(), &acknowledged(&disk.events(), false), "after the end");
}

#[tokio::test]
async fn without_room_nothing_is_answered_and_the_return_begins_with_the_count() {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    let disk = FlakyDisk::new(move |number, call| {
        (number > 3 && call == Call::Allocate && is_full.load(Ordering::SeqCst)).then_some(Fault::Full)
    });
    let trail = Trail::open_on(config(dir.path()), clock(), disk.storage()).unwrap();
    let mut refused = 0u64;
    for n in 0..40 {
        match append(&trail, &format!("d{n}"), Tier::Process).await {
            Ok(_) => assert_eq!(refused, 0, "answered without room"),
            Err(AppendError::Full) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0);
    assert_eq!(trail.status().health, TrailHealth::Full);
    full.store(false, Ordering::SeqCst);
    wait_until("room", || trail.status().health == TrailHealth::Ok).await;
    let receipt = append(&trail, "back", Tier::Disk).await.unwrap();
    closed(&trail).await.unwrap();
    assert_verdict(dir.path(), Verdict::Whole);
    let filter = Filter { lookup: Some(format!("{}/{}", receipt.writer, receipt.seq - 1)), ..Filter::default() };
    let before = records(dir.path(), filter).unwrap().next().unwrap().unwrap();
    let before: serde_json::Value = serde_json::from_slice(&before.line).unwrap();
    assert_eq!((&before["detail"]["event"], &before["detail"]["count"]), (&"refused".into(), &refused.into()));
}

#[tokio::test]
async fn a_full_trail_can_still_be_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FlakyDisk::new(|number, call| (number > 3 && call == Call::Allocate).then_some(Fault::Full));
    let trail = Trail::open_on(config(dir.path()), clock(), disk.storage()).unwrap();
    work(&disk, &trail, 80).await;
    assert_eq!(trail.status().health, TrailHealth::Full);
    closed(&trail).await.unwrap();
    assert_verdict(dir.path(), Verdict::Whole);
}

#[tokio::test]
async fn what_was_captured_counts_in_the_quota_and_goes_before_a_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let captured = dir.path().join("captured");
    std::fs::create_dir(&captured).unwrap();
    for name in ["1.jsonl", "2.jsonl", "3.jsonl"] {
        std::fs::write(captured.join(name), vec![b'x'; 30_000]).unwrap();
    }
    let left = || std::fs::read_dir(&captured).unwrap().count();
    let config = TrailConfig { quota_bytes: Some(100_000), ..config(dir.path()) };
    let trail = Trail::open(config, clock()).unwrap();
    assert!(left() < 3, "one made room for the first segment and its spare: {}", left());
    let mut last = Ok(());
    for n in 0..400 {
        last = append(&trail, &format!("d{n}"), Tier::Process).await.map(|_| ());
    }
    assert!(matches!(last, Err(AppendError::Full)));
    assert_eq!(left(), 0, "the trail went first, up to all of it");
    closed(&trail).await.unwrap();
}

#[tokio::test]
async fn the_quota_counts_as_full_before_it_is_passed() {
    let dir = tempfile::tempdir().unwrap();
    let quota = 100_000;
    let trail = Trail::open(TrailConfig { quota_bytes: Some(quota), ..config(dir.path()) }, clock()).unwrap();
    let mut last = Ok(());
    for n in 0..400 {
        last = append(&trail, &format!("d{n}"), Tier::Process).await.map(|_| ());
    }
    assert!(matches!(last, Err(AppendError::Full)));
    closed(&trail).await.unwrap();
    let used: u64 = segments(dir.path()).iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    assert!(used <= quota);
}
