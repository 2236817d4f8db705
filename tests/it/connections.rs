//! The accept loop: limits on connections, silence and headers, and the end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Result;
use chaperone::{
    clock::SystemClock,
    http::{
        Door, House, Limits,
        serve::{Answer, Handle, Peer, serve},
    },
};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::helpers::raw::{Line, PATIENCE};

const GET: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n";

/// Says who asked, once it is let.
struct Porter {
    lets: Semaphore,
    entered: Semaphore,
}

impl Handle for Porter {
    async fn handle(self: Arc<Self>, _: Request<Incoming>, peer: Peer) -> Answer {
        self.entered.add_permits(1);
        let _let = self.lets.acquire().await;
        let who = match peer {
            Peer::Unix { uid, gid } => format!("{uid} {gid}"),
            Peer::Tcp(address) => address.ip().to_string(),
        };
        Response::new(bytes::Bytes::from(who).into())
    }
}

struct Served {
    porter: Arc<Porter>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

async fn served(door: Door, limits: Limits) -> Served {
    let porter = Arc::new(Porter { lets: Semaphore::new(1_000), entered: Semaphore::new(0) });
    let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
    let house = House {
        clock: Arc::new(SystemClock),
        limits: Arc::new(limits),
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
    };
    drop(tasks.spawn(serve(door, Arc::clone(&porter), house)));
    Served { porter, shutdown, tasks }
}

async fn served_on_tcp(limits: Limits) -> Result<(Served, SocketAddr)> {
    let door = Door::tcp("127.0.0.1:0".parse()?).await?;
    let address = door.tcp_address().expect("an address");
    Ok((served(door, limits).await, address))
}

const SHORT: Duration = Duration::from_millis(30);

#[tokio::test]
async fn the_socket_tells_the_ids_of_its_peer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pdp.sock");
    let _served = served(Door::unix(&path, 0o660).await?, Limits::default()).await;
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    assert_eq!(Line::unix(&path).await?.ask(GET, "").await?.body, format!("{uid} {gid}"));
    Ok(())
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() -> Result<()> {
    let (_served, address) = served_on_tcp(Limits { first_byte: SHORT, ..Limits::default() }).await?;
    Line::tcp(address).await?.closed().await
}

#[tokio::test]
async fn a_head_that_does_not_end_is_closed_though_bytes_keep_coming() -> Result<()> {
    let (_served, address) = served_on_tcp(Limits { header: SHORT, ..Limits::default() }).await?;
    let mut line = Line::tcp(address).await?;
    line.send("GET / HTTP/1.1\r\n").await?;
    let dribble = async {
        while tokio::time::timeout(SHORT / 10, line.closed()).await.is_err() {
            line.send("x").await.unwrap_or_default();
        }
    };
    Ok(tokio::time::timeout(PATIENCE, dribble).await?)
}

#[tokio::test]
async fn a_second_head_that_does_not_end_is_closed_too() -> Result<()> {
    let (_served, address) = served_on_tcp(Limits { header: SHORT, ..Limits::default() }).await?;
    let mut line = Line::tcp(address).await?;
    assert_eq!(line.ask(GET, "").await?.status, 200);
    line.send("GET / HT").await?;
    line.closed().await
}

#[tokio::test]
async fn a_resting_connection_outlives_the_header_limit_and_not_the_idle_one() -> Result<()> {
    let limits = Limits { header: Duration::ZERO, idle: SHORT, ..Limits::default() };
    let (_served, address) = served_on_tcp(limits).await?;
    let mut line = Line::tcp(address).await?;
    assert_eq!(line.ask(GET, "").await?.status, 200);
    assert_eq!(line.ask(GET, "").await?.status, 200, "it was at rest, not slow");
    line.closed().await
}

#[tokio::test]
async fn a_request_may_take_longer_than_any_silence() -> Result<()> {
    let limits = Limits { first_byte: SHORT, header: SHORT, idle: SHORT, ..Limits::default() };
    let (served, address) = served_on_tcp(limits).await?;
    served.porter.lets.forget_permits(1_000);
    let mut line = Line::tcp(address).await?;
    line.send(format!("{GET}\r\n")).await?;
    served.porter.entered.acquire().await?.forget();
    assert!(tokio::time::timeout(SHORT * 4, line.closed()).await.is_err(), "it is being answered");
    served.porter.lets.add_permits(1);
    assert_eq!(line.answer().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_oldest_connection_without_a_header_makes_room() -> Result<()> {
    let (_served, address) = served_on_tcp(Limits { headless_max: 2, ..Limits::default() }).await?;
    let mut spoken = Line::tcp(address).await?;
    assert_eq!(spoken.ask(GET, "").await?.status, 200);
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(Line::tcp(address).await?);
    }
    silent[0].closed().await?;
    for line in &mut silent[1..] {
        assert_eq!(line.ask(GET, "").await?.status, 200, "two are allowed");
    }
    assert_eq!(spoken.ask(GET, "").await?.status, 200, "one that sent a header is not counted");
    Ok(())
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_closed_and_its_place_comes_back() -> Result<()> {
    let (_served, address) = served_on_tcp(Limits { connections_max: 1, ..Limits::default() }).await?;
    let mut first = Line::tcp(address).await?;
    assert_eq!(first.ask(GET, "").await?.status, 200);
    Line::tcp(address).await?.closed().await?;
    drop(first);
    let again = async {
        while Line::tcp(address).await?.ask(GET, "").await.is_err() {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, again).await?
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_refused() -> Result<()> {
    let (_served, address) = served_on_tcp(Limits::default()).await?;
    let many = |count: usize| format!("{GET}{}", "x: y\r\n".repeat(count - 2));
    assert_eq!(Line::tcp(address).await?.ask(many(64), "").await?.status, 200);
    assert_eq!(Line::tcp(address).await?.ask(many(65), "").await?.status, 431);
    let long = |count: usize| format!("{GET}x: {}\r\n", "y".repeat(count));
    assert_eq!(Line::tcp(address).await?.ask(long(15 * 1024), "").await?.status, 200);
    assert_eq!(Line::tcp(address).await?.ask(long(17 * 1024), "").await?.status, 431);
    Ok(())
}

#[tokio::test]
async fn at_the_end_what_was_begun_is_answered_and_what_rests_is_closed() -> Result<()> {
    let (served, address) = served_on_tcp(Limits::default()).await?;
    served.porter.lets.forget_permits(1_000 - 1);
    let mut resting = Line::tcp(address).await?;
    assert_eq!(resting.ask(GET, "").await?.status, 200);
    served.porter.lets.forget_permits(1);
    served.porter.entered.forget_permits(1);

    let mut asking = Line::tcp(address).await?;
    let asked = asking.ask(GET, "");
    let ending = async {
        served.porter.entered.acquire().await?.forget();
        served.shutdown.cancel();
        resting.closed().await?;
        served.porter.lets.add_permits(1);
        anyhow::Ok(())
    };
    let (answer, ended) = tokio::join!(asked, ending);
    ended?;
    assert_eq!(answer?.status, 200);
    served.tasks.close();
    tokio::time::timeout(PATIENCE, served.tasks.wait()).await?;
    assert!(Line::tcp(address).await.is_err(), "nobody listens any more");
    Ok(())
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_answered_and_may_rest() -> Result<()> {
    let limits = Limits { header: SHORT, idle: SHORT * 10, ..Limits::default() };
    let (_served, address) = served_on_tcp(limits).await?;
    let mut line = Line::tcp(address).await?;
    // An empty SETTINGS frame, then HEADERS of stream 1: GET http / localhost.
    line.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    line.send(b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x84\x41\x09localhost").await?;
    assert_eq!(line.http2_head(1).await?.first(), Some(&0x88), "`:status: 200`");
    // A ping is no head: it may not start the headers' time.
    line.send(b"\0\0\x08\x06\0\0\0\0\0abcdefgh").await?;
    assert!(tokio::time::timeout(SHORT * 2, line.closed()).await.is_err());
    line.closed().await
}
