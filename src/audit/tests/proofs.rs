//! One record, proved without the others.

use super::*;

fn keys() -> Vec<VerifierKey> {
    vec![KEY.public.clone()]
}

#[tokio::test]
async fn every_record_is_proved_by_a_file_that_stands_alone() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let trail = open(dir.path());
        append_many(&trail, 40, Tier::Process).await;
        trail.close().await.unwrap();
    }
    let mut proved = 0;
    for record in records(dir.path(), Filter::default()).unwrap().map(Result::unwrap) {
        let text = prove(dir.path(), &record.writer, record.seq, None, &EncryptionKeys::default()).unwrap().to_string();
        let proof = Proof::parse(text.as_bytes()).unwrap();
        assert_eq!(proof.verify(&keys()), Ok(()), "{text}");
        assert_eq!((proof.writer().as_str(), proof.seq()), (&*record.writer, record.seq));
        assert_eq!(proof.line(), record.line);
        proved += 1;
    }
    assert_eq!(proved, 2 * 41);
}

#[tokio::test]
async fn a_proof_with_any_byte_changed_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let receipts = append_many(&trail, 11, Tier::Process).await;
    trail.close().await.unwrap();
    let text =
        prove(dir.path(), &receipts[4].writer, receipts[4].seq, None, &EncryptionKeys::default()).unwrap().to_string();
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        let verified = Proof::parse(&changed).and_then(|proof| proof.verify(&keys()));
        assert!(verified.is_err(), "byte {at} of\n{text}");
    }
    let other = Key::new();
    assert!(matches!(
        Proof::parse(text.as_bytes()).unwrap().verify(std::slice::from_ref(&other.public)),
        Err(ProofError::UnknownKey(_))
    ));
}

#[tokio::test]
async fn what_cannot_be_proved_is_said() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = TrailConfig { checkpoints_dir: Some(outside.path().to_owned()), ..config(dir.path()) };
    let trail = Trail::open(config, clock()).unwrap();
    let receipt = append(&trail, "d", Tier::Disk).await.unwrap();
    let proved =
        |seq, outside| prove(dir.path(), &receipt.writer, seq, outside, &EncryptionKeys::default()).map(|_| ());
    assert!(matches!(proved(receipt.seq, None), Err(ProveError::NoCheckpoint { .. })));
    assert!(matches!(proved(99, None), Err(ProveError::NoRecord { last: 2, .. })));
    assert!(matches!(proved(0, None), Err(ProveError::NoRecord { .. })));
    assert!(matches!(prove(dir.path(), "nobody", 1, None, &EncryptionKeys::default()), Err(ProveError::NoWriter(_))));
    let dead = copy(dir.path());
    trail.close().await.unwrap();
    assert!(proved(receipt.seq, None).is_ok());
    // The writer that died has the checkpoint of its successor, or the one that was kept outside.
    let kept =
        prove(dead.path(), &receipt.writer, receipt.seq, Some(outside.path()), &EncryptionKeys::default()).unwrap();
    assert_eq!(kept.verify(&keys()), Ok(()));
    open(dead.path()).close().await.unwrap();
    let signed_later = prove(dead.path(), &receipt.writer, receipt.seq, None, &EncryptionKeys::default()).unwrap();
    assert_eq!(signed_later.verify(&keys()), Ok(()));
}

#[tokio::test]
async fn records_behind_pruned_segments_are_proved_and_those_in_them_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    append_many(&trail, 120, Tier::Process).await;
    trail.close().await.unwrap();
    let elsewhere = || crate::audit::extent(dir.path(), clock().now()).unwrap().elsewhere;
    assert_eq!(elsewhere(), []);
    std::fs::remove_file(segments(dir.path()).remove(0)).unwrap();
    assert!(!elsewhere().is_empty());
    let (mut proved, mut writer) = (0, String::new());
    for record in records(dir.path(), Filter::default()).unwrap().map(Result::unwrap) {
        let proof = prove(dir.path(), &record.writer, record.seq, None, &EncryptionKeys::default()).unwrap();
        assert_eq!(proof.verify(&keys()), Ok(()));
        proved += 1;
        writer = record.writer.to_string();
    }
    assert!(proved > 40, "{proved}");
    assert!(matches!(prove(dir.path(), &writer, 1, None, &EncryptionKeys::default()), Err(ProveError::Pruned { .. })));
}
