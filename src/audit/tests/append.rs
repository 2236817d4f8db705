//! Appending, as callers see it.

use super::*;

#[tokio::test]
async fn each_record_gets_a_receipt_and_stands_in_the_folder_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let record = decision("d1");
    let canonical = serde_json::to_string(&record).unwrap();
    let (value, receipt) = trail.append("answer", record, Tier::Process).await.unwrap().into_parts();
    assert_eq!(value, "answer");
    assert_eq!(receipt.seq, 2, "the first record says that the writer started");
    assert_eq!(receipt.durability, Tier::Process);
    trail.close().await.unwrap();
    let found: Vec<_> = records(dir.path(), Filter::default()).unwrap().map(|record| record.unwrap()).collect();
    assert_eq!(found.len(), 2);
    let expected = format!("{{\"v\":1,\"seq\":2,{}", canonical.strip_prefix('{').unwrap());
    assert_eq!(String::from_utf8(found[1].line.clone()).unwrap(), expected);
    assert!(String::from_utf8_lossy(&found[0].line).contains("\"event\":\"started\""));
}

#[tokio::test]
async fn a_sealed_trail_over_many_segments_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let receipts = append_many(&trail, 200, Tier::Process).await;
    trail.close().await.unwrap();
    trail.close().await.unwrap();
    assert!(segments(dir.path()).len() > 3);
    assert_verdict(dir.path(), Verdict::Whole);
    let stored = stored(dir.path());
    assert_eq!(stored.len(), 201);
    assert!(receipts.iter().all(|receipt| stored.contains(&(receipt.writer.clone(), receipt.seq))));
}

#[tokio::test]
async fn callers_at_the_same_time_share_frames_and_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let trail =
        Arc::new(Trail::open(TrailConfig { accept_ephemeral: true, ..TrailConfig::at(dir.path()) }, clock()).unwrap());
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64 {
        let trail = Arc::clone(&trail);
        callers.spawn(async move {
            for n in 0..10 {
                append(&trail, &format!("{caller}.{n}"), Tier::Disk).await.unwrap();
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    trail.close().await.unwrap();
    let report = check(dir.path());
    assert_eq!(report.verdict, Verdict::Whole);
    assert_eq!(report.records, 641);
    assert!(report.writers[0].frames < 320, "{} frames for 640 records", report.writers[0].frames);
}

#[tokio::test]
async fn a_record_asked_for_at_disk_is_synced_when_its_receipt_comes() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let receipt = append(&trail, "d", Tier::Disk).await.unwrap();
    assert!(trail.status().synced_seq >= receipt.seq);
    trail.close().await.unwrap();
}

#[tokio::test]
async fn an_idle_trail_marks_once_that_all_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let marks = || {
        let stored = std::fs::read(&segments(dir.path())[0]).unwrap();
        let mut at = crate::audit::header::HEADER_BYTES;
        let mut marks = 0;
        while let Ok(frame) = crate::audit::frame::decode(&stored[at..]) {
            at += frame.len;
            marks += usize::from(frame.head.kind == crate::audit::frame::Kind::SyncMark);
        }
        marks
    };
    for burst in 1..=3 {
        append(&trail, "d", Tier::Process).await.unwrap();
        wait_until("a sync mark", || marks() >= burst).await;
    }
    trail.close().await.unwrap();
    // One for the start, if that stood alone, and one for each burst.
    assert!((3..=4).contains(&marks()), "{} marks", marks());
}

#[tokio::test]
async fn a_caller_that_goes_away_loses_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    {
        let mut going = Box::pin(append(&trail, "gone", Tier::Disk));
        let waker = std::task::Waker::noop();
        let polled = going.as_mut().poll(&mut std::task::Context::from_waker(waker));
        assert!(polled.is_pending());
    }
    trail.close().await.unwrap();
    let filter = Filter { lookup: Some("gone".to_owned()), ..Filter::default() };
    assert_eq!(records(dir.path(), filter).unwrap().count(), 1);
}

#[tokio::test]
async fn a_full_queue_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(TrailConfig { queue_records_max: 0, ..config(dir.path()) }, clock()).unwrap();
    assert!(matches!(append(&trail, "d", Tier::Process).await, Err(AppendError::Full)));
    trail.close().await.unwrap();
}

#[tokio::test]
async fn nothing_weaker_is_passed_off_as_remote() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    assert!(matches!(append(&trail, "d", Tier::Remote).await, Err(AppendError::NoRemote)));
    trail.close().await.unwrap();
    assert!(matches!(append(&trail, "d", Tier::Process).await, Err(AppendError::Closed)));
}

#[tokio::test]
async fn a_record_too_long_for_a_frame_is_refused_and_the_longest_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let mut record = decision("long");
    record.user_agent = Some("x".repeat(20_000));
    let refused = trail.append((), record.clone(), Tier::Process).await;
    let Err(AppendError::TooLarge { bytes, bytes_max }) = refused else { panic!("{refused:?}") };
    record.user_agent = Some("x".repeat(20_000 - (bytes - bytes_max)));
    trail.append((), record, Tier::Process).await.unwrap();
    trail.close().await.unwrap();
    assert_verdict(dir.path(), Verdict::Whole);
}

#[tokio::test]
async fn free_text_is_cut_between_characters() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let mut record = decision("d");
    record.access_reason = Some("ä".repeat(501));
    trail.append((), record, Tier::Process).await.unwrap();
    trail.close().await.unwrap();
    let line = records(dir.path(), Filter::default()).unwrap().last().unwrap().unwrap().line;
    let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(line["access_reason"].as_str().unwrap().chars().count(), 500);
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("audit");
    let trail = open(&dir);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("LOCK")), 0o600);
    assert_eq!(mode(&segments(&dir)[0]), 0o600);
    trail.close().await.unwrap();
}

#[tokio::test]
async fn the_caller_of_a_decision_is_known_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let receipt = append(&trail, "d7", Tier::Process).await.unwrap();
    let expected = DecisionEntry { writer: receipt.writer, seq: receipt.seq, caller: "ehr".to_owned() };
    assert_eq!(trail.decision("d7").unwrap(), Some(expected.clone()));
    trail.close().await.unwrap();
    let trail = open(dir.path());
    assert_eq!(trail.decision("d7").unwrap(), Some(expected));
    assert_eq!(trail.decision("d8").unwrap(), None);
    trail.close().await.unwrap();
}

#[tokio::test]
async fn a_reader_at_the_end_goes_on_as_records_come() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    append_many(&trail, 3, Tier::Process).await;
    let mut reader = Reader::open(dir.path(), EncryptionKeys::default()).unwrap();
    let mut seen = Vec::new();
    let mut drain = |seen: &mut Vec<u64>| {
        while let Some(record) = reader.next_record().unwrap() {
            seen.push(record.seq);
        }
    };
    drain(&mut seen);
    assert_eq!(seen, vec![1, 2, 3, 4]);
    append_many(&trail, 60, Tier::Process).await;
    drain(&mut seen);
    drain(&mut seen);
    assert_eq!(seen, (1..=64).collect::<Vec<u64>>());
    trail.close().await.unwrap();
}

#[tokio::test]
async fn filters_give_the_last_ones_the_later_ones_and_the_one_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let receipts = append_many(&trail, 5, Tier::Process).await;
    let between = clock().now();
    let last = append(&trail, "late", Tier::Process).await.unwrap();
    trail.close().await.unwrap();
    let seqs = |filter: Filter| -> Vec<u64> {
        records(dir.path(), filter).unwrap().map(|record| record.unwrap().seq).collect()
    };
    assert_eq!(seqs(Filter { tail: Some(2), ..Filter::default() }), vec![6, 7]);
    assert_eq!(seqs(Filter { since: Some(between), ..Filter::default() }), vec![last.seq]);
    assert_eq!(seqs(Filter { lookup: Some("d3".to_owned()), ..Filter::default() }), vec![receipts[3].seq]);
    assert!(holds(dir.path(), &last.writer, last.seq, Some("late")).unwrap());
    assert!(!holds(dir.path(), &last.writer, last.seq, Some("early")).unwrap());
    assert!(!holds(dir.path(), &last.writer, last.seq + 1, None).unwrap());
}
