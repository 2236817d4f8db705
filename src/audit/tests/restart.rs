//! What a new writer makes of what the one before left.

use super::*;

/// What the first record of the newest writer says.
fn started(dir: &Path) -> serde_json::Value {
    let line = records(dir, Filter::default())
        .unwrap()
        .map(|record| record.unwrap())
        .filter(|record| record.seq == 1)
        .last()
        .unwrap()
        .line;
    serde_json::from_slice::<serde_json::Value>(&line).unwrap()["detail"].clone()
}

/// The end of the last frame in a folder's newest unsealed segment, and that segment.
fn open_end(dir: &Path) -> (std::path::PathBuf, usize) {
    let report = check(dir);
    let end = &report.open_ends[0];
    let path = segments(dir)
        .into_iter()
        .find(|path| path.file_name().unwrap().to_str().unwrap() == format!("{}.{:06}.trail", end.writer, end.segment));
    (path.unwrap(), usize::try_from(end.offset).unwrap())
}

async fn left_behind(count: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    append_many(&trail, count, Tier::Process).await;
    settled(dir.path(), |segments| segments >= 2).await;
    let copy = copy(dir.path());
    trail.close().await.unwrap();
    copy
}

/// Spares are made, and taken away when they come too late, by another thread. What it never does fails the test that
/// looks for it.
async fn settled(dir: &Path, is_settled: impl Fn(usize) -> bool) {
    for _ in 0..1_000 {
        if is_settled(segments(dir).len()) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let error = Trail::open(config(dir.path()), clock()).unwrap_err();
    let OpenError::Locked { pid, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*pid, std::process::id().to_string());
    assert!(error.to_string().contains(&dir.path().display().to_string()));
    trail.close().await.unwrap();
}

#[tokio::test]
async fn a_clean_end_is_named_as_one() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let trail = open(dir.path());
        append_many(&trail, 50, Tier::Process).await;
        trail.close().await.unwrap();
    }
    let started = started(dir.path());
    assert_eq!(started["predecessor"]["clean"], true);
    assert_eq!(started["predecessor"]["seq"], 51);
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    assert_verdict(dir.path(), Verdict::Whole);
    assert_eq!(check(dir.path()).records, 153);
}

#[tokio::test]
async fn a_killed_writer_leaves_an_open_end_which_the_next_one_witnesses() {
    let dir = left_behind(40).await;
    assert_verdict(dir.path(), Verdict::Open);
    let trail = open(dir.path());
    trail.close().await.unwrap();
    assert_verdict(dir.path(), Verdict::Whole);
    let started = started(dir.path());
    assert_eq!(started["predecessor"]["clean"], false);
    assert_eq!(started["predecessor"]["seq"], 41);
    assert_eq!(started["found"]["damaged"], false);
}

#[tokio::test]
async fn the_spare_of_a_dead_writer_goes_and_its_records_stay() {
    let dir = left_behind(5).await;
    assert_eq!(segments(dir.path()).len(), 2, "one at work and one spare");
    let trail = open(dir.path());
    trail.close().await.unwrap();
    settled(dir.path(), |segments| segments == 2).await;
    assert_eq!(segments(dir.path()).len(), 2, "one of each writer");
    assert_eq!(stored(dir.path()).len(), 7);
}

#[tokio::test]
async fn a_torn_tail_stays_in_place_and_is_named_by_the_next_writer() {
    let dir = left_behind(5).await;
    let (path, end) = open_end(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[end..end + 50].copy_from_slice(&[0xA5; 50]);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(check(dir.path()).open_ends[0].torn_bytes, 50);

    let trail = open(dir.path());
    trail.close().await.unwrap();
    assert_verdict(dir.path(), Verdict::Whole);
    assert_eq!(started(dir.path())["found"]["tail_bytes"], 50);
    assert_eq!(std::fs::read(&path).unwrap()[end..end + 50], [0xA5; 50]);

    bytes[end + 7] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_verdict(dir.path(), Verdict::Damaged);
}

/// A folder whose writer was killed long after all was synced, with a record behind that damaged.
async fn rotten() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    append_many(&trail, 5, Tier::Disk).await;
    append_many(&trail, 2, Tier::Process).await;
    let rotten = copy(dir.path());
    trail.close().await.unwrap();
    let path = segments(rotten.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|window| window == b"\"d1\"").unwrap();
    bytes[at + 1] = b'D';
    std::fs::write(&path, &bytes).unwrap();
    rotten
}

#[tokio::test]
async fn damage_to_what_was_on_disk_is_never_taken_for_a_torn_tail() {
    let dir = rotten().await;
    let before = check(dir.path());
    assert_eq!(before.verdict, Verdict::Damaged);
    assert_eq!(before.first_bad().unwrap().seq, 3);
    assert!(before.first_bad().unwrap().frames_beyond >= 4);
    let trail = open(dir.path());
    append_many(&trail, 1, Tier::Process).await;
    trail.close().await.unwrap();
    let after = check(dir.path());
    assert_eq!((after.verdict, after.first_bad().unwrap().seq), (Verdict::Damaged, 3));
    assert_eq!(started(dir.path())["found"]["damaged"], true);
}

#[tokio::test]
async fn strict_refuses_to_start_over_damage() {
    let dir = rotten().await;
    let strict = TrailConfig { strict: true, ..config(dir.path()) };
    let error = Trail::open(strict.clone(), clock()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { seq: 2, .. }), "{error:?}");
    let clean = tempfile::tempdir().unwrap();
    Trail::open(TrailConfig { dir: clean.path().to_owned(), ..strict }, clock()).unwrap().close().await.unwrap();
}

#[tokio::test]
async fn writers_of_one_instant_are_still_read_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let frozen: Arc<dyn Clock> = Arc::new(crate::clock::FrozenClock::at("2026-03-10T15:00:00Z".parse().unwrap()));
    let mut order = Vec::new();
    for _ in 0..6 {
        let trail = Trail::open(config(dir.path()), Arc::clone(&frozen)).unwrap();
        order.push(trail.status().writer);
        trail.close().await.unwrap();
    }
    assert_verdict(dir.path(), Verdict::Whole);
    let read: Vec<String> =
        records(dir.path(), Filter::default()).unwrap().map(|record| record.unwrap().writer.to_string()).collect();
    assert_eq!(read, order);
}

#[tokio::test]
async fn a_volume_that_can_vanish_is_refused_unless_accepted_and_then_recorded() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let wary = TrailConfig { accept_ephemeral: false, ..config(dir.path()) };
    let error = Trail::open(wary, clock()).unwrap_err();
    assert!(matches!(error, OpenError::Ephemeral { kind: "memory", .. }), "{error:?}");
    open(dir.path()).close().await.unwrap();
    assert_eq!(started(dir.path())["volume"], "memory");
    assert_eq!(started(dir.path())["ephemeral_accepted"], true);
}
