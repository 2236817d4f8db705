//! What pruning and holds are held against: the key, the checkpoints outside, the trail itself and its records.

use super::{
    retention::{at, hold, later, planned, pruned_at, six, three_writers},
    *,
};
use crate::{
    audit::retention::{HoldScope, HoldTurn, HoldsError, PlanError, PruneError, holds, plan, prune},
    clock::FrozenClock,
};

/// A folder as a pruning leaves it that is cut off before the first segment goes, and its stub.
async fn cut_off(key_file: Option<PathBuf>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let open = |now| {
        let config = TrailConfig { key_file: key_file.clone(), ..config(dir.path()) };
        Trail::open_on(config, Arc::new(FrozenClock::at(now)), Arc::new(Disk)).unwrap()
    };
    for day in ["2018-03-10T15:00:00Z", "2024-03-01T15:00:00Z"] {
        let trail = open(at(day));
        for n in 0..60 {
            let mut record = decision(&format!("d{n}"));
            record.at = at(day);
            trail.append((), record, Tier::Process).await.unwrap();
        }
        trail.close().await.unwrap();
    }
    let before = copy(dir.path());
    let trail = open(later());
    let planned = planned(dir.path(), &six(), later()).unwrap();
    assert_eq!(prune(&trail, &planned, "pri", later()).await.unwrap().records, 61);
    trail.close().await.unwrap();
    let stub = stub_in(dir.path());
    for path in segments(before.path()) {
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    (dir, stub)
}

fn stub_in(dir: &Path) -> PathBuf {
    let mut paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|extension| extension == "pruned")).unwrap()
}

/// The stub with its line changed, its digest put right, and signed by `key` if there is one.
fn rewritten(stub: &Path, key: Option<&SigningKey>, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(stub).unwrap();
    let [origin, _, json] = text.lines().take(3).collect::<Vec<_>>().try_into().unwrap();
    let json = change(json);
    let digest = crate::audit::merkle::Hash::of(&[json.as_bytes()]);
    let writer = stub.file_stem().unwrap().to_str().unwrap();
    let text = match key {
        Some(key) => key.sign_text(&format!("{origin}\n{digest}\n{json}\n")),
        None => format!("{writer}/pruned\n{digest}\n{json}\n\n"),
    };
    std::fs::write(stub, text).unwrap();
}

/// Opens the folder; whether the segments went, and whether the trail tells of it.
async fn finishes(dir: &Path, key_file: Option<PathBuf>) -> (bool, bool) {
    let first = segments(dir).remove(0);
    let config = TrailConfig { key_file, ..config(dir) };
    let trail = Trail::open_on(config, Arc::new(FrozenClock::at(later())), Arc::new(Disk)).unwrap();
    trail.close().await.unwrap();
    let told = records(dir, Filter::default())
        .unwrap()
        .any(|record| String::from_utf8_lossy(&record.unwrap().line).contains(r#""event":"pruning_finished""#));
    (!first.exists(), told)
}

#[tokio::test]
async fn a_pruning_that_was_cut_off_is_finished_and_told_of() {
    let key = || Some(KEY.file.clone());
    let (dir, _) = cut_off(key()).await;
    assert_eq!(audit(dir.path(), None).first_bad().unwrap().problem, "unfinished_pruning");
    assert_eq!(finishes(dir.path(), key()).await, (true, true));
    assert_eq!(audit(dir.path(), None).verdict, Verdict::Whole);
    let (dir, _) = cut_off(None).await;
    assert_eq!(finishes(dir.path(), None).await, (true, true));
    assert_eq!(check(dir.path()).verdict, Verdict::Whole);
}

#[tokio::test]
async fn a_stub_that_the_key_the_trail_or_its_record_contradicts_deletes_nothing() {
    let (key, other) = (SigningKey::read(&KEY.file).unwrap(), SigningKey::generate("trail.example/clinic").unwrap());
    let signed = || Some(KEY.file.clone());
    let same = str::to_owned;
    let wrong_chain = |json: &str| {
        let at = json.find("\"chain\":\"").unwrap() + 9;
        let other = if json.get(at..=at) == Some("A") { "B" } else { "A" };
        [json.get(..at).unwrap(), other, json.get(at + 1..).unwrap()].concat()
    };
    let stays = async |what: &str, dir: &Path, key_file: Option<PathBuf>| {
        assert_eq!(finishes(dir, key_file).await, (false, false), "{what}");
        let report = audit(dir, None);
        assert_eq!(report.verdict, Verdict::Damaged, "{what}: {report:#?}");
        assert!(report.findings.iter().any(|finding| finding.problem == "unfinished_pruning"), "{what}: {report:#?}");
    };
    // The key: nobody signed it, another did, or there is none to ask.
    let (dir, stub) = cut_off(signed()).await;
    let original = std::fs::read(&stub).unwrap();
    rewritten(&stub, None, same);
    stays("unsigned", dir.path(), signed()).await;
    std::fs::write(&stub, &original).unwrap();
    rewritten(&stub, Some(&other), same);
    stays("another key", dir.path(), signed()).await;
    std::fs::write(&stub, &original).unwrap();
    stays("the key is gone", dir.path(), Some(dir.path().join("nowhere"))).await;
    stays("no key is set", dir.path(), None).await;
    // The trail: it does not go on there, or the segment is another.
    rewritten(&stub, Some(&key), wrong_chain);
    stays("another chain", dir.path(), signed()).await;
    std::fs::write(&stub, &original).unwrap();
    let writer = stub.file_stem().unwrap().to_str().unwrap().to_owned();
    let last = segments(dir.path()).into_iter().rfind(|path| path.to_str().unwrap().contains(&writer)).unwrap();
    let mut stored = std::fs::read(&last).unwrap();
    stored[4200] ^= 1;
    std::fs::write(&last, &stored).unwrap();
    stays("a changed segment", dir.path(), signed()).await;
    // Put right again, the same stub is believed.
    stored[4200] ^= 1;
    std::fs::write(&last, &stored).unwrap();
    assert_eq!(finishes(dir.path(), signed()).await, (true, true));

    // The record: the stub is put to a folder that was never pruned.
    for key_file in [signed(), None] {
        let (pruned, stub) = cut_off(key_file.clone()).await;
        let newest = check(pruned.path()).writers.last().unwrap().writer.clone();
        for path in segments(pruned.path()).iter().filter(|path| path.to_str().unwrap().contains(&newest)) {
            std::fs::remove_file(path).unwrap();
        }
        assert!(stub.exists());
        stays("no record", pruned.path(), key_file).await;
    }
}

#[tokio::test]
async fn a_trail_that_another_key_signed_or_a_checkpoint_outside_contradicts_is_not_pruned() {
    let dir = three_writers().await;
    let plan_with = |keys: Vec<VerifierKey>, checkpoints: Option<PathBuf>| {
        plan(dir.path(), &six(), &VerifyOptions { keys, checkpoints, ..VerifyOptions::default() }, later())
    };
    assert_eq!(plan_with(vec![KEY.public.clone()], None).unwrap().records(), 61);
    let other = SigningKey::generate("trail.example/clinic").unwrap();
    let planned = plan_with(vec![other.verifier()], None);
    assert!(matches!(planned, Err(PlanError::Damaged { .. })), "{planned:?}");
    let outside = tempfile::tempdir().unwrap();
    let first: uuid::Uuid = check(dir.path()).writers[0].writer.parse().unwrap();
    let key = SigningKey::read(&KEY.file).unwrap();
    let note = key.sign(first, 900, &crate::audit::merkle::Hash([7; 32]));
    crate::audit::outside::append(outside.path(), first, &note).unwrap();
    let planned = plan_with(vec![KEY.public.clone()], Some(outside.path().to_owned()));
    assert!(matches!(planned, Err(PlanError::Damaged { .. })), "{planned:?}");
}

#[tokio::test]
async fn a_trail_whose_key_cannot_be_loaded_is_not_pruned() {
    let dir = three_writers().await;
    let before = segments(dir.path());
    let config = TrailConfig { key_file: Some(dir.path().join("nowhere")), ..config(dir.path()) };
    let trail = Trail::open_on(config, Arc::new(FrozenClock::at(later())), Arc::new(Disk)).unwrap();
    let planned = planned(dir.path(), &six(), later()).unwrap();
    let refused = prune(&trail, &planned, "pri", later()).await;
    assert!(matches!(refused, Err(PruneError::NoKey)), "{refused:?}");
    trail.close().await.unwrap();
    assert_eq!(segments(dir.path())[..before.len()], before);
}

#[tokio::test]
async fn where_the_beginning_is_elsewhere_no_hold_can_be_seen_and_nothing_is_pruned() {
    let dir = three_writers().await;
    hold(dir.path(), at("2018-03-11T00:00:00Z"), "case-1", HoldTurn::Place(HoldScope::default())).await;
    let first = segments(dir.path()).remove(0);
    // As the sweep does once the store holds it: a part of the first writer, then all of it.
    let writer = first.file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
    for path in segments(dir.path()).into_iter().filter(|path| path.to_str().unwrap().contains(&writer)) {
        std::fs::remove_file(&path).unwrap();
        let unseen = holds(dir.path(), EncryptionKeys::default());
        assert!(matches!(&unseen, Err(HoldsError::Elsewhere { writer: of, .. }) if *of == writer), "{unseen:?}");
        let planned = planned(dir.path(), &six(), later());
        assert!(matches!(&planned, Err(PlanError::Elsewhere { writer: of, .. }) if *of == writer), "{planned:?}");
    }
    // Damage is damage there too.
    let path = segments(dir.path()).remove(1);
    let mut stored = std::fs::read(&path).unwrap();
    stored[5000] ^= 1;
    std::fs::write(&path, &stored).unwrap();
    let planned = planned(dir.path(), &six(), later());
    assert!(matches!(planned, Err(PlanError::Damaged { .. })), "{planned:?}");
    // What was pruned left a stub: the holds that stand are still here.
    let dir = three_writers().await;
    pruned_at(later(), dir.path(), &six()).await;
    assert_eq!(holds(dir.path(), EncryptionKeys::default()).unwrap(), []);
}
