//! Shipping to a shelf in memory: exactly once, through lost answers, absences, full and broken disks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::{
    super::merkle::Hash,
    flaky::{Call, Fault, FlakyDisk},
    *,
};
use crate::domain::{Held, ShippedFrame, ShippedHeader};

/// A sink that checks as a store does.
#[derive(Clone, Default)]
struct Shelf(Arc<Inner>);

#[derive(Default)]
struct Inner {
    writers: Mutex<BTreeMap<String, Vec<ShippedFrame>>>,
    headers: Mutex<BTreeMap<String, Arc<Vec<u8>>>>,
    is_away: AtomicBool,
    /// Every such call does its work, and its answer is lost.
    loses_each: AtomicUsize,
    calls: AtomicUsize,
    refuses: AtomicBool,
    /// What somebody else brought to the store as checkpoints.
    forged: Mutex<Vec<String>>,
}

impl Shelf {
    fn away(&self, is_away: bool) {
        self.0.is_away.store(is_away, Ordering::SeqCst);
    }

    /// All records as `(writer, seq)`; each is there once, or this panics.
    fn records(&self) -> BTreeSet<(String, u64)> {
        let writers = self.0.writers.lock().unwrap();
        let mut records = BTreeSet::new();
        for (writer, frames) in &*writers {
            for row in frames.iter().flat_map(|frame| &frame.rows) {
                assert!(records.insert((writer.clone(), row.seq)), "{writer}/{} is there twice", row.seq);
            }
        }
        records
    }

    fn holds(&self, receipt: &Receipt) -> bool {
        self.records().contains(&(receipt.writer.clone(), receipt.seq))
    }

    fn held_of(&self, writer: &str) -> Option<Held> {
        let writers = self.0.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let frames = writers.get(writer)?;
        let last = frames.last();
        let every = writers.values().flatten().filter_map(|frame| frame.note.as_ref());
        let mut notes: Vec<String> = every.filter(|note| note.writer == writer).map(|note| note.note.clone()).collect();
        notes.extend(self.0.forged.lock().unwrap().clone());
        Some(Held {
            frame: last.map_or(0, |last| last.frame),
            seq: frames.iter().map(|frame| u64::try_from(frame.rows.len()).unwrap()).sum(),
            notes,
            alarm: None,
        })
    }

    fn answers(&self) -> Result<(), SinkError> {
        if self.0.is_away.load(Ordering::SeqCst) { Err(SinkError::Away("gone".to_owned())) } else { Ok(()) }
    }
}

impl Sink for Shelf {
    fn held(&mut self, writer: &str) -> Result<Option<Held>, SinkError> {
        self.answers()?;
        Ok(self.held_of(writer))
    }

    fn append(
        &mut self,
        writer: &str,
        header: Option<&ShippedHeader>,
        frames: &[ShippedFrame],
    ) -> Result<Held, SinkError> {
        self.answers()?;
        if self.0.refuses.load(Ordering::SeqCst) {
            return Err(SinkError::Refused("fork".to_owned()));
        }
        let mut writers = self.0.writers.lock().unwrap();
        let mut headers = self.0.headers.lock().unwrap();
        if let Some(header) = header {
            headers.entry(writer.to_owned()).or_insert_with(|| Arc::clone(&header.bytes));
        }
        let begin = headers.get(writer).expect("a writer comes with its header");
        let held = writers.entry(writer.to_owned()).or_default();
        for frame in frames {
            let place = usize::try_from(frame.frame - 1).unwrap();
            if let Some(twin) = held.get(place) {
                assert_eq!(twin.bytes, frame.bytes, "the same frame again is the same");
                continue;
            }
            assert_eq!(place, held.len(), "frames follow each other");
            let before = held.last().map_or_else(|| Hash::of(&[begin]), |last| Hash(last.chain));
            assert_eq!(Hash::of(&[&before.0, &frame.bytes[..frame.bound]]).0, frame.chain, "the chain goes on");
            held.push(frame.clone());
        }
        drop((writers, headers));
        let each = self.0.loses_each.load(Ordering::SeqCst);
        if each > 0 && self.0.calls.fetch_add(1, Ordering::SeqCst) % each == each - 1 {
            return Err(SinkError::Away("the answer was lost".to_owned()));
        }
        Ok(self.held_of(writer).unwrap())
    }
}

/// The decisions that the trail says were withheld, each said of the record that it is.
fn withheld(dir: &Path) -> Vec<String> {
    let lines: Vec<(u64, Record)> = records(dir, Filter::default())
        .unwrap()
        .map(|stored| stored.map(|stored| (stored.seq, serde_json::from_slice(&stored.line).unwrap())).unwrap())
        .collect();
    let said = lines.iter().filter(|(_, record)| record.detail.get("event").is_some_and(|event| event == "withheld"));
    said.map(|(_, said)| {
        let id = said.decision_id.clone().unwrap();
        let of = |(seq, record): &&(u64, Record)| {
            said.detail["withheld_seq"] == *seq && record.decision_id == said.decision_id
        };
        let decision = &lines.iter().find(of).expect("the record stands").1;
        assert_eq!((decision.kind, &decision.caller), (RecordKind::Decision, &said.caller));
        id
    })
    .collect()
}

fn shipping(dir: &Path) -> TrailConfig {
    TrailConfig { ships: true, ..config(dir) }
}

fn shipped_to(trail: &Trail, shelf: &Shelf) {
    let shelf = shelf.clone();
    trail.ship(move || Box::new(shelf)).unwrap();
}

fn open_to(dir: &Path, shelf: &Shelf) -> Trail {
    let trail = Trail::open(shipping(dir), clock()).unwrap();
    shipped_to(&trail, shelf);
    trail
}

async fn stands(trail: &Trail) {
    wait_until("the store answers", || trail.shared_for_test(|state| state.shipping.stands())).await;
}

#[tokio::test]
async fn every_record_is_shipped_once_though_answers_are_lost() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    shelf.0.loses_each.store(3, Ordering::SeqCst);
    let trail = open_to(dir.path(), &shelf);
    append_many(&trail, 150, Tier::Process).await;
    wait_until("lag is 0", || trail.status().shipping.lag == 0).await;
    trail.close().await.unwrap();
    assert_eq!(shelf.records(), stored(dir.path()));
    assert_verdict(dir.path(), Verdict::Whole);
}

#[tokio::test]
async fn a_remote_receipt_is_given_when_the_store_holds_the_record() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    let trail = open_to(dir.path(), &shelf);
    for n in 0..20 {
        let receipt = append(&trail, &format!("d{n}"), Tier::Remote).await.unwrap();
        assert_eq!(receipt.durability, Tier::Remote);
        assert!(shelf.holds(&receipt), "answered before the store had it");
    }
    shelf.away(true);
    let error = append(&trail, "away", Tier::Remote).await.unwrap_err();
    assert!(matches!(error, AppendError::StoreAway), "{error}");
    assert!(matches!(append(&trail, "away", Tier::Remote).await, Err(AppendError::StoreAway)), "said at once");
    assert_eq!(append(&trail, "here", Tier::Disk).await.unwrap().durability, Tier::Disk);
    assert!(trail.status().shipping.away.is_some() && trail.status().shipping.lag > 0);
    shelf.away(false);
    stands(&trail).await;
    assert!(shelf.holds(&append(&trail, "back", Tier::Remote).await.unwrap()));
    trail.close().await.unwrap();
    assert_eq!(shelf.records(), stored(dir.path()));
    assert_eq!(withheld(dir.path()), ["away"], "its record stands and its answer did not leave");
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_read_from_the_folder() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    shelf.away(true);
    let trail = open_to(dir.path(), &shelf);
    append_many(&trail, 300, Tier::Process).await;
    wait_until("all is on disk", || trail.status().synced_seq >= 300).await;
    trail.shared_for_test(|state| state.shipping.forget_all());
    shelf.away(false);
    wait_until("lag is 0", || trail.status().shipping.lag == 0).await;
    append_many(&trail, 10, Tier::Remote).await;
    trail.close().await.unwrap();
    assert!(segments(dir.path()).len() > 3);
    assert_eq!(shelf.records(), stored(dir.path()));
}

#[tokio::test]
async fn what_dead_writers_left_is_adopted_and_shipped() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    let first = open(dir.path());
    append_many(&first, 90, Tier::Process).await;
    first.close().await.unwrap();
    let killed = open(dir.path());
    append_many(&killed, 60, Tier::Disk).await;
    // A kill leaves what stands here now.
    let left = copy(dir.path());
    drop(killed);
    let trail = open_to(left.path(), &shelf);
    append_many(&trail, 5, Tier::Remote).await;
    wait_until("lag is 0", || trail.status().shipping.lag == 0).await;
    trail.close().await.unwrap();
    assert_eq!(shelf.0.writers.lock().unwrap().len(), 3);
    assert_eq!(shelf.records(), stored(left.path()));
    // The next start finds all of it there.
    let again = open_to(left.path(), &shelf);
    again.close().await.unwrap();
    assert_eq!(shelf.records(), stored(left.path()));
}

#[tokio::test]
async fn an_end_without_the_store_says_how_many_records_stay_behind() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    shelf.away(true);
    let trail = open_to(dir.path(), &shelf);
    append_many(&trail, 7, Tier::Process).await;
    let error = trail.close().await.unwrap_err();
    // The seven and the record of the start.
    assert!(matches!(error, CloseError::Unshipped { records: 8 }), "{error}");
    assert_verdict(dir.path(), Verdict::Whole);
}

#[tokio::test]
async fn a_fork_stops_the_shipping_of_that_writer_and_the_folder_keeps_all() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    shelf.0.refuses.store(true, Ordering::SeqCst);
    let trail = open_to(dir.path(), &shelf);
    append_many(&trail, 10, Tier::Process).await;
    wait_until("the alarm", || !trail.status().shipping.alarms.is_empty()).await;
    assert!(matches!(append(&trail, "r", Tier::Remote).await, Err(AppendError::StoreAway)));
    append_many(&trail, 10, Tier::Disk).await;
    assert!(matches!(trail.close().await, Err(CloseError::Unshipped { .. })));
    assert_eq!(stored(dir.path()).len(), 21);
    assert_verdict(dir.path(), Verdict::Whole);
}

#[tokio::test]
async fn without_room_on_disk_every_answer_waits_for_the_store() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    let full = Arc::new(AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    let disk = FlakyDisk::new(move |number, call| {
        (number > 3 && call == Call::Allocate && is_full.load(Ordering::SeqCst)).then_some(Fault::Full)
    });
    let trail = Trail::open_on(shipping(dir.path()), clock(), disk.storage()).unwrap();
    shipped_to(&trail, &shelf);
    stands(&trail).await;
    let receipts = append_many(&trail, 120, Tier::Process).await;
    assert_eq!(receipts[0].durability, Tier::Process);
    let remote: Vec<_> = receipts.iter().filter(|receipt| receipt.durability == Tier::Remote).collect();
    assert!(!remote.is_empty() && remote.iter().all(|receipt| shelf.holds(receipt)));
    assert_eq!(trail.status().health, TrailHealth::Adrift);
    full.store(false, Ordering::SeqCst);
    wait_until("room", || trail.status().health == TrailHealth::Ok).await;
    assert_eq!(append(&trail, "back", Tier::Disk).await.unwrap().durability, Tier::Disk);
    trail.close().await.unwrap();
    assert_verdict(dir.path(), Verdict::Whole);
    assert_eq!(shelf.records(), stored(dir.path()), "the folder has all that the store alone had");
    assert_eq!(trail.status().refused, 0);
}

#[tokio::test]
async fn without_disk_and_store_nothing_is_answered_and_the_first_record_says_how_many() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    let disk = FlakyDisk::new(move |number, call| (number > 3 && call == Call::Allocate).then_some(Fault::Full));
    let trail = Trail::open_on(shipping(dir.path()), clock(), disk.storage()).unwrap();
    shipped_to(&trail, &shelf);
    stands(&trail).await;
    while trail.status().health != TrailHealth::Adrift {
        append(&trail, "d", Tier::Process).await.unwrap();
    }
    shelf.away(true);
    let mut refused = 0;
    for n in 0..50 {
        match append(&trail, &format!("n{n}"), Tier::Process).await {
            Ok(receipt) => assert!(shelf.holds(&receipt)),
            Err(AppendError::Full) => refused += 1,
            Err(AppendError::StoreAway) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(refused > 0);
    assert_eq!(trail.status().health, TrailHealth::Full);
    shelf.away(false);
    wait_until("the store serves", || trail.status().health == TrailHealth::Adrift).await;
    let receipt = append(&trail, "back", Tier::Process).await.unwrap();
    assert_eq!(receipt.durability, Tier::Remote);
    let lines: Vec<String> = {
        let writers = shelf.0.writers.lock().unwrap();
        let rows = writers[&receipt.writer].iter().flat_map(|frame| &frame.rows);
        rows.filter_map(|row| row.line.clone()).filter(|line| line.contains("\"refused\"")).collect()
    };
    assert!(lines.last().unwrap().contains(&format!("\"count\":{}", trail.status().refused)), "{lines:?}");
    assert!(matches!(trail.close().await, Err(CloseError::Fatal(why)) if why.contains("in the store alone")));
}

#[tokio::test]
async fn a_disk_that_fails_for_good_leaves_the_store_to_answer() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let disk = FlakyDisk::new(move |_, _| is_broken.load(Ordering::SeqCst).then_some(Fault::Io));
    let trail = Trail::open_on(shipping(dir.path()), clock(), disk.storage()).unwrap();
    shipped_to(&trail, &shelf);
    stands(&trail).await;
    append_many(&trail, 8, Tier::Disk).await;
    broken.store(true, Ordering::SeqCst);
    let receipts = append_many(&trail, 20, Tier::Disk).await;
    assert!(receipts.iter().all(|receipt| receipt.durability == Tier::Remote && shelf.holds(receipt)), "{receipts:?}");
    broken.store(false, Ordering::SeqCst);
    tokio::time::timeout(Duration::from_secs(20), async {
        while trail.status().health != TrailHealth::Ok {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the disk is tried again after 10 s");
    append_many(&trail, 8, Tier::Disk).await;
    trail.close().await.unwrap();
    assert_verdict(dir.path(), Verdict::Whole);
    assert_eq!(shelf.records(), stored(dir.path()));
}

#[tokio::test]
async fn sealed_segments_go_when_the_store_and_a_checkpoint_hold_them() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    let first = open(dir.path());
    let receipts = append_many(&first, 150, Tier::Process).await;
    first.close().await.unwrap();
    let of_first = |dir: &Path| {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&receipts[0].writer);
        segments(dir).into_iter().filter(name).count()
    };
    assert!(of_first(dir.path()) > 2);
    let kept = TrailConfig { keep_local: Some(Duration::from_secs(3600)), ..shipping(dir.path()) };
    let trail = Trail::open(kept, clock()).unwrap();
    shipped_to(&trail, &shelf);
    wait_until("lag is 0", || trail.status().shipping.lag == 0 && trail.status().shipping.shipped > 150).await;
    trail.close().await.unwrap();
    assert!(of_first(dir.path()) > 2, "they are kept for an hour");
    let trail = Trail::open(TrailConfig { keep_local: Some(Duration::ZERO), ..shipping(dir.path()) }, clock()).unwrap();
    shipped_to(&trail, &shelf);
    wait_until("the segments are gone", || of_first(dir.path()) == 0).await;
    append_many(&trail, 3, Tier::Disk).await;
    trail.close().await.unwrap();
    let report = verify(dir.path(), &VerifyOptions { allow_pruned: true, ..VerifyOptions::default() }).unwrap();
    assert_eq!(report.verdict, Verdict::Whole, "{report:#?}");
    assert!(shelf.records().len() > 150);
}

#[tokio::test]
async fn what_somebody_else_calls_a_checkpoint_takes_no_segment_away() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    let unsigned = TrailConfig { key_file: None, keep_local: Some(Duration::ZERO), ..shipping(dir.path()) };
    let first = Trail::open(unsigned.clone(), clock()).unwrap();
    let receipts = append_many(&first, 150, Tier::Process).await;
    first.close().await.unwrap();
    let before = segments(dir.path()).len();
    let stranger = SigningKey::generate("trail.example/clinic").unwrap();
    let note = stranger.sign(receipts[0].writer.parse().unwrap(), 1_000_000, &Hash([7; 32]));
    shelf.0.forged.lock().unwrap().push(note);
    let trail = Trail::open(unsigned, clock()).unwrap();
    shipped_to(&trail, &shelf);
    wait_until("lag is 0", || trail.status().shipping.lag == 0 && trail.status().shipping.shipped > 150).await;
    // Longer than an idle shipper waits before it looks at the folder.
    tokio::time::sleep(Duration::from_millis(600)).await;
    trail.close().await.unwrap();
    assert!(before > 2 && segments(dir.path()).len() > before, "all of them are there");
}

#[tokio::test]
async fn on_a_volume_that_can_vanish_disk_means_the_store() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let shelf = Shelf::default();
    let config = TrailConfig { accept_ephemeral: false, ships_elsewhere: true, ..shipping(dir.path()) };
    let refused = Trail::open(TrailConfig { ships_elsewhere: false, ..config.clone() }, clock()).unwrap_err();
    assert!(matches!(refused, OpenError::Ephemeral { .. }), "a store beside the folder is no second sink: {refused}");
    let trail = Trail::open(config, clock()).unwrap();
    shipped_to(&trail, &shelf);
    let receipt = append(&trail, "d", Tier::Disk).await.unwrap();
    assert_eq!(receipt.durability, Tier::Remote);
    assert!(shelf.holds(&receipt));
    assert_eq!(append(&trail, "p", Tier::Process).await.unwrap().durability, Tier::Process);
    trail.close().await.unwrap();
}

#[tokio::test]
async fn what_comes_to_stand_after_its_caller_was_refused_is_said_to_be_withheld() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Shelf::default());
    let full = Arc::new(AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    let disk = FlakyDisk::new(move |number, call| {
        (number > 3 && call == Call::Allocate && is_full.load(Ordering::SeqCst)).then_some(Fault::Full)
    });
    let trail = Trail::open_on(shipping(dir.path()), clock(), disk.storage()).unwrap();
    shipped_to(&trail, &shelf);
    stands(&trail).await;
    while trail.status().health != TrailHealth::Adrift {
        append(&trail, "d", Tier::Process).await.unwrap();
    }
    shelf.away(true);
    let mut refused = Vec::new();
    while trail.status().health != TrailHealth::Full {
        let id = format!("n{}", refused.len());
        assert!(append(&trail, &id, Tier::Process).await.is_err());
        refused.push(id);
    }
    full.store(false, Ordering::SeqCst);
    shelf.away(false);
    wait_until("room", || trail.status().health == TrailHealth::Ok).await;
    append(&trail, "back", Tier::Disk).await.unwrap();
    trail.close().await.unwrap();
    let stands: Vec<String> = records(dir.path(), Filter::default())
        .unwrap()
        .filter_map(|stored| serde_json::from_slice::<Record>(&stored.unwrap().line).unwrap().decision_id)
        .filter(|id| refused.contains(id))
        .collect();
    let mut said = withheld(dir.path());
    said.sort();
    let mut twice = [said.clone(), said.clone()].concat();
    let mut stands = stands;
    twice.sort();
    stands.sort();
    assert!(!said.is_empty(), "at least the first of them was in memory already");
    assert_eq!(stands, twice, "of each refused decision whose record stands, and of no other");
    assert_verdict(dir.path(), Verdict::Whole);
}
