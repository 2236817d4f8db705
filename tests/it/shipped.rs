//! The trail in the store: the real binary ships, dies, stops and is cut off; the store has each record once, and what
//! is changed there is found.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value as Json, json};

use crate::helpers::{
    postgres::Postgres,
    sidecar::{Ended, Receipt, Sidecar, ana_reads, chaperone, wait_for},
    sqlite::Sqlite,
};

/// Runs SQL on a file, as somebody would who got hold of it.
fn on_file(path: &Path, sql: &str) -> Vec<Vec<Option<String>>> {
    use sqlx::{Column as _, Row as _};
    let url = format!("sqlite://{}", path.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
        let rows = sqlx::raw_sql(statement(sql)).fetch_all(&mut connection).await.unwrap();
        rows.iter()
            .map(|row| row.columns().iter().map(|column| row.get_unchecked(column.ordinal())).collect())
            .collect()
    })
}

fn statement(sql: &str) -> sqlx::SqlStr {
    use sqlx::SqlSafeStr as _;
    sqlx::AssertSqlSafe(sql.to_owned()).into_sql_str()
}

/// The records of a shipped trail in a SQLite file; each is there once, or this panics.
pub(crate) fn in_file(path: &Path) -> BTreeSet<(String, u64)> {
    let rows = on_file(path, "SELECT writer, CAST(seq AS text) FROM audit_record");
    let mut found = BTreeSet::new();
    for row in rows {
        let record = (row[0].clone().unwrap(), row[1].clone().unwrap().parse().unwrap());
        assert!(found.insert(record.clone()), "{record:?} is there twice");
    }
    found
}

fn in_folder(sidecar: &Sidecar) -> BTreeSet<(String, u64)> {
    sidecar.records().into_iter().map(|(receipt, _)| (receipt.writer, receipt.seq)).collect()
}

pub(crate) fn verified(url: &str) -> Ended {
    Ended::of(chaperone().args(["audit", "verify", "-o", "json", "--store", url]))
}

fn metric(sidecar: &Sidecar, name: &str) -> u64 {
    let page = sidecar.doors().probe("/metrics").body;
    let shown = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    shown.expect("the metric is shown").parse().unwrap()
}

pub(crate) fn lag(sidecar: &Sidecar) -> u64 {
    metric(sidecar, "chaperone_audit_lag_records")
}

fn shipped(sidecar: &Sidecar) -> u64 {
    metric(sidecar, "chaperone_audit_shipped_total")
}

#[test]
fn the_demo_ships_into_a_file_of_its_own_and_every_change_there_is_found() {
    let mut sidecar = Sidecar::demo();
    let mut asker = sidecar.doors().tcp();
    for _ in 0..30 {
        assert_eq!(asker.ask(&ana_reads()).unwrap().status, 200);
    }
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
    let trail = sidecar.folder().join("store.trail.db");
    assert_eq!(in_file(&trail), in_folder(&sidecar), "drained at the end");
    let whole = verified(&format!("sqlite://{}", trail.display()));
    assert_eq!(whole.code, Some(0), "{}{}", whole.stdout, whole.stderr);
    let report: Json = serde_json::from_str(&whole.stdout).unwrap();
    assert_eq!((&report["verdict"], &report["records"]), (&"whole".into(), &31.into()));

    let changes = [
        ("audit_record_update", "UPDATE audit_record SET client = 'C9' WHERE seq = 7", 7, "in client"),
        ("audit_record_update", "UPDATE audit_record SET at = '2026-03-10T15:00:01Z' WHERE seq = 8", 8, "in at"),
        ("audit_record_delete", "DELETE FROM audit_record WHERE seq = 9", 9, "not in the index"),
        (
            "audit_record_update",
            "INSERT INTO audit_record (month, writer, seq, frame, at, kind) SELECT month, writer, 99, frame, at, kind FROM audit_record WHERE seq = 1",
            99,
            "no frame holds",
        ),
        ("audit_frame_delete", "DELETE FROM audit_frame WHERE first_seq = 12 AND count > 0", 12, "another belongs"),
        (
            "audit_frame_update",
            "UPDATE audit_frame SET bytes = CAST(replace(CAST(bytes AS text), 'clin.note', 'clin.nope') AS blob) WHERE first_seq = 12 AND count > 0",
            12,
            "",
        ),
        ("audit_frame_delete", "DELETE FROM audit_frame WHERE frame > (SELECT max(frame) - 3 FROM audit_frame)", 0, ""),
    ];
    for (trigger, change, seq, words) in changes {
        let copy = sidecar.folder().join("changed.db");
        fs::copy(&trail, &copy).unwrap();
        on_file(&copy, &format!("DROP TRIGGER {trigger}; {change}"));
        let found = verified(&format!("sqlite://{}", copy.display()));
        assert_eq!(found.code, Some(6), "{change}: {}{}", found.stdout, found.stderr);
        let report: Json = serde_json::from_str(&found.stdout).unwrap();
        let first = &report["findings"][0];
        if seq > 0 {
            assert_eq!(first["seq"], seq, "{change}: {first}");
        }
        assert!(first["detail"].as_str().unwrap().contains(words), "{change}: {first}");
    }
}

#[test]
fn what_was_shipped_is_read_from_the_store_as_from_the_folder_and_instead_of_it() {
    let mut sidecar = Sidecar::demo();
    for turn in 0..2 {
        if turn > 0 {
            sidecar.start();
        }
        let mut asker = sidecar.doors().tcp();
        (0..15).for_each(|_| assert_eq!(asker.ask(&ana_reads()).unwrap().status, 200));
        drop(asker);
        assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
    }
    let store = format!("sqlite://{}", sidecar.folder().join("store.trail.db").display());
    let (dir, config) = (sidecar.trail().display().to_string(), sidecar.config_file().display().to_string());
    let out = sidecar.folder().join("out.jsonl").display().to_string();
    let run = |words: &[&str]| {
        let ended = Ended::of(chaperone().arg("audit").args(words));
        (ended.code, ended.stdout)
    };
    let query = ["query", "--client", "C1", "--limit", "100", "-o", "json"];
    let export = ["export", "--format", "jsonl"];
    let from = |words: &[&str], place: &[&str]| run(&[words, place].concat());
    let (queried, exported) = (from(&query, &[&dir]), from(&export, &[&dir]));
    assert_eq!((queried.0, exported.0, exported.1.lines().count()), (Some(0), Some(0), 32));
    for place in [&["--store", &*store][..], &[&*dir, "--store", &*store], &["--config", &*config]] {
        assert_eq!(from(&query, place), queried, "{place:?}");
        assert_eq!(from(&export, place), exported, "{place:?}");
    }
    // The first sidecar's segments are taken away: the store has what is missing, and proves it.
    let first = sidecar.records()[0].0.writer.clone();
    for entry in fs::read_dir(sidecar.trail()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with(&first) {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(from(&export, &[&dir]).1.lines().count(), 16);
    assert_eq!(from(&export, &["--config", &config]), exported);
    assert_eq!(from(&export, &["--config", &config, "--out", &out]).0, Some(0));
    assert!(fs::metadata(format!("{out}.proof")).is_ok_and(|proof| proof.len() > 100));
    let missing = ["disclosures", "--missing"];
    assert_eq!(from(&missing, &[&dir]).0, Some(6), "an accounting of the rest would lack something");
    assert_eq!(from(&missing, &[&dir, "--trail-store", &store]).0, Some(0));
    assert_eq!(from(&missing, &["--config", &config]).0, Some(0));
}

/// A sidecar on SQLite facts that ships to PostgreSQL by a role that may append alone.
struct Shipping {
    sidecar: Sidecar,
    /// The address of a role that may read the trail.
    auditor: String,
    _world: Sqlite,
}

impl Shipping {
    /// Prepared, not started; `audit` is what the section says besides.
    fn to(server: &Postgres, audit: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = runtime.block_on(Sqlite::demo());
        let sidecar = Sidecar::prepared(&world.url("app"), &world.url("store"));
        let (_, owner) = server.demo();
        let (_, place) = owner.split_once('@').unwrap();
        let config = fs::read_to_string(sidecar.config_file()).unwrap();
        let audit =
            format!("accept_ephemeral: true, ship: store, ship_url: \"postgres://ships_trails@{place}\", {audit} }}");
        // A loaded machine is no outage.
        let patient = "limits: { deadline_ms: 20000 }\nentities: { statement_timeout_ms: 10000 }\n";
        fs::write(sidecar.config_file(), config.replace("accept_ephemeral: true }", &audit) + patient).unwrap();
        let mut install = chaperone();
        install.args(["db", "install", "--trail-role", "ships_trails", "--auditor-role", "reads_trails"]);
        install.args(["--trail-url", &owner, "--config"]).arg(sidecar.config_file());
        let done = Ended::of(&mut install);
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("role ships_trails may append to the trail and nothing else"), "{}", done.stdout);
        let mut doctor = chaperone();
        let examined = Ended::of(doctor.args(["db", "doctor", "--config"]).arg(sidecar.config_file()));
        assert_eq!(examined.code, Some(0), "{}{}", examined.stdout, examined.stderr);
        assert!(examined.stdout.contains("store: the trail is whole"), "{}", examined.stdout);
        Self { sidecar, auditor: format!("postgres://reads_trails@{place}"), _world: world }
    }
}

const REMOTE: &str = "durability: { default: remote, changes: remote }";

#[test]
fn a_stopped_postgresql_costs_the_tier_remote_and_nothing_else_and_is_caught_up_with() {
    let server = Postgres::start();
    let Shipping { sidecar, auditor, _world } = Shipping::to(&server, REMOTE);
    let mut sidecar = sidecar.started();
    wait_for("it is ready", || (sidecar.doors().probe("/readyz").status == 200).then_some(()));
    let mut asker = sidecar.doors().tcp();
    let mut receipts = Vec::new();
    for _ in 0..20 {
        let told = asker.ask(&ana_reads()).unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
        assert_eq!(told.json()["context"]["chaperone"]["receipt"]["durability"], "remote");
        receipts.push(told.receipt());
    }
    server.stop();
    let refused = wait_for("an answer that would need the store is refused", || {
        let told = sidecar.doors().tcp().ask(&ana_reads()).unwrap();
        (told.status == 503).then_some(told)
    });
    assert!(!refused.body.contains("\"decision\""), "{}", refused.body);
    wait_for("readiness tells", || {
        let page = sidecar.doors().probe("/readyz?verbose").body;
        page.contains("records are not shipped yet").then_some(())
    });
    server.restart();
    wait_for("the store is back", || {
        let told = sidecar.doors().tcp().ask(&ana_reads()).unwrap();
        (told.status == 200).then(|| receipts.push(told.receipt()))
    });
    wait_for("nothing waits", || (lag(&sidecar) == 0).then_some(()));
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
    let whole = verified(&auditor);
    assert_eq!(whole.code, Some(0), "{}{}", whole.stdout, whole.stderr);
    let report: Json = serde_json::from_str(&whole.stdout).unwrap();
    let records = sidecar.records();
    assert_eq!(report["records"], records.len());
    let held: BTreeSet<Receipt> = records.into_iter().map(|(receipt, _)| receipt).collect();
    assert!(receipts.iter().all(|receipt| held.contains(receipt)));
}

#[test]
fn where_changes_wait_for_the_store_a_grant_does_and_a_read_does_not() {
    let server = Postgres::start();
    let Shipping { sidecar, _world, .. } = Shipping::to(&server, "durability: { changes: remote }");
    let config = fs::read_to_string(sidecar.config_file()).unwrap();
    let may_grant = config.replace("name: ehr,", "name: ehr, capabilities: [decide, grant],");
    fs::write(sidecar.config_file(), may_grant).unwrap();
    let mut sidecar = sidecar.started();
    wait_for("it is ready", || (sidecar.doors().probe("/readyz").status == 200).then_some(()));
    let glass = |user: &str, client: &str| {
        let asked = json!({
            "subject": { "type": "User", "id": user }, "client": client, "reason_code": "COVERING",
            "justification": "Covering for a colleague on leave",
            "session": { "mfa": true, "idle_seconds": 5, "age_seconds": 60 },
        });
        sidecar.doors().unix().post("/grants/v1/emergency", &asked).unwrap()
    };
    let granted = glass("ana", "C4");
    assert_eq!(granted.status, 201, "{}", granted.body);
    server.stop();
    let refused = glass("ben", "C2");
    assert_eq!(refused.status, 503, "{}", refused.body);
    let read = sidecar.doors().tcp().ask(&ana_reads()).unwrap();
    assert_eq!(read.json()["context"]["chaperone"]["receipt"]["durability"], "process", "{}", read.body);
    let url = _world.url("store");
    let store = Path::new(url.trim_start_matches("sqlite://"));
    let made =
        on_file(store, "SELECT user_id FROM grants WHERE client_id IN ('C2', 'C4') AND user_id IN ('ana', 'ben')");
    assert_eq!(made, [vec![Some("ana".to_owned())]], "nothing is in force of which the store has no record");
    server.restart();
    wait_for("nothing waits", || (lag(&sidecar) == 0).then_some(()));
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
}

#[test]
fn an_end_without_the_store_is_exit_1_with_the_number_that_stays_behind() {
    let server = Postgres::start();
    let Shipping { sidecar, auditor, _world } = Shipping::to(&server, "strict: true");
    let mut sidecar = sidecar.started();
    let ask = |sidecar: &Sidecar| assert_eq!(sidecar.doors().tcp().ask(&ana_reads()).unwrap().status, 200);
    ask(&sidecar);
    wait_for("something was shipped", || (shipped(&sidecar) >= 2).then_some(()));
    server.stop();
    (0..20).for_each(|_| ask(&sidecar));
    assert_eq!(sidecar.stop(), Some(1));
    assert!(sidecar.log().contains("20 records are in the folder alone"), "{}", sidecar.log());
    server.restart();
    // The next start adopts what the one before left.
    let mut sidecar = sidecar.started();
    wait_for("what was left is shipped", || (shipped(&sidecar) >= 21).then_some(()));
    wait_for("nothing waits", || (lag(&sidecar) == 0).then_some(()));
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
    let whole = verified(&auditor);
    assert_eq!(whole.code, Some(0), "{}{}", whole.stdout, whole.stderr);
    let report: Json = serde_json::from_str(&whole.stdout).unwrap();
    assert_eq!(report["records"], sidecar.records().len());
}

#[test]
fn a_database_that_is_killed_again_and_again_holds_each_record_once() {
    let server = Postgres::start();
    let Shipping { sidecar, auditor, _world } = Shipping::to(&server, "strict: true");
    let mut sidecar = sidecar.started();
    let mut asker = sidecar.doors().unix();
    let mut ask = |count| {
        (0..count).for_each(|_| assert_eq!(asker.ask(&ana_reads()).unwrap().status, 200));
    };
    for round in 0..5 {
        let before = shipped(&sidecar);
        ask(10);
        wait_for("something is shipped", || (shipped(&sidecar) > before).then_some(()));
        // While it works, and at another moment each time.
        ask(round * 3);
        server.kill();
        ask(15);
        server.restart();
    }
    let waiting = lag(&sidecar);
    let began = std::time::Instant::now();
    wait_for("nothing waits", || (lag(&sidecar) == 0).then_some(()));
    println!("{waiting} records waited, shipped in {:?}", began.elapsed());
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
    let whole = verified(&auditor);
    assert_eq!(whole.code, Some(0), "{}{}", whole.stdout, whole.stderr);
    let report: Json = serde_json::from_str(&whole.stdout).unwrap();
    assert_eq!(report["records"], sidecar.records().len());
}

/// A file system that has room for one segment, for as long as it lives.
struct Tiny(PathBuf);

impl Tiny {
    /// `None` where this user may not mount.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size},mode=0700");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).output().ok()?;
        done.status.success().then_some(Self(at))
    }

    fn grow(&self, size: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "the tiny file system does not grow");
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "the tiny file system stays behind");
    }
}

#[test]
fn a_full_disk_hands_over_to_the_store_and_without_both_nothing_is_answered() {
    let server = Postgres::start();
    let Shipping { sidecar, auditor, _world } = Shipping::to(&server, "segment_bytes: 1048576");
    let Some(tiny) = Tiny::mount(sidecar.trail(), "1500k") else {
        // Only where nobody may mount; the same is shown on a storage that fails in `audit/tests`.
        assert!(!rustix::process::geteuid().is_root() || !Path::new("/proc/self/ns/mnt").exists() || is_confined());
        return;
    };
    let mut sidecar = sidecar.started();
    wait_for("it is ready", || (sidecar.doors().probe("/readyz").status == 200).then_some(()));
    let mut receipts = Vec::new();
    let tier_of = |told: &crate::helpers::sidecar::Told| {
        told.json()["context"]["chaperone"]["receipt"]["durability"].as_str().unwrap().to_owned()
    };
    let mut asker = sidecar.doors().tcp();
    // Keys that no policy knows are named in the record, which fills a disk soon.
    let mut long = ana_reads();
    for n in 0..64 {
        long["context"][format!("{n:060}")] = true.into();
    }
    // As long as it takes: a loaded machine fills a disk slowly.
    let is_remote = (0..600).any(|_| {
        let told = asker.ask(&long).unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
        receipts.push(told.receipt());
        tier_of(&told) == "remote"
    });
    assert!(is_remote, "every answer waits for the store");
    server.stop();
    wait_for("nothing is answered", || (asker.ask(&ana_reads()).unwrap().status == 503).then_some(()));
    wait_for("it is not ready", || (sidecar.doors().probe("/readyz").status == 503).then_some(()));
    server.restart();
    wait_for("it answers again", || {
        let told = asker.ask(&ana_reads()).unwrap();
        (told.status == 200).then(|| receipts.push(told.receipt()))
    });
    tiny.grow("8m");
    wait_for("the disk is used again", || {
        let told = asker.ask(&ana_reads()).unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
        receipts.push(told.receipt());
        (tier_of(&told) == "process").then_some(())
    });
    wait_for("nothing waits", || (lag(&sidecar) == 0).then_some(()));
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
    let records = sidecar.records();
    let gaps = records.iter().filter(|(_, line)| line["detail"]["event"] == "refused").count();
    assert_eq!(gaps, 1, "one record says how many were refused");
    let held: BTreeSet<Receipt> = records.into_iter().map(|(receipt, _)| receipt).collect();
    assert!(receipts.iter().all(|receipt| held.contains(receipt)));
    let whole = verified(&auditor);
    assert_eq!(whole.code, Some(0), "{}{}", whole.stdout, whole.stderr);
    let report: Json = serde_json::from_str(&whole.stdout).unwrap();
    assert_eq!(report["records"], held.len(), "the folder has all that the store alone had");
    println!("{} records, {} receipts", held.len(), receipts.len());
    drop((tiny, sidecar));
}

/// Mounting was refused though this is root: a container without the capability.
fn is_confined() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
        u64::from_str_radix(line.trim(), 16).is_ok_and(|capabilities| capabilities & (1 << 21) == 0)
    })
}
