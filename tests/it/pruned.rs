//! `chaperone audit prune --store`: what is over its time leaves a store by signed stubs, and what stays verifies.

use std::{fs, path::PathBuf, sync::Arc};

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
            for (day, client) in records {
                clock.set(at(day));
                let mut record = Record::new(RecordKind::Decision, clock.now());
                (record.tenant, record.client) = (Some("T1".into()), Some((*client).into()));
                drop(trail.append((), record, Tier::Remote).await.unwrap());
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
