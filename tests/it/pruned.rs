//! `chaperone audit prune --store`: what is over its time leaves a store by signed stubs, and what stays verifies.

use std::{fs, io::Read, path::PathBuf, process::Stdio, sync::Arc};

use chaperone::{
    app,
    audit::{Trail, TrailConfig},
    clock::{Clock, FrozenClock, SystemClock},
    domain::{Record, RecordKind, Tier, Timestamp},
    store::{Part, Right, Store, StoreOptions},
};

use crate::helpers::{
    postgres::Postgres,
    sidecar::{Ended, chaperone},
};

/// A folder that ships to a store, its configuration and its key.
struct Shipped {
    home: tempfile::TempDir,
    /// For whoever may prune.
    url: String,
    ships_to: String,
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl Shipped {
    fn new(url: &str, ships_to: &str) -> Self {
        let shipped = Self { home: tempfile::tempdir().unwrap(), url: url.to_owned(), ships_to: ships_to.to_owned() };
        let made = shipped.run(&["keygen", "--origin", "trail.example/clinic", "--out", "one.key"]);
        assert_eq!(made.code, Some(0), "{made:?}");
        fs::write(shipped.path("one.vkey"), made.stdout).unwrap();
        let yaml = format!(
            "audit: {{ dir: audit, accept_ephemeral: true, key_file: one.key, ship: store, ship_url: \"{ships_to}\", \
             read_url: \"{url}\" }}\n"
        );
        fs::write(shipped.path("chaperone.yaml"), yaml).unwrap();
        shipped
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// One writer with a record about each client at its instant, shipped to the end.
    fn write(&self, records: &[(&str, &str)]) {
        let clock = FrozenClock::at(at(records[0].0));
        let config = TrailConfig {
            accept_ephemeral: true,
            key_file: Some(self.path("one.key")),
            ships: true,
            ..TrailConfig::at(self.path("audit"))
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let trail = Trail::open(config, Arc::new(clock.clone())).unwrap();
            app::ship(&trail, self.ships_to.clone(), Arc::new(SystemClock)).unwrap();
            for (nth, (day, client)) in records.iter().enumerate() {
                clock.set(at(day));
                let mut record = Record::new(RecordKind::Decision, clock.now());
                (record.tenant, record.client) = (Some("T1".into()), Some((*client).into()));
                let tier = if nth + 1 < records.len() { Tier::Process } else { Tier::Remote };
                drop(trail.append((), record, tier).await.unwrap());
            }
            trail.close().await.unwrap();
        });
    }

    fn run(&self, words: &[&str]) -> Ended {
        Ended::of(chaperone().arg("audit").args(words).current_dir(self.home.path()))
    }

    fn done(&self, words: &[&str]) -> String {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
        ended.stdout
    }

    fn verified(&self) -> Ended {
        self.run(&["verify", "--store", &self.url, "--key", "one.vkey"])
    }

    /// The clients of whom the store has a record.
    fn clients(&self) -> String {
        let found = self.exported("csv", "decision");
        ["C1", "C2", "C3"].into_iter().filter(|client| found.contains(client)).collect()
    }

    /// All that is in the store of one kind. That something was pruned is said, and is no error of these tests.
    fn exported(&self, format: &str, kind: &str) -> String {
        let found = self.run(&["export", "--format", format, "--store", &self.url, "--kind", kind]);
        let is_a_part = found.code == Some(6) && found.stderr.contains("are not here any more");
        assert!(found.code == Some(0) || is_a_part, "{found:?}");
        found.stdout
    }
}

fn postgres() -> (String, String) {
    let owner = Postgres::shared().demo().1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&owner, StoreOptions::default()).unwrap();
        store.install(&[Part::Trail], SystemClock.now()).await.unwrap();
        store.grant(&[("prune_ships", Right::AppendTrail), ("prune_prunes", Right::PruneTrail)]).await.unwrap();
    });
    let (_, place) = owner.split_once('@').unwrap();
    (format!("postgres://prune_prunes@{place}"), format!("postgres://prune_ships@{place}"))
}

fn exercised(shipped: &Shipped) {
    // The first goes in part: its last month is of last year's clock. The second is over as a whole.
    shipped.write(&[("2016-03-10T15:00:00Z", "C1"), ("2018-04-10T15:00:00Z", "C2")]);
    shipped.write(&[("2018-05-10T15:00:00Z", "C2")]);
    shipped.write(&[(&SystemClock.now().to_string(), "C3")]);
    assert_eq!(shipped.verified().code, Some(0), "{:?}", shipped.verified());

    // A hold counts that the store does not have yet.
    let hold = ["--by", "pri", "--reason", "26-113"];
    shipped.done(&[&["hold", "place", "case", "--client", "C2"][..], &hold].concat());
    let dry = shipped.done(&["prune", "--store", "--dry-run"]);
    assert!(dry.starts_with("1 part with 2 records") && dry.contains("hold case keeps it"), "{dry}");
    assert_eq!(shipped.clients(), "C1C2C3", "a dry run changes nothing");
    let gone = shipped.done(&["prune", "--store", &shipped.url, "--by", "pri"]);
    assert!(gone.starts_with("1 part with 2 records") && gone.contains("hold case keeps it"), "{gone}");
    assert_eq!(shipped.clients(), "C2C3");
    let verified = shipped.verified();
    assert!(verified.code == Some(0) && verified.stdout.contains("pruned up to record 2 "), "{verified:?}");
    assert!(verified.stdout.contains(", signed"), "{verified:?}");

    shipped.done(&[&["hold", "lift", "case"][..], &hold].concat());
    let gone = shipped.done(&["prune", "--store", &shipped.url, "--by", "pri"]);
    assert!(gone.starts_with("2 parts with "), "{gone}");
    assert_eq!(shipped.clients(), "C3");
    let verified = shipped.verified();
    assert_eq!((verified.code, verified.stdout.matches("pruned up to record").count()), (Some(0), 2), "{verified:?}");
    assert!(shipped.done(&["prune", "--store", "--dry-run"]).starts_with("no part may go"));
    // Who did it stands in the store itself, before and after.
    let said = shipped.exported("jsonl", "admin");
    for (event, times) in [("\"store_prune_begun\"", 2), ("\"store_pruned\"", 2)] {
        assert_eq!(said.matches(event).count(), times, "{said}");
    }
    // The folder is as it was, and has what the store has no more.
    shipped.done(&["verify", "--key", "one.vkey"]);
    let places: [&[&str]; 3] = [&["query", "-o", "json"], &["query", "audit"], &["query", "--store", &shipped.url]];
    assert_eq!(places.map(|words| shipped.run(words).code), [Some(0), Some(0), Some(6)]);
}

#[test]
fn a_sqlite_store_is_pruned_by_stubs_and_a_changed_one_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.db");
    let url = format!("sqlite://{}", file.display());
    let shipped = Shipped::new(&url, &url);
    exercised(&shipped);
    let forged = "UPDATE audit_pruned SET stub = replace(stub, '\"to\":\"2018', '\"to\":\"2017')";
    let changes = [
        ("audit_pruned_delete", "DELETE FROM audit_pruned"),
        ("audit_pruned_update", forged),
        (
            "audit_record_again",
            "INSERT INTO audit_record (month, writer, seq, frame, at, kind) SELECT '2018-04', writer, 1, 1, '2018-04-10T15:00:00Z', 'decision' FROM audit_pruned LIMIT 1",
        ),
    ];
    for (trigger, change) in changes {
        let copy = folder.path().join("changed.db");
        fs::copy(&file, &copy).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(on_file(&copy, &format!("DROP TRIGGER {trigger}; {change}")));
        let url = format!("sqlite://{}", copy.display());
        let found = shipped.run(&["verify", "--store", &url, "--key", "one.vkey"]);
        assert_eq!(found.code, Some(6), "{change}: {found:?}");
    }

    // Segments are taken away here: the folder says which command prunes, and holds are seen in both places together.
    shipped.done(&["hold", "place", "kept", "--by", "pri", "--reason", "26-114"]);
    shipped.write(&[(&SystemClock.now().to_string(), "C3")]);
    let mut segments: Vec<_> =
        fs::read_dir(shipped.path("audit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "trail"));
    segments.sort();
    let last = segments.pop().unwrap();
    segments.iter().for_each(|path| fs::remove_file(path).unwrap());
    let refused = shipped.run(&["prune", "--dry-run"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("audit prune --store URL"), "{refused:?}");
    let stranger = Shipped::new(&url, &url);
    stranger.write(&[(&SystemClock.now().to_string(), "C3")]);
    stranger.done(&["hold", "place", "strange", "--by", "pri", "--reason", "of another trail"]);
    stranger.write(&[(&SystemClock.now().to_string(), "C3")]);
    let listed = shipped.done(&["hold", "list"]);
    assert!(listed.starts_with("kept  all records") && !listed.contains("strange"), "{listed} {last:?}");
    let key = stranger.path("one.vkey").display().to_string();
    assert!(shipped.done(&["prune", "--store", "--dry-run", "--key", &key]).starts_with("no part may go"));
    shipped.done(&["hold", "lift", "kept", "--by", "pri", "--reason", "over"]);
    assert_eq!(shipped.done(&["hold", "list"]), "");
}

async fn on_file(path: &std::path::Path, sql: &str) {
    use sqlx::{Connection as _, SqlSafeStr as _};
    let url = format!("sqlite://{}", path.display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let sql = sqlx::AssertSqlSafe(sql.to_owned()).into_sql_str();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn a_postgresql_store_is_pruned_by_stubs_with_a_role_for_it() {
    let (pruner, ships_to) = postgres();
    let shipped = Shipped::new(&pruner, &ships_to);
    exercised(&shipped);
    // The role that ships may not prune: said before anything is recorded.
    let refused = shipped.run(&["prune", "--store", &ships_to, "--by", "pri"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("--pruner-role"), "{refused:?}");
}

#[test]
fn the_trails_of_several_folders_are_pruned_together_and_a_hold_in_any_of_them_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let (one, other) = (Shipped::new(&url, &url), Shipped::new(&url, &url));
    for shipped in [&one, &other] {
        shipped.write(&[("2018-05-10T15:00:00Z", "C1")]);
        shipped.write(&[("2018-06-10T15:00:00Z", "C2")]);
    }
    let key = other.path("one.vkey").display().to_string();
    let prune = ["prune", "--store", "--dry-run", "--key", &key];
    let unknown = one.run(&["prune", "--store", "--dry-run"]);
    assert!(unknown.code == Some(6) && unknown.stderr.contains("none of the given keys"), "{unknown:?}");
    // Also the last writer of each: it sealed its trail, and its folder may be gone with its machine.
    assert!(one.done(&prune).starts_with("4 parts with "), "{}", one.done(&prune));
    other.done(&["hold", "place", "case", "--client", "C1", "--by", "pri", "--reason", "26-113"]);
    // Shipped by the next start; another trail's lift of the same name lifts nothing here.
    other.write(&[(&SystemClock.now().to_string(), "C3")]);
    for turn in ["place", "lift"] {
        one.done(&["hold", turn, "case", "--by", "pri", "--reason", "26-115"]);
    }
    let kept = one.done(&prune);
    // Of both trails the writer with that client stays.
    assert!(kept.starts_with("2 parts with ") && kept.matches("hold case keeps it").count() == 2, "{kept}");
    let verify = ["verify", "--store", &url, "--key", "one.vkey", "--key", &key];
    one.done(&verify);
    // The other machine is gone with its folder; nothing of its trail but its own seal vouches for the end.
    other.done(&["hold", "lift", "case", "--by", "pri", "--reason", "over"]);
    other.write(&[(&SystemClock.now().to_string(), "C3")]);
    let gone = one.done(&["prune", "--store", &url, "--by", "pri", "--key", &key]);
    assert!(gone.starts_with("4 parts with "), "{gone}");
    let verified = one.done(&verify);
    assert_eq!(verified.matches("pruned up to record").count(), 4, "{verified}");
}

#[test]
fn a_hold_that_the_store_gets_from_another_folder_meanwhile_stops_a_pruning_between_two_parts() {
    let folder = tempfile::tempdir().unwrap();
    let [file, elsewhere] = ["t.db", "other.db"].map(|name| folder.path().join(name));
    let [url, other_url] = [&file, &elsewhere].map(|path| format!("sqlite://{}", path.display()));
    let (one, other) = (Shipped::new(&url, &url), Shipped::new(&other_url, &other_url));
    one.write(&[("2018-05-10T15:00:00Z", "C1")]);
    one.write(&[("2018-06-10T15:00:00Z", "C2")]);
    one.write(&[(&SystemClock.now().to_string(), "C3")]);
    other.write(&[(&SystemClock.now().to_string(), "C3")]);
    other.done(&["hold", "place", "case", "--client", "C2", "--by", "pri", "--reason", "26-113"]);
    other.write(&[(&SystemClock.now().to_string(), "C3")]);

    // What the other folder ships arrives as the first part goes.
    let tables = ["audit_writer", "audit_frame", "audit_record", "audit_checkpoint"];
    let kept = tables.map(|table| format!("CREATE TABLE late_{table} AS SELECT * FROM other.{table};")).concat();
    let arrives = tables.map(|table| format!("INSERT INTO {table} SELECT * FROM late_{table};")).concat();
    let meanwhile = format!(
        "ATTACH '{}' AS other; {kept} \
         CREATE TRIGGER meanwhile AFTER INSERT ON audit_pruned BEGIN {arrives} END;",
        elsewhere.display()
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(on_file(&file, &meanwhile));
    let stopped = one.run(&["prune", "--store", &url, "--by", "pri"]);
    let why = "a legal hold was placed or lifted since this pruning was planned";
    stopped.says(1, &[why, "run it again: what the hold names is kept; what went before it is recorded"]);
    assert_eq!(one.clients(), "C2C3", "the first part was gone, the second stays");
    let said = one.exported("jsonl", "admin");
    assert_eq!(said.matches("\"store_pruned\"").count(), 1, "{said}");

    runtime.block_on(on_file(&file, "DROP TRIGGER meanwhile"));
    let key = other.path("one.vkey").display().to_string();
    let again = one.done(&["prune", "--store", &url, "--by", "pri", "--key", &key]);
    assert!(again.starts_with("no part may go") && again.contains("hold case keeps it"), "{again}");
    let verified = one.done(&["verify", "--store", &url, "--key", "one.vkey", "--key", &key]);
    assert_eq!(verified.matches("pruned up to record").count(), 1, "{verified}");
}

#[test]
fn an_export_of_a_store_that_is_pruned_meanwhile_does_not_pass_for_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let shipped = Shipped::new(&url, &url);
    // More than is read ahead, and more than a pipe holds.
    let start = at("2018-05-10T15:00:00Z");
    let old: Vec<_> = (0..1_600).map(|second| (start + jiff::SignedDuration::from_secs(second)).to_string()).collect();
    shipped.write(&old.iter().map(|day| (day.as_str(), "C1")).collect::<Vec<_>>());
    shipped.write(&[(&SystemClock.now().to_string(), "C3")]);

    let mut export = chaperone();
    export.args(["audit", "export", "--format", "jsonl", "--store", &url]).current_dir(shipped.home.path());
    let mut export = export.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut rows = export.stdout.take().unwrap();
    rows.read_exact(&mut [0]).unwrap();
    let gone = shipped.done(&["prune", "--store", &url, "--by", "pri"]);
    assert!(gone.starts_with("1 part with 160"), "{gone}");
    let mut rest = String::new();
    rows.read_to_string(&mut rest).unwrap();
    let ended = export.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(rest.lines().count() < 1_600, "the pruning came too late for this test");
    assert!(ended.status.code() == Some(6) && said.contains("are not here any more"), "{:?} {said}", ended.status);
}

#[test]
fn the_trail_of_a_folder_that_is_gone_is_pruned_up_to_its_own_seal() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let (one, gone) = (Shipped::new(&url, &url), Shipped::new(&url, &url));
    gone.write(&[("2018-05-10T15:00:00Z", "C1")]);
    one.write(&[(&SystemClock.now().to_string(), "C3")]);
    let key = gone.path("one.vkey").display().to_string();
    let pruned = one.done(&["prune", "--store", &url, "--by", "pri", "--key", &key]);
    assert!(pruned.starts_with("1 part with 2 records"), "{pruned}");
    assert_eq!(one.clients(), "C3");
    let verified = one.done(&["verify", "--store", &url, "--key", "one.vkey", "--key", &key]);
    assert!(verified.contains("pruned up to record 2 "), "{verified}");
}

#[test]
fn a_folder_and_a_store_that_lack_something_between_them_say_so_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.db");
    let url = format!("sqlite://{}", file.display());
    let shipped = Shipped::new(&url, &url);
    shipped.write(&[("2026-01-10T15:00:00Z", "C1")]);
    let older = folder.path().join("older.db");
    fs::copy(&file, &older).unwrap();
    let older = format!("sqlite://{}", older.display());
    shipped.write(&[("2026-02-10T15:00:00Z", "C2")]);
    shipped.write(&[("2026-03-10T15:00:00Z", "C3")]);
    let mut segments: Vec<_> =
        fs::read_dir(shipped.path("audit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "trail"));
    segments.sort();
    let second = segments[1].file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
    segments.iter().take(2).for_each(|path| fs::remove_file(path).unwrap());

    for words in [&["query", "-o", "json"][..], &["export", "--format", "csv"], &["disclosures", "--missing"]] {
        shipped.done(words);
    }
    let page = shipped.run(&["query", "-o", "json", "audit", "--store", &older]);
    assert_eq!(page.code, Some(6), "{page:?}");
    assert!(page.stdout.contains(&format!("\"missing_upto\":\"{second}/")), "{page:?}");
    assert!(page.stderr.contains("--from 2026-03-10T16:00:00Z"), "{page:?}");
    for format in ["jsonl", "csv", "ocsf", "fhir"] {
        let words = ["export", "audit", "--store", &older, "--format", format];
        let shown = shipped.run(&words);
        assert!(shown.code == Some(6) && shown.stderr.contains("are not here any more"), "{format}: {shown:?}");
        let written = shipped.run(&[&words[..], &["--out", "out"]].concat());
        assert!(written.code == Some(6) && !shipped.path("out").exists(), "{format}: {written:?}");
        let later = shipped.run(&[&words[..], &["--from", "2026-03-10T16:00:00Z"]].concat());
        assert_eq!(later.code, Some(0), "{format}: {later:?}");
    }
    let accounting = shipped.run(&["disclosures", "--missing", "audit", "--trail-store", &older]);
    assert_eq!(accounting.code, Some(6), "{accounting:?}");
}
