//! `docs/verify.py` knows the format from its page alone: it and `audit verify` must say the same of any trail.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

use chaperone::{
    audit::{
        self, EncryptionKeys, SigningKey, Trail, TrailConfig, Verdict, VerifierKey, VerifyOptions,
        retention::{Retention, plan, prune},
    },
    clock::{Clock, FrozenClock, SystemClock},
    domain::{Record, RecordKind, Tier},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Python that has `cryptography`: the machine's, or one made for it under `target`.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let has = |python: &Path| {
            Command::new(python)
                .args(["-c", "import cryptography"])
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let system = PathBuf::from("python3");
        if has(&system) {
            return system;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verify-py");
        let own = folder.join("bin/python3");
        if !has(&own) {
            let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status().unwrap();
            assert!(made.success(), "python3 with venv is needed");
            let pip =
                Command::new(&own).args(["-m", "pip", "install", "--quiet", "cryptography==48.0.0"]).status().unwrap();
            assert!(pip.success(), "`cryptography` could not be installed");
        }
        own
    })
}

struct House {
    _folder: tempfile::TempDir,
    trail: PathBuf,
    outside: PathBuf,
    key: VerifierKey,
}

impl House {
    /// Three writers: one over several segments, one that was killed, and the one that signed for it.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [key_file, trail, outside] = ["key", "trail", "checkpoints"].map(|name| folder.path().join(name));
        let key = SigningKey::generate("trail.example/clinic").unwrap();
        key.write_new(&key_file).unwrap();
        let house = Self { _folder: folder, trail, outside, key: key.verifier() };
        let config = |dir: &Path, key_file| TrailConfig {
            accept_ephemeral: true,
            segment_bytes: 16 * 1024,
            key_file,
            checkpoints_dir: Some(house.outside.clone()),
            ..TrailConfig::at(dir)
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            write(config(&house.trail, Some(key_file.clone())), 40).await.close().await.unwrap();
            // Killed: what the folder holds at some moment, before the end is sealed.
            let living = write(config(&house.trail, None), 6).await;
            let dead = tempfile::tempdir().unwrap();
            copy(&house.trail, dead.path());
            living.close().await.unwrap();
            copy(dead.path(), &house.trail);
            write(config(&house.trail, Some(key_file.clone())), 4).await.close().await.unwrap();
        });
        house
    }

    /// What each of the two says, which must be the same: the first bad record, or nothing.
    #[track_caller]
    fn agree_on(&self, what: &str, with: With) -> Option<String> {
        let mut options = VerifyOptions::default();
        let mut python = Command::new(python());
        python.arg(root().join("docs/verify.py")).arg(&self.trail);
        if with != With::Nothing {
            options.keys.push(self.key.clone());
            python.arg("--key").arg(self.key.to_string());
        }
        if with == With::KeyAndCheckpoints {
            options.checkpoints = Some(self.outside.clone());
            python.arg("--checkpoints").arg(&self.outside);
        }
        let report = audit::verify(&self.trail, &options).unwrap();
        assert_eq!(report.verdict == Verdict::Damaged, report.first_bad().is_some());
        let ours = report.first_bad().map(|bad| format!("{}/{}", bad.writer, bad.seq));
        let output = python.output().unwrap();
        let (said, talked) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        let theirs = match output.status.code() {
            Some(0) => None,
            Some(6) => Some(said.lines().last().unwrap().split(": ").next().unwrap().to_owned()),
            other => panic!("verify.py ended with {other:?}: {said}{talked}"),
        };
        assert_eq!(ours, theirs, "{what}: ours, and verify.py's, which says {said}; ours in full: {report:#?}");
        ours
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(&self.trail).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "trail"));
        paths.sort();
        paths
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Nothing,
    Key,
    KeyAndCheckpoints,
}

async fn write(config: TrailConfig, records: usize) -> Trail {
    let trail = Trail::open(config, Arc::new(SystemClock)).unwrap();
    // One record a frame, also the first.
    while trail.status().last_seq == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    for n in 0..records {
        let mut record = Record::new(RecordKind::Decision, SystemClock.now());
        record.decision_id = Some(format!("d{n}"));
        record.user_agent = Some("x".repeat(300));
        drop(trail.append((), record, Tier::Disk).await.unwrap());
    }
    trail
}

fn copy(from: &Path, to: &Path) {
    for path in fs::read_dir(to).unwrap().map(|entry| entry.unwrap().path()) {
        fs::remove_file(path).unwrap();
    }
    for path in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn two_verifiers_that_share_no_code_agree_on_whole_and_on_damaged_trails() {
    let house = House::new();
    for with in [With::Nothing, With::Key, With::KeyAndCheckpoints] {
        assert_eq!(house.agree_on("untouched", with), None);
    }
    // The key as a file; the killed writer is signed for by the one after it.
    let key_file = house.trail.with_file_name("key.vkey");
    fs::write(&key_file, format!("{}\n", house.key)).unwrap();
    let mut python = Command::new(python());
    python.arg(root().join("docs/verify.py")).arg(&house.trail).arg("--key").arg(&key_file);
    let said = String::from_utf8(python.output().unwrap().stdout).unwrap();
    let counts = said.lines().map(|line| line.split(' ').filter_map(|word| word.parse().ok()).collect::<Vec<u32>>());
    let counts: Vec<Vec<u32>> = counts.collect();
    assert!(
        counts.len() == 3 && counts.iter().all(|found| matches!(found[..], [all, signed] if all == signed)),
        "{said}"
    );
    let mut found = 0;
    for path in house.segments() {
        let original = fs::read(&path).unwrap();
        let used = original.len() - original.iter().rev().take_while(|byte| **byte == 0).count();
        let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
        for at in (5..used).step_by(2_003).chain([original.len() - 1]) {
            let mut flipped = original.clone();
            flipped[at] ^= 0x41;
            cases.push((format!("byte {at} flipped"), flipped));
            cases.push((format!("cut at {at}"), original[..at].to_vec()));
        }
        for (what, changed) in cases {
            fs::write(&path, changed).unwrap();
            found += usize::from(house.agree_on(&format!("{what} in {}", path.display()), With::Key).is_some());
        }
        fs::remove_file(&path).unwrap();
        let what = format!("{} removed", path.display());
        assert!(house.agree_on(&what, With::KeyAndCheckpoints).is_some(), "{what}");
        fs::write(&path, original).unwrap();
    }
    assert!(found > 20, "{found}");
    assert_eq!(house.agree_on("all put back", With::KeyAndCheckpoints), None);
}

#[test]
fn two_verifiers_that_share_no_code_agree_on_what_the_checkpoints_outside_say() {
    let house = House::new();
    let segments = house.segments();
    let last_writer = segments.last().unwrap().clone();
    let kept = fs::read(&last_writer).unwrap();
    fs::remove_file(&last_writer).unwrap();
    // The writer before it now has an open end, and only what was kept outside knows that another one was there.
    assert_eq!(house.agree_on("the last writer gone", With::Key), None);
    assert!(house.agree_on("the last writer gone", With::KeyAndCheckpoints).is_some());
    fs::write(&last_writer, kept).unwrap();

    let outside = fs::read_dir(&house.outside).unwrap().next().unwrap().unwrap().path();
    let original = fs::read_to_string(&outside).unwrap();
    let size = original.lines().nth(1).unwrap();
    fs::write(&outside, original.replacen(&format!("\n{size}\n"), "\n999\n", 1)).unwrap();
    assert!(house.agree_on("a size changed", With::KeyAndCheckpoints).is_some());
}

impl House {
    /// Encrypted records of three years: of the first writer nothing is left but its stub, of the second a part.
    fn pruned() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [key_file, encryption, trail, outside] =
            ["key", "encryption", "trail", "checkpoints"].map(|name| folder.path().join(name));
        let key = SigningKey::generate("trail.example/clinic").unwrap();
        key.write_new(&key_file).unwrap();
        EncryptionKeys::generate(&EncryptionKeys::default()).unwrap().write_new(&encryption).unwrap();
        let config = TrailConfig {
            accept_ephemeral: true,
            segment_bytes: 16 * 1024,
            key_file: Some(key_file),
            encryption_key_file: Some(encryption.clone()),
            checkpoints_dir: Some(outside.clone()),
            ..TrailConfig::at(&trail)
        };
        let clock = FrozenClock::at("2018-03-10T15:00:00Z".parse().unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for writer in 0..2 {
                let trail = Trail::open(config.clone(), Arc::new(clock.clone())).unwrap();
                for n in 0..60 {
                    if (writer, n) == (1, 30) {
                        clock.set("2020-01-01T00:00:00Z".parse().unwrap());
                    }
                    let mut record = Record::new(RecordKind::Decision, clock.now());
                    record.user_agent = Some("x".repeat(300));
                    drop(trail.append((), record, Tier::Disk).await.unwrap());
                }
                trail.close().await.unwrap();
            }
            let now = "2024-06-01T00:00:00Z".parse().unwrap();
            clock.set(now);
            let living = Trail::open(config.clone(), Arc::new(clock.clone())).unwrap();
            let options = VerifyOptions {
                keys: vec![key.verifier()],
                checkpoints: Some(outside.clone()),
                encryption: EncryptionKeys::read(&encryption).unwrap(),
                ..VerifyOptions::default()
            };
            let planned = plan(&trail, &Retention::new(6, BTreeMap::new()), &options, now).unwrap();
            assert_eq!(planned.writers.len(), 2, "{planned:?}");
            prune(&living, &planned, "pri", now).await.unwrap();
            living.close().await.unwrap();
        });
        Self { _folder: folder, trail, outside, key: key.verifier() }
    }

    fn stubs(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(&self.trail).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "pruned"));
        paths.sort();
        paths
    }
}

#[test]
fn two_verifiers_that_share_no_code_agree_on_encrypted_and_pruned_trails_without_a_key_to_read_them() {
    let house = House::pruned();
    for with in [With::Nothing, With::Key, With::KeyAndCheckpoints] {
        assert_eq!(house.agree_on("untouched", with), None);
    }
    let stubs = house.stubs();
    assert_eq!(stubs.len(), 2);
    let files = stubs.iter().cloned().chain([house.segments().remove(0)]);
    for path in files {
        let original = fs::read(&path).unwrap();
        let used = original.len() - original.iter().rev().take_while(|byte| **byte == 0).count();
        for at in (1..used).step_by(used / 8) {
            let mut flipped = original.clone();
            flipped[at] ^= 1;
            fs::write(&path, flipped).unwrap();
            let what = format!("byte {at} of {} flipped", path.display());
            assert!(house.agree_on(&what, With::Key).is_some(), "{what}");
        }
        fs::remove_file(&path).unwrap();
        let what = format!("{} removed", path.display());
        assert!(house.agree_on(&what, With::KeyAndCheckpoints).is_some(), "{what}");
        fs::write(&path, original).unwrap();
    }
    assert_eq!(house.agree_on("all put back", With::KeyAndCheckpoints), None);
}
