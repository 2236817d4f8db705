//! Barriers over all and the status where something is wrong: a store that goes away, too many sidecars, a folder that was copied.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    helpers::{
        folder,
        postgres::Postgres,
        sidecar::{Sidecar, Told, ana_reads, wait_for},
        world::World,
    },
    shipped::verified,
    sidecars::{Practice, barrier, desk, named, sorted, writer},
};
use chaperone::domain::mapping::Source;

fn asks_all(sidecar: &Sidecar) -> Told {
    desk(sidecar).post("/admin/v1/barrier", &json!({ "scope": "all" })).unwrap()
}

fn refused(told: &Told, words: &str) {
    let problem = told.json();
    assert_eq!((told.status, &problem["type"]), (503, &json!("urn:chaperone:problem:not_ready")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
}

/// The last barrier that the one sidecar has passed.
const PASSED: &str = "SELECT passed FROM sidecars WHERE id <> 'silent'";
/// How many questions wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted";

async fn number(store: &str, question: &'static str) -> i64 {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(store).await.unwrap();
    let number = sqlx::query_scalar(question).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    number
}

#[test]
fn a_store_that_goes_away_while_a_barrier_waits_is_a_problem_in_time() {
    let postgres = Postgres::start();
    let (app, store) = postgres.demo();
    let practice = Practice::on(async { World::Postgres { app, store: store.clone() } });
    let sidecar = practice.prepared().started();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let says = |sql: &'static str| runtime.block_on(practice.world.execute(Source::Store, sql));
    let asks = |question| runtime.block_on(number(&store, question));
    let goes_away_by = |taking: &mut dyn FnMut()| {
        // It lives, and never says that it passed.
        says(
            "INSERT INTO sidecars (id, process, host, policies, staleness_ms, started_at, seen_at) \
             VALUES ('silent', 'serve', '', '', 1000, now(), now())",
        );
        let before = asks(PASSED);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let began = Instant::now();
                (asks_all(&sidecar), began.elapsed())
            });
            wait_for("it waits for the silent one alone", || (asks(PASSED) > before).then_some(()));
            taking();
            asked.join().unwrap()
        })
    };
    let is_well_again = || {
        says("DELETE FROM sidecars WHERE id = 'silent'");
        wait_for("all is well again", || {
            let told = asks_all(&sidecar);
            (told.status == 200 && told.json()["in_force"] == true).then_some(())
        });
    };
    let (_, database) = store.rsplit_once("localhost/").unwrap();
    let (database, _) = database.split_once('?').unwrap();
    let mut held = None;
    let (told, took) = goes_away_by(&mut || {
        // The server took the question, and is frozen over it: nobody can tell that from a slow one.
        held = Some(postgres.hold(database, "LOCK TABLE sidecars IN ACCESS EXCLUSIVE MODE"));
        wait_for("the barrier and the beat have asked", || (asks(WAITING) >= 2).then_some(()));
        postgres.pause();
    });
    refused(&told, "nothing can be said of all sidecars: the store does not answer");
    assert!(took < Duration::from_secs(9), "S and three seconds, and two for the store: {took:?}");
    // What else there is to say is said, and soon.
    let status = sidecar.doors().admin("/admin/v1/status");
    assert_eq!(status["sidecars"], json!({ "unknown": "the store does not answer" }));
    assert_eq!(status["trail"]["health"], "ok");
    postgres.resume();
    drop(held);
    is_well_again();

    let (told, took) = goes_away_by(&mut || postgres.kill());
    refused(&told, "nothing can be said of all sidecars");
    assert!(took < Duration::from_secs(9), "{took:?}");
    postgres.restart();
    is_well_again();
}

#[test]
fn a_thousand_sidecars_are_named_and_of_one_more_it_is_said() {
    let practice = Practice::on(World::sqlite());
    let sidecar = practice.prepared().started();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let says = |sql: &'static str| runtime.block_on(practice.world.execute(Source::Store, sql));
    says(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 999) \
         INSERT INTO sidecars (id, process, host, policies, staleness_ms, started_at, seen_at) \
         SELECT 'gone' || n, 'serve', 'h', 'p', 1000, strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-3 minutes'), \
                strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-2 minutes') FROM numbers",
    );
    let (told, _) = barrier(&sidecar);
    assert_eq!((&told["in_force"], named(&told, "gone").len()), (&json!(true), 999));
    let status = sidecar.doors().admin("/admin/v1/status");
    let all = &status["sidecars"];
    assert_eq!((all["seen"].as_array().unwrap().len(), all["gone"].as_array().unwrap().len()), (1, 999));
    let (own, gone) = (&all["seen"][0], &all["gone"][0]);
    assert_eq!((&own["sidecar"], &own["process"]), (&json!(writer(&sidecar)), &json!("serve")), "{own}");
    assert_eq!((&own["passed"], &own["policies"]), (&all["barrier"], &status["policies"]["revision"]), "{own}");
    assert!(own["unseen_ms"].as_u64().unwrap() < 60_000 && own["last_seen"].is_string(), "{own}");
    assert!(gone["unseen_ms"].as_u64().unwrap() >= 120_000 && gone["passed"] == 0, "{gone}");

    says(
        "INSERT INTO sidecars (id, process, host, policies, staleness_ms, started_at, seen_at) \
         SELECT 'one more', process, host, policies, staleness_ms, started_at, seen_at FROM sidecars WHERE id = 'gone1'",
    );
    let words = "more than 1000 sidecars are noted in the store";
    refused(&asks_all(&sidecar), words);
    let status = sidecar.doors().admin("/admin/v1/status");
    assert!(status["sidecars"]["unknown"].as_str().unwrap().contains(words), "{}", status["sidecars"]);
}

#[test]
fn a_copied_folder_is_told_of_by_the_one_that_lives_and_named_by_the_verifier() {
    let practice = Practice::on(World::sqlite());
    let shipping = || {
        let sidecar = practice.prepared();
        let config = fs::read_to_string(sidecar.config_file()).unwrap();
        let audit = "accept_ephemeral: true, ship: store }";
        fs::write(sidecar.config_file(), config.replace("accept_ephemeral: true }", audit)).unwrap();
        sidecar
    };
    let mut one = shipping().started();
    let asks = |sidecar: &Sidecar| assert_eq!(sidecar.doors().tcp().ask(&ana_reads()).unwrap().status, 200);
    asks(&one);
    let mut two = shipping();
    folder::copy(&one.trail(), &two.trail());
    two.start();
    let (first, second) = (writer(&one), writer(&two));
    let says = |sidecar: &Sidecar, words: &str| sidecar.doors().probe("/readyz?verbose").body.contains(words);
    let words = format!("writer {second} began behind the records of this process, writer {first}");
    wait_for("the one that lives tells of the copy", || says(&one, &words).then_some(()));
    assert!(one.log().contains("its folder was copied"), "{}", one.log());
    // Each is a writer of its own, noted, and shipped: nothing of either is lost.
    let (told, _) = barrier(&one);
    assert_eq!((named(&told, "confirmed"), named(&told, "gone")), (sorted([&first, &second]), vec![]), "{told}");
    asks(&one);
    asks(&two);

    // The next process in the folder of the one that lived says, as the other one did, that it follows it.
    assert_eq!(one.stop(), Some(0), "{}", one.log());
    one.start();
    wait_for("the store has seen both", || {
        says(&one, "cloned: another writer names the same predecessor").then_some(())
    });
    for sidecar in [&mut one, &mut two] {
        assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
    }
    let found = verified(&practice.world.url(Source::Store).replace("store.db", "store.trail.db"));
    assert_eq!(found.code, Some(6), "{found:?}");
    assert!(found.stdout.contains(&format!("two writers say that they follow {first}: a copied volume")), "{found:?}");
}
