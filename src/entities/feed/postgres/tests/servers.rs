//! The feed, the loads and the server that they talk to: frozen, started anew, a standby, another one.

use std::{
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use sqlx::PgPool;

use super::*;
use crate::{
    clock::Clock,
    domain::{
        Cell,
        mapping::{CellKind, Column},
    },
    entities::{
        PoolOptions,
        error::Cause,
        fresh::Validity,
        keep::{Boarded, Keep, Lane, Room, Slot},
        load::{FactKey, Want, depart},
        pool::{Database, Pool},
        primary::{Primary, Server},
    },
};

/// What `serve` would read facts with.
fn loads(url: &str) -> (PgPool, Arc<Primary>) {
    let options = PoolOptions { connections: 2, statement_timeout: Duration::from_millis(700) };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match Pool::new(Source::App, url, options, &clock).unwrap().database {
        Database::Postgres { pool, primary, .. } => (pool, primary),
        Database::Sqlite(_) => panic!("a server was asked for"),
    }
}

#[tokio::test]
async fn a_server_that_stops_answering_is_noticed_and_a_standby_is_refused() {
    let server = Postgres::start();
    let stage = Stage::on(&server, TABLES, &QUERIES).await;
    stage.install().await.unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let (mut connect, _) = PostgresConnect::new(PostgresOptions {
        staleness: Duration::from_secs(4),
        hint: false,
        on_connect: Arc::new(move |_server| {
            counted.fetch_add(1, SeqCst);
        }),
        ..stage.options(stage.watching(), Duration::from_millis(50))
    });
    let mut feed = connect.connect().await.unwrap();
    drop(connect.connect().await.unwrap());
    assert_eq!(calls.load(SeqCst), 1, "the same server twice");
    feed.inspect().await.unwrap();
    feed.start().await.unwrap();
    feed.poll().await.unwrap();

    server.pause();
    let begun = SystemClock.elapsed();
    let frozen = feed.poll().await;
    let refused = connect.connect().await.err();
    let took = SystemClock.elapsed().saturating_sub(begun);
    server.resume();
    assert_eq!(frozen.err(), Some(FeedError::Away(Cause::Timeout)));
    assert_eq!(refused, Some(FeedError::Away(Cause::Timeout)));
    assert!(took < Duration::from_secs(4), "within S, both of them: {took:?}");
    assert_eq!(calls.load(SeqCst), 2, "who cannot be reached is followed no more");

    server.stop();
    assert!(matches!(connect.connect().await.err(), Some(FeedError::Away(_))));
    server.restart();
    drop(connect.connect().await.unwrap());
    assert_eq!(calls.load(SeqCst), 3, "a server that was started anew may not be the one from before");

    server.stop();
    server.set_standby(true);
    server.restart();
    assert_eq!(connect.connect().await.err(), Some(FeedError::Standby));
    let (loads, _) = loads(&stage.url);
    assert!(loads.acquire().await.is_err(), "no fact is read from a standby");
}

/// Where clients look for the primary, as a service's address would be: leads to `server` from now on.
fn lead(address: &Path, server: &Postgres) {
    let next = address.with_extension("next");
    symlink(server.folder(), &next).unwrap();
    rustix::fs::rename(&next, address).unwrap();
}

async fn server_of(url: &str) -> Server {
    Server::of(&mut session(url).await).await.unwrap().0
}

#[tokio::test]
async fn loads_are_read_from_the_server_that_the_feed_follows_and_from_no_other() {
    let (one, other) = (Postgres::shared(), Postgres::start());
    let home = tempfile::Builder::new().prefix("chp-").tempdir_in("/tmp").unwrap();
    let address = home.path().join("primary");
    let url = one.url("postgres").replace(one.folder().to_str().unwrap(), address.to_str().unwrap());
    lead(&address, one);
    let (loads, primary) = loads(&url);
    let (mut connect, _) = PostgresConnect::new(PostgresOptions {
        connect: PgConnectOptions::from_str(&url).unwrap(),
        staleness: STALENESS,
        poll: STALENESS,
        hint: false,
        clock: Arc::new(SystemClock),
        on_connect: Arc::new(move |server| primary.follow(server)),
        watching: Arc::new(Watching::new(0, Vec::new())),
    });
    let followed = async |live: &mut PgConnection| Server::of(live).await.unwrap().0;
    drop(connect.connect().await.unwrap());
    let mut first = loads.acquire().await.unwrap();
    assert_eq!(followed(&mut first).await, server_of(&one.url("postgres")).await);

    // The address leads elsewhere, and the feed does not know it yet.
    lead(&address, &other);
    assert!(loads.acquire().await.is_err(), "the feed follows another server");
    drop(connect.connect().await.unwrap());
    let mut second = loads.acquire().await.unwrap();
    let server = server_of(&other.url("postgres")).await;
    assert_eq!(followed(&mut second).await, server);
    drop(first);
    let mut third = loads.acquire().await.unwrap();
    assert_eq!(followed(&mut third).await, server, "what led to the first server is not used again");
}

/// Moves the feed to another server at the first look.
#[derive(Debug)]
struct Meanwhile {
    primary: Arc<Primary>,
    has_moved: AtomicBool,
}

impl Clock for Meanwhile {
    fn now(&self) -> jiff::Timestamp {
        SystemClock.now()
    }

    fn elapsed(&self) -> Duration {
        if !self.has_moved.swap(true, SeqCst) {
            self.primary.follow(None);
        }
        SystemClock.elapsed()
    }
}

#[tokio::test]
async fn a_lane_lets_its_connection_go_when_the_feed_has_moved() {
    let (loads, primary) = loads(&Postgres::shared().url("postgres"));
    let clock = Meanwhile { primary: Arc::clone(&primary), has_moved: AtomicBool::new(false) };
    let room = Room {
        flights: Arc::default(),
        validity: Arc::new(Validity::new()),
        keep: Arc::new(Keep::new(1 << 20, Duration::ZERO)),
        clock: Arc::new(clock),
    };
    let query = Query { sqlite: "".into(), postgres: "SELECT $1 AS id, pg_backend_pid() AS pid".into() };
    let columns = [Column { name: "pid".into(), kind: CellKind::Int }];
    let boarded = ["first", "second", "third"].map(|id| {
        let key = FactKey { source: Source::App, kind: "Client".into(), relation: None, id: id.into() };
        let Boarded::Pilot(flight) = room.flights.board(0, &key) else { panic!("nobody else flies") };
        let want = Want { key, query: &query, columns: &columns, rows_max: 1, slot: Slot::OfEntity(0) };
        (want.owned(), flight)
    });
    let flights = boarded.clone().map(|(_, flight)| flight);
    depart(loads, primary, STALENESS, Lane::new(0, boarded.into(), room)).await;
    let mut pids = Vec::new();
    for flight in flights {
        let Cell::Int(pid) = flight.landed().await.unwrap().rows[0].cells[0] else { panic!("a number") };
        pids.push(pid);
    }
    assert_ne!(pids[0], pids[1], "the connection was opened before the feed moved");
    assert_eq!(pids[1], pids[2]);
}
