//! The outbox of the real binary under `kill -9`: what a change that stands tells of arrives at least once, with one id and
//! one body each time, and of a change that does not stand nobody is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use chaperone::{
    domain::mapping::Source,
    store::{Sql, Store},
};
use serde_json::{Value as Json, json};

use crate::{
    helpers::{
        office::{self, number},
        random::Dice,
        sidecar::{DEADLINE, Doors, wait_for},
        world::World,
    },
    notices::{header, notify, receive},
};

/// What arrived: an id and its body each time.
type Arrived = Arc<Mutex<Vec<(String, String)>>>;

/// How the receiver takes what comes: of three one, then all, then none.
const SOME: u8 = 0;
const ALL: u8 = 1;
const OVER: u8 = 2;

fn receiver(listener: &TcpListener, arrived: &Arrived, mood: &AtomicU8) {
    for turn in 0.. {
        let answers = [Some("204 No Content"), Some("503 Service Unavailable"), None];
        let status = if mood.load(SeqCst) == SOME { answers[turn % 3] } else { answers[0] };
        // Whoever is killed meanwhile sends it again.
        let taken = receive(listener, status);
        if mood.load(SeqCst) == OVER {
            return;
        }
        if let Ok((head, body)) = taken {
            arrived.lock().unwrap().push((header(&head, "webhook-id").to_owned(), body));
        }
    }
}

/// Asks for grants and gives them back until nobody answers; the reviews of those that were acknowledged. `made` counts them.
fn grants(doors: &Doors, cycle: usize, made: &AtomicUsize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let Ok(mut line) = doors.unix_if_there() else { return acknowledged };
    for turn in 0.. {
        let why = if turn % 4 == 3 { "urgent".to_owned() } else { format!("Covering, call {turn} of cycle {cycle}") };
        let asked = json!({"subject": {"type": "User", "id": "ana"}, "client": "C4", "reason_code": "COVERING",
            "justification": why, "session": {"mfa": true, "idle_seconds": 5, "age_seconds": 60}});
        let Ok(granted) = line.post("/grants/v1/emergency", &asked) else { break };
        match granted.status {
            201 => {
                let granted = granted.json();
                acknowledged.push(granted["review"]["review_id"].as_str().unwrap().to_owned());
                made.fetch_add(1, SeqCst);
                if line.post(&end(granted["grant_id"].as_str().unwrap()), &json!({})).is_err() {
                    break;
                }
            }
            // Without a reason; one stands that was not given back; not ready yet.
            403 | 409 | 503 => {}
            other => panic!("{other}: {}", granted.body),
        }
    }
    acknowledged
}

fn end(grant: &str) -> String {
    format!("/grants/v1/{grant}/end")
}

/// A column of the rows that a query finds.
async fn words(store: &Store, sql: &'static str) -> BTreeSet<String> {
    let mut transaction = store.read().await.unwrap();
    let rows = transaction.rows(Sql::both(sql), &[]).await.unwrap();
    rows.iter().map(|row| row.some_text("word").unwrap()).collect()
}

/// As if all waits were over.
async fn due(store: &Store) {
    let mut transaction = store.begin().await.unwrap();
    let sql = "UPDATE outbox SET next_try_at = '2026-03-10T15:00:00Z' WHERE sent_at IS NULL";
    transaction.run(Sql::both(sql), &[]).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn what_stands_is_told_and_nothing_else(world: World, cycles: usize) {
    let (mut sidecar, store) = office::prepared(&world.url(Source::App), &world.url(Source::Store)).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let text = fs::read_to_string(sidecar.config_file()).unwrap() + &notify(address.port(), &[9; 32]);
    fs::write(sidecar.config_file(), text).unwrap();
    let (arrived, mood) = (Arrived::default(), Arc::new(AtomicU8::new(SOME)));
    let receiving = {
        let (arrived, mood) = (Arc::clone(&arrived), Arc::clone(&mood));
        thread::spawn(move || receiver(&listener, &arrived, &mood))
    };
    let mut acknowledged = BTreeSet::new();
    let mut dice = Dice::new(20_260_310);
    for cycle in 0..cycles {
        sidecar.start();
        let doors = sidecar.doors();
        // One that was not given back stands in the way of the next.
        for grant in words(&store, "SELECT id AS word FROM grants WHERE state = 'active' AND client_id = 'C4'").await {
            doors.unix().post(&end(&grant), &json!({})).unwrap();
        }
        let made = Arc::new(AtomicUsize::new(0));
        let asking = {
            let made = Arc::clone(&made);
            thread::spawn(move || grants(&doors, cycle, &made))
        };
        // Some are made, and the next one is under way.
        wait_for("a grant is made", || (made.load(SeqCst) > 1).then_some(()));
        thread::sleep(Duration::from_millis(dice.next() % 40));
        sidecar.kill();
        acknowledged.extend(asking.join().unwrap());
        due(&store).await;
    }
    mood.store(ALL, SeqCst);
    sidecar.start();
    let latest = Instant::now() + DEADLINE;
    while number(&store, "SELECT count(*) AS n FROM outbox WHERE sent_at IS NULL").await > 0 {
        assert!(Instant::now() < latest, "some are not taken");
        due(&store).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(sidecar);
    mood.store(OVER, SeqCst);
    drop(TcpStream::connect(address).unwrap());
    receiving.join().unwrap();

    let arrived = std::mem::take(&mut *arrived.lock().unwrap());
    let stand = agree(&arrived, &acknowledged, &store).await;
    println!("{cycles} kills: {stand} grants, {} of them acknowledged", acknowledged.len());
    assert!(stand > cycles, "it was not tried hard enough");
}

/// What arrived against what stands; gives how many grants that are.
async fn agree(arrived: &[(String, String)], acknowledged: &BTreeSet<String>, store: &Store) -> usize {
    let mut bodies: BTreeMap<&str, &str> = BTreeMap::new();
    for (id, body) in arrived {
        assert_eq!(bodies.entry(id).or_insert(body), body, "{id} came with another body");
    }
    let ids: BTreeSet<String> = bodies.keys().map(|id| (*id).to_owned()).collect();
    assert_eq!(ids, words(store, "SELECT id AS word FROM outbox").await, "what is written is told, and nothing else");
    let told: BTreeSet<String> = bodies.values().filter_map(|body| review(body)).collect();
    let sql = "SELECT r.id AS word FROM reviews r JOIN grants g ON g.id = r.grant_id \
               WHERE g.justification LIKE 'Covering, call%'";
    let stand = words(store, sql).await;
    assert_eq!(told, stand, "each grant that stands, and none that does not");
    assert!(acknowledged.is_subset(&stand), "{acknowledged:?} in {stand:?}");
    println!("{} notices arrived {} times", ids.len(), arrived.len());
    assert!(arrived.len() > ids.len(), "nothing came twice");
    stand.len()
}

/// Of a notice about a new grant, its review.
fn review(body: &str) -> Option<String> {
    let body: Json = serde_json::from_str(body).unwrap();
    let link = body["data"]["reviews"][0]["link"].as_str().unwrap();
    (body["type"] == "grant.opened").then(|| link.rsplit('/').next().unwrap().to_owned())
}

#[tokio::test]
async fn what_stands_is_told_and_nothing_else_on_sqlite() {
    what_stands_is_told_and_nothing_else(World::sqlite().await, 16).await;
}

#[tokio::test]
async fn what_stands_is_told_and_nothing_else_on_postgres() {
    what_stands_is_told_and_nothing_else(World::postgres().await, 8).await;
}
