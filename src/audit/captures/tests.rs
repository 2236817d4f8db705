//! Blobs come back by their digest or not at all.

#![expect(clippy::disallowed_methods, reason = "tests change files behind the keeper's back")]

use std::fs;

use super::{room::files, *};

const MOST: u64 = 1024 * 1024 * 1024;

fn kept(dir: &Path) -> Vec<PathBuf> {
    files(&dir.join(FOLDER)).unwrap().into_iter().map(|(path, _)| path).collect()
}

#[test]
fn a_blob_is_kept_once_and_found_by_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let captures = Captures::open(dir.path(), "w1", MOST, None).unwrap();
    let digests: Vec<_> =
        (0..300).map(|n| captures.keep(format!("{{\"n\":{}}}", n % 100).into_bytes()).unwrap()).collect();
    assert_eq!(digests[..100], digests[100..200]);
    captures.close();
    captures.close();
    assert_eq!(captures.keep(b"late".to_vec()), None);
    let files = kept(dir.path());
    assert_eq!(fs::read_to_string(&files[0]).unwrap().lines().count(), 100);
    let again = Captures::open(dir.path(), "w2", MOST, None).unwrap();
    assert_eq!(again.keep(b"{\"n\":7}".to_vec()).as_ref(), Some(&digests[7]), "the same name in every file");
    drop(again);
    let blobs = CapturedBlobs::open(dir.path()).unwrap();
    assert_eq!(blobs.find(&digests[42]).unwrap().unwrap(), b"{\"n\":42}");
    assert_eq!(blobs.find("nonsense").unwrap(), None);
    let text = fs::read_to_string(&files[0]).unwrap().replace("{\"n\":42}", "{\"n\":43}");
    fs::write(&files[0], text).unwrap();
    assert_eq!(blobs.find(&digests[42]).unwrap(), None, "changed since it was looked at");
    assert_eq!(CapturedBlobs::open(dir.path()).unwrap().find(&digests[42]).unwrap(), None, "changed before");
    assert!(CapturedBlobs::open(&dir.path().join("nowhere")).unwrap().is_empty());
}

#[test]
fn a_blob_at_the_limit_is_taken_and_one_beyond_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let captures = Captures::open(dir.path(), "w", MOST, None).unwrap();
    assert!(captures.keep(vec![b'x'; BLOB_BYTES_MAX]).is_some());
    assert_eq!(captures.keep(vec![b'x'; BLOB_BYTES_MAX + 1]), None);
    assert_eq!(captures.keep(b"two\nlines".to_vec()), None);
}

#[test]
fn the_oldest_files_make_room_and_nothing_fails_for_want_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let most = 3 * FILE_BYTES;
    let captures = Captures::open(dir.path(), "w", most, None).unwrap();
    let blob = |n: u32| [format!("{n:>08}").into_bytes(), vec![b'x'; BLOB_BYTES_MAX - 8]].concat();
    let mut last = None;
    for n in 0..80 {
        // The disk sets the pace: a blob that is not taken now is taken later.
        last = std::iter::repeat_with(|| {
            captures.keep(blob(n)).or_else(|| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                None
            })
        })
        .flatten()
        .next();
    }
    captures.close();
    let files = files(&dir.path().join(FOLDER)).unwrap();
    assert!(files.iter().map(|(_, len)| len).sum::<u64>() <= most, "{files:?}");
    assert!(files.len() >= 2 && files.iter().all(|(_, len)| *len <= FILE_BYTES), "{files:?}");
    let blobs = CapturedBlobs::open(dir.path()).unwrap();
    assert!(blobs.find(&last.unwrap()).unwrap().is_some(), "the last is there");
    assert_eq!(blobs.find(&Hash::of(&[&blob(0)]).to_string()).unwrap(), None, "the first went");
}

/// Blobs of a MiB, as many as are asked for; the disk sets the pace.
fn fill(captures: &Captures, count: u32) {
    for n in 0..count {
        let blob = [format!("{n:>08}").into_bytes(), vec![b'x'; BLOB_BYTES_MAX - 8]].concat();
        while captures.keep(blob.clone()).is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    captures.close();
}

#[test]
fn what_is_captured_takes_no_more_than_the_trail_leaves_of_the_quota() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("w.000001.trail"), vec![1; 20 << 20]).unwrap();
    let quota = 64 << 20;
    fill(&Captures::open(dir.path(), "w1", MOST, Some(quota)).unwrap(), 40);
    let all = |dir: &Path| files(&dir.join(FOLDER)).unwrap().iter().map(|(_, len)| len).sum::<u64>();
    let captured = all(dir.path());
    assert!(captured > 0 && captured + (20 << 20) <= quota / 100 * 95, "{captured}");
    // No room is left for a file: nothing is kept, and what is there goes.
    fs::write(dir.path().join("w.000002.trail"), vec![1; 30 << 20]).unwrap();
    fill(&Captures::open(dir.path(), "w2", MOST, Some(quota)).unwrap(), 2);
    assert_eq!(all(dir.path()), 0);
}

#[test]
fn what_could_not_be_written_is_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    let captures = Captures::open(dir.path(), "w", MOST, None).unwrap();
    fs::remove_dir(dir.path().join(FOLDER)).unwrap();
    let digest = captures.keep(b"{}".to_vec()).unwrap();
    for _ in 0..500 {
        if lock(&captures.known).digests.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    fs::create_dir(dir.path().join(FOLDER)).unwrap();
    assert_eq!(captures.keep(b"{}".to_vec()).as_ref(), Some(&digest));
    captures.close();
    assert_eq!(CapturedBlobs::open(dir.path()).unwrap().find(&digest).unwrap().unwrap(), b"{}");
}

#[test]
fn a_blob_counts_for_its_place_while_it_waits_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let captures = Captures::open(dir.path(), "w", u64::MAX, None).unwrap();
    captures.waiting.store(WAITING_BYTES_MAX - PLACE_BYTES, Ordering::Release);
    assert_eq!(captures.keep(b"one too many".to_vec()), None);
    captures.waiting.store(0, Ordering::Release);
    assert!(captures.keep(b"one".to_vec()).is_some());
    captures.close();
    assert_eq!(captures.waiting.load(Ordering::Acquire), 0);
}
