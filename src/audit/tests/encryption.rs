//! Records that only the holder of a key reads: what stands in the folder, what a key tells, what tampering leaves.

use std::collections::HashSet;

use super::{
    flaky::{Call, Event, Fault, FlakyDisk},
    *,
};
use crate::audit::{
    frame::{self, HEAD_BYTES},
    header::{HEADER_BYTES, Header},
    merkle,
    query::{FolderRecords, Query},
};

/// A key file in a folder of its own.
struct Vault {
    dir: tempfile::TempDir,
}

impl Vault {
    fn new() -> Self {
        let vault = Self { dir: tempfile::tempdir().unwrap() };
        EncryptionKeys::generate(&EncryptionKeys::default()).unwrap().write_new(&vault.path("1")).unwrap();
        vault
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keys(&self, name: &str) -> EncryptionKeys {
        EncryptionKeys::read(&self.path(name)).unwrap()
    }

    /// Another key, with those of the file before it behind.
    fn rotate(&self, from: &str, to: &str) {
        EncryptionKeys::generate(&self.keys(from)).unwrap().write_new(&self.path(to)).unwrap();
    }

    async fn write(&self, name: &str, dir: &Path, count: usize) {
        let config = TrailConfig { encryption_key_file: Some(self.path(name)), ..config(dir) };
        let trail = Trail::open(config, clock()).unwrap();
        append_many(&trail, count, Tier::Disk).await;
        trail.close().await.unwrap();
    }
}

fn opened(dir: &Path, keys: EncryptionKeys) -> Report {
    verify(dir, &VerifyOptions { encryption: keys, ..VerifyOptions::default() }).unwrap()
}

fn lines(dir: &Path, keys: EncryptionKeys) -> Result<Vec<StoredRecord>, ReadError> {
    records(dir, Filter { keys, ..Filter::default() }).and_then(Iterator::collect)
}

#[tokio::test]
async fn nothing_of_a_record_stands_in_the_folder_and_the_key_reads_all_of_it() {
    let (vault, dir) = (Vault::new(), tempfile::tempdir().unwrap());
    vault.write("1", dir.path(), 60).await;
    for path in segments(dir.path()) {
        let stored = std::fs::read(&path).unwrap();
        for word in ["\"ehr\"", "xxxxxxxx", "decision", "\"started\""] {
            assert!(memchr::memmem::find(&stored, word.as_bytes()).is_none(), "{word} in {}", path.display());
        }
    }
    let report = audit(dir.path(), None);
    assert_eq!((report.verdict, report.signatures), (Verdict::Whole, Signatures::Verified), "{report:#?}");
    assert!(report.writers[0].encrypted_frames > 0 && report.writers[0].opened_frames == 0, "{report:#?}");
    let report = opened(dir.path(), vault.keys("1"));
    assert_eq!(report.writers[0].opened_frames, report.writers[0].encrypted_frames);
    assert_eq!((report.verdict, &report.writers[0].unopened), (Verdict::Whole, &None), "{report:#?}");

    let read = lines(dir.path(), vault.keys("1")).unwrap();
    assert_eq!(read.iter().map(|record| record.seq).collect::<Vec<_>>(), (1..=61).collect::<Vec<_>>());
    let source = FolderRecords::once(dir.path()).opened_with(vault.keys("1"));
    let mut run = source.run(Query { kind: Some(RecordKind::Decision), ..Query::default() }, None).unwrap();
    let found: Vec<_> = std::iter::from_fn(|| run.next_found().unwrap()).collect();
    assert_eq!(found.len(), 60);
    assert!(found.iter().all(|found| read.iter().any(|record| record.line == found.line)));
    let writer = read[0].writer.to_string();
    let proof = prove(dir.path(), &writer, 30, None, &vault.keys("1")).unwrap();
    assert_eq!((proof.line(), proof.verify(std::slice::from_ref(&KEY.public))), (&*read[29].line, Ok(())));
}

#[tokio::test]
async fn without_the_key_and_with_another_one_every_reader_says_which_key_it_takes() {
    let (vault, dir) = (Vault::new(), tempfile::tempdir().unwrap());
    vault.write("1", dir.path(), 5).await;
    let (right, other) = (vault.keys("1"), Vault::new().keys("1"));
    let id = right.ids()[0].to_owned();
    for (keys, names_other) in [(EncryptionKeys::default(), false), (other.clone(), true)] {
        let read = lines(dir.path(), keys.clone()).unwrap_err().to_string();
        let source = FolderRecords::once(dir.path()).opened_with(keys.clone());
        let queried = source.run(Query::default(), None).unwrap_err().to_string();
        let writer = check(dir.path()).writers[0].writer.clone();
        let proved = prove(dir.path(), &writer, 2, None, &keys).unwrap_err().to_string();
        for said in [read, queried, proved] {
            assert!(said.contains(&id), "{said}");
            assert_eq!(said.contains(other.ids()[0]), names_other, "{said}");
        }
        // Verifying says so too, and does not take it for tampering.
        let report = opened(dir.path(), keys);
        assert_eq!((report.verdict, report.writers[0].opened_frames), (Verdict::Whole, 0), "{report:#?}");
        assert!(report.writers[0].unopened.as_ref().unwrap().contains(&id), "{report:#?}");
    }
}

#[tokio::test]
async fn a_flipped_byte_is_found_with_the_key_and_without_it() {
    let (vault, dir) = (Vault::new(), tempfile::tempdir().unwrap());
    // The second writer vouches for the end of the first.
    for _ in 0..2 {
        vault.write("1", dir.path(), 8).await;
    }
    let path = segments(dir.path()).remove(0);
    let original = std::fs::read(&path).unwrap();
    let used = original.iter().rposition(|byte| *byte != 0).unwrap();
    for at in (0..used).step_by(61) {
        let mut changed = original.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        for keys in [EncryptionKeys::default(), vault.keys("1")] {
            assert_eq!(opened(dir.path(), keys).verdict, Verdict::Damaged, "byte {at}");
        }
    }
}

/// Without a signature whoever may write the folder can make all checksums and the chain anew; the key still tells.
#[tokio::test]
async fn a_body_that_was_changed_together_with_its_chain_does_not_open() {
    let (vault, dir) = (Vault::new(), tempfile::tempdir().unwrap());
    let config = TrailConfig {
        encryption_key_file: Some(vault.path("1")),
        key_file: None,
        segment_bytes: 64 * 1024,
        ..config(dir.path())
    };
    let trail = Trail::open(config, clock()).unwrap();
    append_many(&trail, 6, Tier::Disk).await;
    trail.close().await.unwrap();
    let path = segments(dir.path()).remove(0);
    let mut stored = std::fs::read(&path).unwrap();
    let mut chain = Header::decode(&stored).unwrap().chain_before(&stored);
    let (mut at, mut forged) = (HEADER_BYTES, None);
    while let Ok(frame) = frame::decode(&stored[at..]) {
        let mut body = frame.body.to_vec();
        if frame.is_encrypted() && frame.head.frame > 2 && forged.is_none() {
            body[3] ^= 1;
            forged = Some(frame.head.first_seq);
        }
        let leaves: Vec<_> = frame.leaves.as_chunks::<32>().0.iter().map(|leaf| merkle::Hash(*leaf)).collect();
        let (bytes, after) = frame::encode(&frame.head, &leaves, &body, &chain);
        chain = after;
        stored[at..at + bytes.len()].copy_from_slice(&bytes);
        at += bytes.len();
    }
    std::fs::write(&path, &stored).unwrap();
    assert_eq!(check(dir.path()).verdict, Verdict::Whole, "{:#?}", check(dir.path()));
    let report = opened(dir.path(), vault.keys("1"));
    let bad = report.first_bad().unwrap();
    assert_eq!((bad.problem, Some(bad.seq)), ("cipher", forged), "{report:#?}");
}

#[tokio::test]
async fn after_a_rotation_new_records_take_the_new_key_and_old_ones_their_own() {
    let (vault, dir) = (Vault::new(), tempfile::tempdir().unwrap());
    vault.rotate("1", "2");
    for name in ["1", "2", "2"] {
        vault.write(name, dir.path(), 4).await;
    }
    assert_eq!(lines(dir.path(), vault.keys("2")).unwrap().len(), 15);
    assert!(matches!(lines(dir.path(), vault.keys("1")), Err(ReadError::Sealed(SealedError::OtherKey { .. }))));
    let report = opened(dir.path(), vault.keys("1"));
    let opened: Vec<bool> = report.writers.iter().map(|writer| writer.opened_frames > 0).collect();
    assert_eq!((report.verdict, opened), (Verdict::Whole, vec![true, false, false]), "{report:#?}");
    // Every start has a data key of its own, so that frame numbers that begin anew are no nonces that come twice.
    let keys: HashSet<_> = segments(dir.path())
        .iter()
        .filter_map(|path| Header::decode(&std::fs::read(path).unwrap()).ok())
        .map(|header| (header.writer, header.key.unwrap().wrapped))
        .collect();
    assert_eq!(keys.iter().map(|(_, wrapped)| wrapped).collect::<HashSet<_>>().len(), 3);
}

/// A number that stood on two bodies would be a nonce that came twice: also where a frame is written a second time.
#[tokio::test]
async fn a_frame_number_is_encrypted_once_whatever_call_fails() {
    let vault = Vault::new();
    for n in 5..22 {
        let dir = tempfile::tempdir().unwrap();
        let disk = FlakyDisk::new(move |number, call| {
            (number == n && matches!(call, Call::Pwrite | Call::Sync)).then_some(Fault::Short)
        });
        let config = TrailConfig { encryption_key_file: Some(vault.path("1")), ..config(dir.path()) };
        let Ok(trail) = Trail::open_on(config, clock(), disk.storage()) else { continue };
        append_many(&trail, 12, Tier::Disk).await;
        trail.close().await.unwrap();
        let mut bodies = HashSet::new();
        for event in disk.events() {
            let Event::Pwrite(_, _, bytes) = event else { continue };
            if let Ok(frame) = frame::decode(&bytes)
                && frame.is_encrypted()
            {
                bodies.insert((frame.head.frame, bytes[HEAD_BYTES..].to_vec()));
            }
        }
        let numbers: HashSet<u64> = bodies.iter().map(|(number, _)| *number).collect();
        assert!(!numbers.is_empty() && numbers.len() == bodies.len(), "call {n}");
        assert_eq!(lines(dir.path(), vault.keys("1")).unwrap().len(), 13, "call {n}");
    }
}

#[test]
fn a_trail_whose_keys_cannot_be_read_does_not_open_and_leaves_the_folder_alone() {
    let (vault, dir) = (Vault::new(), tempfile::tempdir().unwrap());
    std::fs::write(vault.path("bad"), "ENCRYPTION+KEY+0+0\n").unwrap();
    for name in ["none", "bad"] {
        let config = TrailConfig { encryption_key_file: Some(vault.path(name)), ..config(dir.path()) };
        assert!(matches!(Trail::open(config, clock()), Err(OpenError::EncryptionKeys(_))));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
