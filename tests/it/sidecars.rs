//! Several processes on one store: an administration beside a sidecar, and barriers that all of them pass.

use std::{
    fs,
    net::TcpStream,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use crate::{
    grants::opened_store,
    helpers::{
        sidecar::{Asker, Ended, Sidecar, Told, wait_for},
        world::World,
    },
};
use chaperone::domain::mapping::Source;

/// S of these sidecars: a barrier over all waits for it and three seconds more.
const STALENESS: &str = "entities: { staleness_ms: 1000 }\n";

/// A store with its tables, which several processes share.
pub(crate) struct Practice {
    pub(crate) world: World,
}

impl Practice {
    pub(crate) fn on(world: impl Future<Output = World>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = runtime.block_on(async {
            let world = world.await;
            opened_store(&world).await.close().await;
            world
        });
        Self { world }
    }

    pub(crate) fn prepared(&self) -> Sidecar {
        let sidecar = Sidecar::prepared(&self.world.url(Source::App), &self.world.url(Source::Store));
        let config = fs::read_to_string(sidecar.config_file()).unwrap();
        fs::write(sidecar.config_file(), config + STALENESS).unwrap();
        sidecar
    }
}

pub(crate) fn desk(sidecar: &Sidecar) -> Asker<TcpStream> {
    let doors = sidecar.doors();
    Asker::new(TcpStream::connect(&doors.admin).expect("the admin port answers"), &doors.admin_token)
}

/// Sid, the super admin, changes something.
pub(crate) fn sid_posts(sidecar: &Sidecar, path: &str, body: &Json) -> Told {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let key = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    let session = "mfa=true, age_seconds=60, idle_seconds=5, tenant=T1";
    let headers = [("chaperone-principal", "sid"), ("chaperone-session", session), ("idempotency-key", &key)];
    desk(sidecar).post_with(path, body, &headers).unwrap()
}

fn ana_sees_the_summary_of_c4(sidecar: &Sidecar) -> bool {
    ana_asks_for_c4(sidecar)["decision"].as_bool().unwrap()
}

/// The answer to ana, who wants to read the summary of C4.
pub(crate) fn ana_asks_for_c4(sidecar: &Sidecar) -> Json {
    let question = json!({
        "subject": { "type": "User", "id": "ana" },
        "action": { "name": "read", "properties": { "fields": ["clin.summary"] } },
        "resource": { "type": "Client", "id": "C4" },
        "context": { "session": { "mfa": true, "idle_seconds": 12, "age_seconds": 900 } },
    });
    let told = sidecar.doors().tcp().ask(&question).unwrap();
    assert_eq!(told.status, 200, "{}", told.body);
    told.json()
}

pub(crate) fn writer(sidecar: &Sidecar) -> String {
    sidecar.doors().admin("/admin/v1/status")["trail"]["writer"].as_str().unwrap().to_owned()
}

/// The answer of a barrier over all, and how long it took.
pub(crate) fn barrier(sidecar: &Sidecar) -> (Json, Duration) {
    let began = Instant::now();
    let told = desk(sidecar).post("/admin/v1/barrier", &json!({ "scope": "all" })).unwrap();
    assert_eq!(told.status, 200, "{}", told.body);
    (told.json(), began.elapsed())
}

pub(crate) fn named(barrier: &Json, list: &str) -> Vec<String> {
    let ids = barrier[list].as_array().unwrap().iter().map(|one| one["sidecar"].as_str().unwrap().to_owned());
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    ids
}

pub(crate) fn sorted<const N: usize>(ids: [&str; N]) -> Vec<String> {
    let mut ids = ids.map(str::to_owned);
    ids.sort();
    ids.into()
}

#[test]
fn an_administration_of_its_own_changes_what_a_sidecar_decides() {
    let practice = Practice::on(World::sqlite());
    let sidecar = practice.prepared().started();
    let mut office = practice.prepared().administering().started();
    assert!(!ana_sees_the_summary_of_c4(&sidecar));
    let made = sid_posts(&office, "/admin/v1/assignments", &json!({ "client": "C4", "user": "ana" }));
    assert_eq!(made.status, 201, "{}", made.body);
    assert!(ana_sees_the_summary_of_c4(&sidecar), "in force for the next decision of the other process");
    let (admin, health) = (office.doors().admin, office.doors().health);
    let log = office.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
    let ready: Vec<_> = lines.filter(|line| line["message"] == "ready to administer").collect();
    assert_eq!(ready.iter().map(|line| [&line["admin"], &line["health"]]).collect::<Vec<_>>(), [[&admin, &health]]);
    let (told, _) = barrier(&office);
    assert_eq!(named(&told, "confirmed"), sorted([&writer(&sidecar), &writer(&office)]), "{told}");
    let ended = made.json()["assignment_id"].as_str().map(|id| format!("/admin/v1/assignments/{id}/end")).unwrap();
    assert_eq!(sid_posts(&office, &ended, &json!({})).status, 200);
    assert!(!ana_sees_the_summary_of_c4(&sidecar));

    // It answers administrators and probes, and no application.
    let doors = office.doors();
    assert!(TcpStream::connect(&doors.tcp).is_err() && !doors.socket.exists());
    let asked = desk(&office).post("/access/v1/evaluation", &json!({})).unwrap();
    assert_eq!(asked.status, 404, "{}", asked.body);
    assert_eq!(doors.probe("/readyz").status, 200);
    assert_eq!(doors.admin("/openapi.json")["openapi"], "3.1.0");
    assert_eq!(office.stop(), Some(0), "{}", office.log());
    let events: Vec<_> = office.records().into_iter().map(|(_, record)| record["detail"]["event"].clone()).collect();
    for event in ["assigned", "ended"] {
        assert!(events.contains(&json!(event)), "in the trail of the office: {events:?}");
    }
    assert!(sidecar.records().iter().all(|(_, record)| record["kind"] != "admin"));
    let (told, _) = barrier(&sidecar);
    assert_eq!(named(&told, "confirmed"), [writer(&sidecar)], "what stopped in order is not waited for: {told}");
}

#[test]
fn an_administration_that_could_do_nothing_says_what_is_missing() {
    let practice = Practice::on(World::sqlite());
    let sidecar = practice.prepared().started();
    let office = practice.prepared().administering();
    let said = |settings: &[&str]| {
        let mut command = office.command();
        for setting in settings {
            command.args(["--set", setting]);
        }
        Ended::of(&mut command)
    };
    said(&["server.admin=off"]).says(1, &["no admin listener is configured", "server.admin.listen"]);
    let taken = format!("audit.dir={}", sidecar.trail().display());
    let pid = format!("in use by process {}", sidecar.pid());
    said(&[&taken]).says(1, &[&pid, "give this one a folder of its own"]);
    // It serves no application: nothing is said of who may ask. What it opens is looked at.
    let whole = fs::read_to_string(office.config_file()).unwrap();
    let bare: Vec<_> =
        whole.lines().filter(|line| !line.starts_with("callers:") && !line.contains("name: ehr")).collect();
    fs::write(office.config_file(), bare.join("\n")).unwrap();
    let open = said(&["server.admin.listen=0.0.0.0:0", "server.tcp=off", &taken]);
    open.says(1, &[&pid, "cross the network in the clear", "server.admin.listen"]);
    assert!(!open.stderr.contains("no caller"), "{}", open.stderr);
    fs::write(office.config_file(), whole).unwrap();
    let occupied = format!("server.admin.listen={}", sidecar.doors().admin);
    said(&[&occupied]).says(1, &["cannot listen"]);
    assert_eq!(named(&barrier(&sidecar).0, "confirmed"), [writer(&sidecar)], "what did not start is not waited for");
    let config = fs::read_to_string(office.config_file()).unwrap();
    let bare: Vec<_> = config.lines().filter(|line| !line.starts_with("  store:")).collect();
    fs::write(office.config_file(), bare.join("\n")).unwrap();
    said(&[]).says(1, &["no store is configured", "sources.store.url"]);
}

/// One of two is stopped, goes on, is killed, comes back, and ends.
fn a_barrier_names_who_has_not_passed(practice: &Practice) {
    let one = practice.prepared().started();
    let mut two = practice.prepared().started();
    let (first, second) = (writer(&one), writer(&two));
    let (told, took) = barrier(&one);
    assert_eq!((&told["barrier"], &told["in_force"]), (&json!("reached"), &json!(true)), "{told}");
    assert_eq!(named(&told, "confirmed"), sorted([&first, &second]));
    assert_eq!((named(&told, "unconfirmed"), named(&told, "gone")), (vec![], vec![]));
    println!("both have confirmed after {took:?}");

    two.signal(Signal::STOP);
    let (told, took) = barrier(&one);
    two.signal(Signal::CONT);
    assert_eq!((&told["barrier"], &told["in_force"]), (&json!("not_reached"), &json!(false)), "{told}");
    assert_eq!((named(&told, "confirmed"), named(&told, "unconfirmed")), (vec![first.clone()], vec![second]));
    let late = &told["unconfirmed"][0];
    assert!(late["why"].as_str().unwrap().starts_with("it has not looked since the call"), "{told}");
    assert!(late["last_seen"].is_string() && late["process"] == "serve", "{told}");
    assert!((4..9).contains(&took.as_secs()), "S and three seconds: {took:?}");
    let (told, _) = barrier(&one);
    assert_eq!(told["in_force"], true, "it goes on and confirms: {told}");

    // Who wrote into its folder before counts as gone, whatever a killed one was seen last: its S is waited out.
    two.kill();
    two.start();
    let (told, took) = barrier(&one);
    assert_eq!(named(&told, "confirmed"), sorted([&first, &writer(&two)]), "{told}");
    assert_eq!((&told["in_force"], named(&told, "gone").len()), (&json!(true), 1), "{told}");
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert_eq!(two.stop(), Some(0), "{}", two.log());
    let alone = wait_for("one is left", || {
        let told = barrier(&one).0;
        (named(&told, "confirmed").len() == 1).then_some(told)
    });
    assert_eq!((named(&alone, "confirmed"), &alone["in_force"]), (vec![first], &json!(true)));
}

#[test]
fn a_barrier_names_who_has_not_passed_on_sqlite() {
    a_barrier_names_who_has_not_passed(&Practice::on(World::sqlite()));
}

#[test]
fn a_barrier_names_who_has_not_passed_on_postgres() {
    a_barrier_names_who_has_not_passed(&Practice::on(World::postgres()));
}

/// A sidecar that barriers cannot know uses nothing that it keeps, says so, and is known as soon as it can be.
fn who_is_not_noted_keeps_nothing(practice: &Practice, is_fed: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let says = |sql: &'static str| runtime.block_on(practice.world.execute(Source::Store, sql));
    says("ALTER TABLE sidecars RENAME TO sidecars_away");
    let sidecar = practice.prepared().started();
    let told = || sidecar.doors().probe("/readyz?verbose").body;
    assert!(told().contains("sidecars: this process is not noted in the store"), "{}", told());
    assert_eq!(ana_asks_for_c4(&sidecar)["decision"], false, "it decides");
    let facts_are_kept = || told().lines().any(|line| line.contains("facts") && line.contains("was heard of"));
    std::thread::sleep(Duration::from_secs(2));
    assert!(!facts_are_kept(), "{}", told());
    says("ALTER TABLE sidecars_away RENAME TO sidecars");
    wait_for("it is noted", || (!told().contains("is not noted")).then_some(()));
    if is_fed {
        wait_for("its feeds are heard of", || facts_are_kept().then_some(()));
    }
    assert_eq!(named(&barrier(&sidecar).0, "confirmed"), [writer(&sidecar)]);
}

#[test]
fn who_is_not_noted_keeps_nothing_on_sqlite() {
    who_is_not_noted_keeps_nothing(&Practice::on(World::sqlite()), false);
}

#[test]
fn who_is_not_noted_keeps_nothing_on_postgres() {
    let practice = Practice::on(World::postgres());
    let sidecar = practice.prepared();
    let installed =
        Ended::of(crate::helpers::sidecar::chaperone().args(["db", "install", "--config"]).arg(sidecar.config_file()));
    assert_eq!(installed.code, Some(0), "{}{}", installed.stdout, installed.stderr);
    who_is_not_noted_keeps_nothing(&practice, true);
}
