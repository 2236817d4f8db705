//! The feed and the server that it talks to: frozen, started anew, a standby.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::*;
use crate::{clock::Clock as _, entities::error::Cause};

#[tokio::test]
async fn a_server_that_stops_answering_is_noticed_and_a_standby_is_refused() {
    let server = Postgres::start();
    let stage = Stage::on(&server, TABLES, &QUERIES).await;
    stage.install().await.unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let (mut connect, _) = PostgresConnect::new(PostgresOptions {
        connect: PgConnectOptions::from_str(&stage.url).unwrap(),
        staleness: Duration::from_secs(4),
        poll: Duration::from_millis(50),
        hint: false,
        clock: Arc::new(SystemClock),
        on_connect: Arc::new(move || {
            counted.fetch_add(1, SeqCst);
        }),
        watching: stage.watching(),
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

    server.stop();
    assert!(matches!(connect.connect().await.err(), Some(FeedError::Away(_))));
    server.restart();
    drop(connect.connect().await.unwrap());
    assert_eq!(calls.load(SeqCst), 2, "a server that was started anew may not be the one from before");

    server.stop();
    server.set_standby(true);
    server.restart();
    assert_eq!(connect.connect().await.err(), Some(FeedError::Standby));
}
