//! The power fails at every write and every sync of a run whose receipts all say `disk`, and once more while the next
//! start recovers: no receipt is missing.

use super::{
    flaky::{Crash, Dice, Event, FlakyDisk, image, image_on},
    *,
};

const LOSSES: [Crash; 5] = [Crash::AllLost, Crash::OldestLost, Crash::NewestAlone, Crash::Torn, Crash::Power];

/// Four callers at a time, each waiting for the disk, over several segments.
async fn run(disk: &Arc<FlakyDisk>, dir: &Path) {
    let trail = Trail::open_on(config(dir), clock(), disk.storage()).unwrap();
    for round in 0..12 {
        let one = |nth: usize| {
            let trail = &trail;
            async move {
                let receipt = append(trail, &format!("{round}.{nth}"), Tier::Disk).await.unwrap();
                assert_eq!(receipt.durability, Tier::Disk);
                disk.note(Event::Acknowledged { seq: receipt.seq, writer: receipt.writer, disk: true });
            }
        };
        futures_util::future::join_all((0..4).map(one)).await;
    }
    trail.close().await.unwrap();
}

fn receipts(events: &[Event]) -> Vec<(String, u64)> {
    let receipt = |event: &Event| match event {
        Event::Acknowledged { seq, writer, .. } => Some((writer.clone(), *seq)),
        _ => None,
    };
    events.iter().filter_map(receipt).collect()
}

fn missing(dir: &Path, receipts: &[(String, u64)]) -> usize {
    let stored = stored(dir);
    receipts.iter().filter(|receipt| !stored.contains(receipt)).count()
}

#[tokio::test]
async fn a_loss_of_power_at_any_write_or_sync_takes_no_receipt_of_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FlakyDisk::new(|_, _| None);
    run(&disk, dir.path()).await;
    let events = disk.events();
    let segments = events.iter().filter(|event| matches!(event, Event::Create(_))).count();
    assert!(segments > 2 && receipts(&events).len() == 48, "{segments} segments");
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let (mut lost, mut recovered, mut twice) = (0, 0, 0);
    for upto in 1..=events.len() {
        let receipts = receipts(&events[..upto]);
        for crash in LOSSES {
            let left = image(&events[..upto], crash, &mut dice);
            let what = format!("{crash:?} after event {upto}");
            assert_eq!(missing(left.path(), &receipts), 0, "{what}: {:#?}", check(left.path()));
            assert_ne!(check(left.path()).verdict, Verdict::Damaged, "{what}: {:#?}", check(left.path()));
            lost += 1;
            if crash == Crash::Torn {
                open(left.path()).close().await.unwrap();
                assert_eq!(missing(left.path(), &receipts), 0, "recovered, {what}");
                assert_verdict(left.path(), Verdict::Whole);
                recovered += 1;
            }
        }
        if upto % 24 == 0 {
            twice += lost_again(&events[..upto], &receipts, &mut dice).await;
        }
    }
    assert!(lost > 300 && recovered > 60 && twice > 30, "{lost} losses, {recovered} recoveries, {twice} lost again");
}

/// The same folder, recovered by a start whose own power fails at each of its writes and syncs.
async fn lost_again(events: &[Event], receipts: &[(String, u64)], dice: &mut Dice) -> usize {
    let left = image(events, Crash::Power, dice);
    let (base, disk) = (copy(left.path()), FlakyDisk::new(|_, _| None));
    let trail = Trail::open_on(config(left.path()), clock(), disk.storage()).unwrap();
    trail.close().await.unwrap();
    // The events name files of the folder that was opened; what was there before comes from its copy.
    let named = |path: &Path| base.path().join(path.file_name().unwrap());
    let again: Vec<Event> = disk
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Create(path) => Event::Create(named(&path)),
            Event::Unlink(path) => Event::Unlink(named(&path)),
            Event::Rename(from, to) => Event::Rename(named(&from), named(&to)),
            Event::Pwrite(path, offset, bytes) => Event::Pwrite(named(&path), offset, bytes),
            Event::Allocate(path, len) => Event::Allocate(named(&path), len),
            Event::Sync(path, upto) => Event::Sync(named(&path), upto),
            Event::SyncFailed(path, upto) => Event::SyncFailed(named(&path), upto),
            other @ (Event::SyncDir(_) | Event::Acknowledged { .. }) => other,
        })
        .collect();
    for upto in 1..=again.len() {
        let left = image_on(Some(base.path()), &again[..upto], LOSSES[upto % LOSSES.len()], dice);
        assert_eq!(missing(left.path(), receipts), 0, "lost again after event {upto}");
        open(left.path()).close().await.unwrap();
        assert_eq!(missing(left.path(), receipts), 0, "lost again after event {upto}, and recovered");
        assert_verdict(left.path(), Verdict::Whole);
    }
    again.len()
}
