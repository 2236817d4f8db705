//! Signed tree heads: when they are made, where they stand, and what they bring to light.

use super::{
    flaky::{Call, FlakyDisk},
    *,
};
use crate::audit::{
    frame::{self, Head, Kind},
    header::{HEADER_BYTES, Header},
    merkle::{self, Frontier},
    note::Checkpoint,
    outside,
};

fn kept_in(dir: &Path, outside: &Path) -> TrailConfig {
    TrailConfig { checkpoints_dir: Some(outside.to_owned()), ..config(dir) }
}

/// The heads in the chains of a folder, as (writer, size, root).
fn heads(dir: &Path) -> Vec<(String, u64, String)> {
    let mut heads = Vec::new();
    for path in segments(dir) {
        let stored = std::fs::read(path).unwrap();
        let mut at = HEADER_BYTES;
        while let Ok(frame) = frame::decode(&stored[at..]) {
            if frame.head.kind == Kind::Checkpoint {
                let head = Checkpoint::parse(frame.body).unwrap();
                heads.push((head.writer.to_string(), head.size, head.root.to_string()));
            }
            at += frame.len;
        }
    }
    heads
}

fn heads_outside(outside: &Path) -> Vec<(String, u64, String)> {
    let kept = outside::read(outside).unwrap();
    let heads = kept.into_values().flatten().map(|kept| kept.checkpoint.unwrap());
    heads.map(|head| (head.writer.to_string(), head.size, head.root.to_string())).collect()
}

#[tokio::test]
async fn each_seal_is_signed_first_and_the_same_heads_stand_outside() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for _ in 0..2 {
        let trail = Trail::open(kept_in(dir.path(), outside.path()), clock()).unwrap();
        append_many(&trail, 60, Tier::Process).await;
        trail.close().await.unwrap();
    }
    let (mut inside, mut outside_too) = (heads(dir.path()), heads_outside(outside.path()));
    assert!(inside.len() >= segments(dir.path()).len(), "{inside:?}");
    inside.sort();
    outside_too.sort();
    assert_eq!(inside, outside_too);
    let report = audit(dir.path(), Some(outside.path()));
    assert_eq!((report.verdict, report.signatures), (Verdict::Whole, Signatures::Verified), "{report:#?}");
    assert!(report.writers.iter().all(|writer| writer.signed_seq == writer.last_seq), "{report:#?}");
    assert_eq!(check(dir.path()).signatures, Signatures::Unchecked);
}

#[tokio::test]
async fn a_checkpoint_comes_on_time_and_only_if_there_are_new_records() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = TrailConfig { checkpoint_after: Duration::from_millis(20), ..kept_in(dir.path(), outside.path()) };
    let trail = Trail::open(config, clock()).unwrap();
    for n in 0..3 {
        let receipt = append(&trail, &format!("d{n}"), Tier::Process).await.unwrap();
        wait_until("the checkpoint of the last record", || {
            trail.status().last_checkpoint.is_some_and(|last| last.size >= receipt.seq)
        })
        .await;
        assert_eq!(trail.status().checkpoint_trouble, None);
    }
    let before = heads_outside(outside.path());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(heads_outside(outside.path()), before);
    trail.close().await.unwrap();
    let mut sizes: Vec<u64> = heads(dir.path()).into_iter().map(|(_, size, _)| size).collect();
    let all = sizes.len();
    sizes.dedup();
    assert_eq!(sizes.len(), all, "two heads of one size");
}

#[tokio::test]
async fn a_successor_signs_the_last_head_of_a_writer_that_died_and_does_so_once() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trail = Trail::open(config(dir.path()), clock()).unwrap();
    let receipts = append_many(&trail, 5, Tier::Disk).await;
    let dead = copy(dir.path());
    trail.close().await.unwrap();
    assert_eq!(heads(dead.path()), []);
    Trail::open(kept_in(dead.path(), outside.path()), clock()).unwrap().close().await.unwrap();
    let report = audit(dead.path(), Some(outside.path()));
    assert_eq!(report.verdict, Verdict::Whole, "{report:#?}");
    assert_eq!(report.writers[0].signed_seq, receipts.last().unwrap().seq);
    let of_the_dead = |heads: Vec<(String, u64, String)>| {
        heads.into_iter().filter(|head| head.0 == receipts[0].writer).collect::<Vec<_>>()
    };
    assert_eq!(of_the_dead(heads_outside(outside.path())).len(), 1);
    assert_eq!(of_the_dead(heads_outside(outside.path())), of_the_dead(heads(dead.path())));
    // Its own last head was signed as it closed: the next one has nothing to sign for it.
    Trail::open(kept_in(dead.path(), outside.path()), clock()).unwrap().close().await.unwrap();
    let kept = heads_outside(outside.path());
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert_eq!(audit(dead.path(), Some(outside.path())).verdict, Verdict::Whole);
}

#[tokio::test]
async fn without_its_key_the_trail_goes_on_unsigned_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrailConfig { key_file: Some(dir.path().join("nowhere.key")), ..config(dir.path()) };
    let trail = Trail::open(config, clock()).unwrap();
    append_many(&trail, 60, Tier::Process).await;
    let status = trail.status();
    let trouble = status.checkpoint_trouble.unwrap();
    assert!(trouble.contains("not signed") && trouble.contains("nowhere.key"), "{trouble}");
    trail.close().await.unwrap();
    assert_eq!((heads(dir.path()), status.last_checkpoint), (vec![], None));
    assert_verdict(dir.path(), Verdict::Whole);
    let report = audit(dir.path(), None);
    assert_eq!(report.first_bad().map(|finding| finding.problem), Some("unsigned"));
    assert_eq!(report.signatures, Signatures::Bad);
}

#[tokio::test]
async fn a_folder_for_checkpoints_that_cannot_be_written_holds_up_no_record_and_is_told() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = outside.path().join("a_file");
    std::fs::write(&file, "in the way").unwrap();
    let config = TrailConfig { checkpoint_after: Duration::from_millis(5), ..kept_in(dir.path(), &file) };
    let trail = Trail::open(config, clock()).unwrap();
    append_many(&trail, 3, Tier::Disk).await;
    wait_until("a checkpoint in the trail", || trail.status().last_checkpoint.is_some()).await;
    assert!(trail.status().checkpoint_trouble.unwrap().contains("checkpoints_dir"));
    trail.close().await.unwrap();
    assert_eq!(audit(dir.path(), None).verdict, Verdict::Whole);
}

#[tokio::test]
async fn no_checkpoint_leaves_before_its_records_are_on_disk() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let syncs = std::sync::atomic::AtomicUsize::new(0);
    // The first three bring the first segment, its spare and the header to disk; none of a frame ends.
    let disk = FlakyDisk::new(move |_, call| {
        let nth = if call == Call::Sync { syncs.fetch_add(1, std::sync::atomic::Ordering::SeqCst) } else { 0 };
        (nth >= 3).then_some(flaky::Fault::Hang)
    });
    let config = TrailConfig { checkpoint_after: Duration::from_millis(5), ..kept_in(dir.path(), outside.path()) };
    let trail = Trail::open_on(config, clock(), disk.storage()).unwrap();
    append_many(&trail, 3, Tier::Process).await;
    wait_until("a checkpoint in the chain", || !heads(dir.path()).is_empty()).await;
    assert_eq!(heads_outside(outside.path()), []);
    assert_eq!(trail.status().last_checkpoint, None);
    disk.release();
}

/// A trail of one writer that was killed, after a checkpoint over all its records had left.
async fn killed() -> (tempfile::TempDir, tempfile::TempDir, u64) {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = TrailConfig { checkpoint_after: Duration::from_millis(5), ..kept_in(dir.path(), outside.path()) };
    let trail = Trail::open(config, clock()).unwrap();
    let last = append_many(&trail, 8, Tier::Disk).await.last().unwrap().seq;
    wait_until("a checkpoint over all", || trail.status().last_checkpoint.is_some_and(|cp| cp.size == last)).await;
    let dead = copy(dir.path());
    trail.close().await.unwrap();
    // What the end added outside is not known where the writer was killed.
    let kept = copy(outside.path());
    (dead, kept, last)
}

#[tokio::test]
async fn a_tail_cut_off_behind_a_checkpoint_is_found_at_every_frame_and_named() {
    let (dir, outside, last) = killed().await;
    assert_eq!(audit(dir.path(), Some(outside.path())).verdict, Verdict::Open);
    let path = segments(dir.path()).remove(0);
    let original = std::fs::read(&path).unwrap();
    let (mut at, mut found, mut unseen) = (HEADER_BYTES, 0, 0);
    while let Ok(frame) = frame::decode(&original[at..]) {
        let mut cut = original.clone();
        cut[at..].fill(0);
        std::fs::write(&path, &cut).unwrap();
        let report = audit(dir.path(), Some(outside.path()));
        if frame.head.first_seq <= last {
            let bad = report.first_bad().unwrap();
            assert_eq!((bad.seq, report.verdict), (frame.head.first_seq, Verdict::Damaged), "{report:#?}");
            found += 1;
            unseen += usize::from(check(dir.path()).verdict == Verdict::Open);
        }
        at += frame.len;
    }
    assert!(found >= 8 && unseen >= 8, "{found} cuts, {unseen} of which only the checkpoint knows");
}

#[tokio::test]
async fn a_start_on_a_trail_that_was_cut_is_told_signs_nothing_of_it_and_strict_refuses() {
    let (dir, outside, _) = killed().await;
    let kept = heads_outside(outside.path());
    let path = segments(dir.path()).remove(0);
    let mut cut = std::fs::read(&path).unwrap();
    let first_frame_bytes = frame::decode(&cut[HEADER_BYTES..]).unwrap().len;
    cut[HEADER_BYTES + first_frame_bytes..].fill(0);
    std::fs::write(&path, &cut).unwrap();
    let strict = TrailConfig { strict: true, ..kept_in(dir.path(), outside.path()) };
    assert!(matches!(Trail::open(strict, clock()), Err(OpenError::Damaged { .. })));
    Trail::open(kept_in(dir.path(), outside.path()), clock()).unwrap().close().await.unwrap();
    let (dead, now) = (&kept[0].0, heads_outside(outside.path()));
    assert_eq!(now.iter().filter(|head| head.0 == *dead).count(), kept.len(), "{now:?}");
    assert_eq!(now.len(), kept.len() + 1, "the new writer signs its own: {now:?}");
    let lines: Vec<_> = records(dir.path(), Filter::default()).unwrap().map(|record| record.unwrap().line).collect();
    let said = String::from_utf8(lines.last().unwrap().clone()).unwrap();
    assert!(said.contains("\"checkpoint_contradicted\":true"), "{said}");
    assert_eq!(check(dir.path()).verdict, Verdict::Damaged, "the damage stays told without the checkpoints");
}

#[tokio::test]
async fn the_last_writer_gone_as_a_whole_is_found_by_what_was_kept() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for _ in 0..2 {
        Trail::open(kept_in(dir.path(), outside.path()), clock()).unwrap().close().await.unwrap();
    }
    let last = check(dir.path()).writers.last().unwrap().writer.clone();
    for path in segments(dir.path()).iter().filter(|path| path.to_str().unwrap().contains(&last)) {
        std::fs::remove_file(path).unwrap();
    }
    assert_verdict(dir.path(), Verdict::Whole);
    let report = audit(dir.path(), Some(outside.path()));
    let bad = report.first_bad().unwrap();
    assert_eq!((bad.problem, bad.writer.as_str(), bad.seq), ("missing_writer", last.as_str(), 1));
}

/// A writer's one segment as somebody would forge it who may write the folder: records changed, leaves, roots, chain
/// and checksums put right. Checkpoints stay as they are, or are left out.
pub(super) fn rewritten(original: &[u8], keep_checkpoints: bool, change: impl Fn(&str) -> String) -> Vec<u8> {
    let header = Header::decode(original).unwrap();
    let mut chain = header.chain_before(original);
    let mut tree = Frontier::default();
    let mut forged = original[..HEADER_BYTES].to_vec();
    let (mut at, mut number) = (HEADER_BYTES, 0);
    while let Ok(frame) = frame::decode(&original[at..]) {
        at += frame.len;
        if frame.head.kind == Kind::Checkpoint && !keep_checkpoints {
            continue;
        }
        number += 1;
        let mut body = frame.body.to_vec();
        let mut leaves = Vec::new();
        if frame.head.kind == Kind::Records {
            body = change(std::str::from_utf8(frame.body).unwrap()).into_bytes();
            leaves = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(merkle::leaf).collect();
            leaves.iter().for_each(|leaf| tree.push(*leaf));
        } else if frame.head.kind == Kind::Seal {
            body = tree.root().0.to_vec();
        }
        let body_len = u32::try_from(body.len()).unwrap();
        let head = Head { body_len, frame: number, synced: frame.head.synced.min(number - 1), ..frame.head };
        let (bytes, after) = frame::encode(&head, &leaves, &body, &chain);
        chain = after;
        forged.extend(bytes);
    }
    forged.resize(original.len().max(forged.len()), 0);
    forged
}

#[tokio::test]
async fn a_consistent_forgery_passes_every_check_but_that_of_the_checkpoints() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trail = Trail::open(kept_in(dir.path(), outside.path()), clock()).unwrap();
    append_many(&trail, 5, Tier::Process).await;
    trail.close().await.unwrap();
    let path = segments(dir.path()).remove(0);
    let original = std::fs::read(&path).unwrap();
    assert_eq!(rewritten(&original, true, str::to_owned), original);
    let forge = |body: &str| body.replace("\"ehr\"", "\"him\"");

    std::fs::write(&path, rewritten(&original, true, forge)).unwrap();
    assert_eq!(check(dir.path()).first_bad().unwrap().problem, "checkpoint");

    std::fs::write(&path, rewritten(&original, false, forge)).unwrap();
    assert_verdict(dir.path(), Verdict::Whole);
    assert_eq!(audit(dir.path(), None).first_bad().unwrap().problem, "unsigned");
    let bad = audit(dir.path(), Some(outside.path())).first_bad().cloned().unwrap();
    assert_eq!((bad.problem, bad.seq), ("checkpoint", 1), "{bad:?}");

    // Signed anew by a key of the forger.
    let other = Key::new();
    std::fs::remove_file(&path).unwrap();
    let config = TrailConfig { key_file: Some(other.file.clone()), ..config(dir.path()) };
    Trail::open(config, clock()).unwrap().close().await.unwrap();
    assert_verdict(dir.path(), Verdict::Whole);
    assert_eq!(audit(dir.path(), None).first_bad().unwrap().problem, "signature");
}

#[tokio::test]
async fn a_trail_whose_key_was_rotated_verifies_with_both_and_not_with_one() {
    let (dir, other) = (tempfile::tempdir().unwrap(), Key::new());
    open(dir.path()).close().await.unwrap();
    let config = TrailConfig { key_file: Some(other.file.clone()), ..config(dir.path()) };
    Trail::open(config, clock()).unwrap().close().await.unwrap();
    let with =
        |keys: Vec<VerifierKey>| verify(dir.path(), &VerifyOptions { keys, ..VerifyOptions::default() }).unwrap();
    let both = with(vec![KEY.public.clone(), other.public.clone()]);
    assert_eq!((both.verdict, both.signatures), (Verdict::Whole, Signatures::Verified), "{both:#?}");
    for one in [&KEY.public, &other.public] {
        let report = with(vec![one.clone()]);
        assert_eq!(report.first_bad().unwrap().problem, "signature", "{report:#?}");
    }
}

#[tokio::test]
async fn whatever_is_changed_in_what_was_kept_outside_is_found_with_the_key() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trail = Trail::open(kept_in(dir.path(), outside.path()), clock()).unwrap();
    append_many(&trail, 60, Tier::Process).await;
    trail.close().await.unwrap();
    let path = std::fs::read_dir(outside.path()).unwrap().next().unwrap().unwrap().path();
    let original = std::fs::read(&path).unwrap();
    // The empty line behind the last note only says that the note is whole.
    for at in 0..original.len() - 2 {
        let mut changed = original.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let report = audit(dir.path(), Some(outside.path()));
        assert_eq!(report.verdict, Verdict::Damaged, "byte {at}: {report:#?}");
    }
}
