//! Whatever is changed in a trail is found, and the first bad record is named.

use super::*;
use crate::audit::{bytes::len64, frame, header::HEADER_BYTES};

/// A frame's place in its segment's file.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
    first_seq: u64,
}

fn places(stored: &[u8]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut start = HEADER_BYTES;
    while let Ok(frame) = frame::decode(&stored[start..]) {
        places.push(Place { start, end: start + frame.len, first_seq: frame.head.first_seq });
        start += frame.len;
    }
    places
}

/// The record that a changed byte at `at` makes doubtful.
fn first_bad_seq(stored: &[u8], at: usize) -> u64 {
    let places = places(stored);
    let Some(place) = places.iter().find(|place| at < place.end) else {
        return frame::decode(&stored[places.last().unwrap().start..]).unwrap().last_seq() + 1;
    };
    if at < place.start {
        return place.first_seq;
    }
    let frame = frame::decode(&stored[place.start..]).unwrap();
    let leaves_at = place.start + frame::HEAD_BYTES;
    let body_at = leaves_at + frame.leaves.len();
    let is_of_records = frame.head.kind == frame::Kind::Records;
    if at < leaves_at || at >= body_at + frame.body.len() || !is_of_records {
        place.first_seq
    } else if at < body_at {
        place.first_seq + len64((at - leaves_at) / 32)
    } else {
        place.first_seq + len64(frame.body[..at - body_at].iter().filter(|byte| **byte == b'\n').count())
    }
}

/// A trail in which nothing is written twice. A sync that takes over a second on a busy machine is left behind and its
/// frames written again (rightly); a change in the copy that no longer counts is then no damage, so such a trail is
/// put aside.
async fn trail() -> tempfile::TempDir {
    for _ in 0..20 {
        let dir = written().await;
        if segments(dir.path()).len() == 3 {
            shorten(dir.path());
            return dir;
        }
    }
    panic!("this disk takes over a second for a sync, again and again");
}

/// Leaves few of the zeros behind each end: their number means nothing, and each of them is to be tried.
fn shorten(dir: &Path) {
    for path in segments(dir) {
        let stored = std::fs::read(&path).unwrap();
        let end = places(&stored).last().unwrap().end;
        std::fs::write(&path, &stored[..stored.len().min(end + 256)]).unwrap();
    }
    assert_verdict(dir, Verdict::Whole);
}

/// Two writers, the first over two segments, both sealed. The second one's frames hold several records each.
async fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    append_many(&trail, 30, Tier::Process).await;
    trail.close().await.unwrap();
    let trail = open(dir.path());
    let ids: Vec<String> = (0..4).map(|n| format!("d{n}")).collect();
    futures_util::future::join_all(ids.iter().map(|id| append(&trail, id, Tier::Process))).await;
    trail.close().await.unwrap();
    assert_verdict(dir.path(), Verdict::Whole);
    dir
}

/// Writes `changed` over the segment, verifies, and puts the original back.
fn verify_with(dir: &Path, path: &Path, original: &[u8], changed: &[u8]) -> Report {
    std::fs::write(path, changed).unwrap();
    let report = check(dir);
    std::fs::write(path, original).unwrap();
    report
}

/// The first record that the report does not vouch for.
fn named(report: &Report) -> Option<u64> {
    match report.verdict {
        Verdict::Whole => None,
        Verdict::Open => report.open_ends.first().map(|end| end.next_seq),
        Verdict::Damaged => report.first_bad().map(|finding| finding.seq),
    }
}

/// Every byte: headers, frames, padding, and the zeros behind the end. Two at a time, each in a copy of its own.
#[tokio::test]
async fn every_flipped_byte_is_found_and_its_record_named() {
    let dir = trail().await;
    std::thread::scope(|scope| {
        for parity in 0..2 {
            let dir = copy(dir.path());
            scope.spawn(move || {
                for path in segments(dir.path()) {
                    let original = std::fs::read(&path).unwrap();
                    for at in (parity..original.len()).step_by(2) {
                        let mut changed = original.clone();
                        changed[at] ^= 0x41;
                        let report = verify_with(dir.path(), &path, &original, &changed);
                        let expected = Some(first_bad_seq(&original, at));
                        assert_eq!(named(&report), expected, "byte {at} of {}: {report:#?}", path.display());
                    }
                }
            });
        }
    });
    assert_verdict(dir.path(), Verdict::Whole);
}

/// Puts the frames of a segment together anew, in the order given.
fn rebuilt(original: &[u8], order: &[Place]) -> Vec<u8> {
    let mut changed = original[..HEADER_BYTES].to_vec();
    for place in order {
        changed.extend_from_slice(&original[place.start..place.end]);
    }
    changed.resize(original.len().max(changed.len()), 0);
    changed
}

#[tokio::test]
async fn every_dropped_doubled_or_swapped_frame_is_found_and_its_record_named() {
    let dir = trail().await;
    for path in segments(dir.path()) {
        let original = std::fs::read(&path).unwrap();
        let order = places(&original);
        for nth in 0..order.len() {
            let mut dropped = order.clone();
            let gone = dropped.remove(nth);
            let report = verify_with(dir.path(), &path, &original, &rebuilt(&original, &dropped));
            assert_eq!(named(&report), Some(gone.first_seq), "{gone:?} dropped: {report:#?}");

            let mut doubled = order.clone();
            doubled.insert(nth, order[nth]);
            let report = verify_with(dir.path(), &path, &original, &rebuilt(&original, &doubled));
            let after = order.get(nth + 1).map_or_else(|| first_bad_seq(&original, gone.end), |next| next.first_seq);
            assert_eq!(named(&report), Some(after), "{gone:?} doubled: {report:#?}");

            if nth + 1 < order.len() {
                let mut swapped = order.clone();
                swapped.swap(nth, nth + 1);
                let report = verify_with(dir.path(), &path, &original, &rebuilt(&original, &swapped));
                assert_eq!(named(&report), Some(gone.first_seq), "{gone:?} swapped: {report:#?}");
            }
        }
    }
}

#[tokio::test]
async fn every_cut_segment_is_found_and_the_first_lost_record_named() {
    let dir = trail().await;
    for path in segments(dir.path()) {
        let original = std::fs::read(&path).unwrap();
        for place in places(&original) {
            for cut in [place.start, place.start + 9, place.end - 1] {
                let report = verify_with(dir.path(), &path, &original, &original[..cut]);
                // The padding of the last frame may be all that a cut takes; that too is found.
                assert_eq!(named(&report), Some(place.first_seq), "cut at {cut} in {place:?}: {report:#?}");
            }
        }
    }
}

#[tokio::test]
async fn every_missing_segment_is_found_but_for_a_whole_last_writer() {
    let dir = trail().await;
    let newest = check(dir.path()).writers.last().unwrap().writer.clone();
    for path in segments(dir.path()) {
        let original = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let verdict = check(dir.path()).verdict;
        std::fs::write(&path, &original).unwrap();
        // Nothing else in the folder knows of it: only a checkpoint kept elsewhere does.
        let is_all_of_the_last = path.file_name().unwrap().to_str().unwrap().starts_with(&newest);
        assert_eq!(verdict, if is_all_of_the_last { Verdict::Whole } else { Verdict::Damaged });
    }
}

#[tokio::test]
async fn a_rewritten_record_with_its_checksums_put_right_breaks_the_chain() {
    let dir = trail().await;
    let path = segments(dir.path()).remove(0);
    let original = std::fs::read(&path).unwrap();
    let place = places(&original)[3];
    let frame = frame::decode(&original[place.start..]).unwrap();
    let body = String::from_utf8(frame.body.to_vec()).unwrap().replace("\"ehr\"", "\"him\"");
    let leaves: Vec<_> = body.lines().map(|line| crate::audit::merkle::leaf(line.as_bytes())).collect();
    let before = frame::decode(&original[places(&original)[2].start..]).unwrap().chain;
    let (forged, _) = frame::encode(&frame.head, &leaves, body.as_bytes(), &before);
    let mut changed = original.clone();
    changed[place.start..place.end].copy_from_slice(&forged);
    let report = verify_with(dir.path(), &path, &original, &changed);
    assert_eq!(report.verdict, Verdict::Damaged);
    // The forged frame is sound in itself; the one after it no longer follows.
    assert_eq!(report.first_bad().unwrap().seq, places(&original)[4].first_seq);
    assert_eq!(report.first_bad().unwrap().problem, "chain");
}

#[tokio::test]
async fn a_segment_under_another_name_and_a_stray_file_are_found() {
    let dir = trail().await;
    let path = segments(dir.path()).remove(0);
    let renamed = path.with_file_name(path.file_name().unwrap().to_str().unwrap().replace("000001", "000009"));
    std::fs::rename(&path, &renamed).unwrap();
    assert_verdict(dir.path(), Verdict::Damaged);
    std::fs::rename(&renamed, &path).unwrap();
    std::fs::copy(&path, dir.path().join("notes.trail")).unwrap();
    assert_eq!(check(dir.path()).first_bad().unwrap().problem, "stray_file");
}

#[tokio::test]
async fn a_copied_volume_that_went_on_twice_is_found_as_a_fork() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await.unwrap();
    let clone = copy(dir.path());
    open(dir.path()).close().await.unwrap();
    open(clone.path()).close().await.unwrap();
    for path in segments(clone.path()) {
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(check(dir.path()).first_bad().unwrap().problem, "fork");
}

#[tokio::test]
async fn pruned_segments_are_accepted_only_when_asked_to() {
    let dir = trail().await;
    let oldest = check(dir.path()).writers[0].writer.clone();
    let first = dir.path().join(format!("{oldest}.000001.trail"));
    std::fs::remove_file(first).unwrap();
    assert_verdict(dir.path(), Verdict::Damaged);
    let report = verify(dir.path(), &VerifyOptions { allow_pruned: true, ..VerifyOptions::default() }).unwrap();
    assert_eq!(report.verdict, Verdict::Whole, "{report:#?}");
    assert!(report.writers[0].first_seq > 1);
}

#[tokio::test]
async fn a_running_trail_verifies_without_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Arc::new(open(dir.path()));
    let (writing, path) = (Arc::clone(&trail), dir.path().to_owned());
    let work = tokio::task::spawn_blocking(move || (0..40).map(|_| check(&path)).collect::<Vec<_>>());
    let mut n = 0;
    while !work.is_finished() {
        append(&writing, &format!("d{n}"), Tier::Process).await.unwrap();
        n += 1;
    }
    for report in work.await.unwrap() {
        assert_eq!(report.verdict, Verdict::Open, "{report:#?}");
    }
    trail.close().await.unwrap();
}

#[tokio::test]
async fn a_last_writer_that_cannot_be_read_is_not_taken_for_the_first() {
    let dir = trail().await;
    let last = check(dir.path()).writers.last().unwrap().writer.clone();
    let path = dir.path().join(format!("{last}.000001.trail"));
    let original = std::fs::read(&path).unwrap();
    let report = verify_with(dir.path(), &path, &original, &original[..5]);
    assert_eq!((report.verdict, report.open_ends[0].writer.as_str()), (Verdict::Open, last.as_str()), "{report:#?}");
    let mut changed = original.clone();
    changed[3] ^= 1;
    let report = verify_with(dir.path(), &path, &original, &changed);
    assert_eq!(report.first_bad().map(|bad| (bad.writer.as_str(), bad.seq)), Some((last.as_str(), 1)), "{report:#?}");
}
