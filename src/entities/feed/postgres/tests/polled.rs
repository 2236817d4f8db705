//! What polls tell: every committed change, once, whatever the order.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use super::*;
use crate::{clock::Clock, entities::error::Cause};

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[tokio::test]
async fn a_change_is_told_though_a_later_one_was_told_before() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    let mut slow = session(&stage.url).await;
    sqlx::raw_sql("BEGIN; INSERT INTO member VALUES ('u', 'first')").execute(&mut slow).await.unwrap();
    stage.run("INSERT INTO member VALUES ('u', 'second')").await;
    assert_eq!(told(&mut feed).await, ["Client.team `second`"]);
    sqlx::raw_sql("COMMIT").execute(&mut slow).await.unwrap();
    assert_eq!(told(&mut feed).await, ["Client.team `first`"]);
    assert_eq!(told(&mut feed).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_open_transaction_of_somebody_else_holds_nothing_back() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    let mut idle = session(&stage.url).await;
    sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()").execute(&mut idle).await.unwrap();
    stage.run("INSERT INTO member VALUES ('u', 'c')").await;
    assert_eq!(told(&mut feed).await, ["Client.team `c`"]);
    sqlx::raw_sql("ROLLBACK").execute(&mut idle).await.unwrap();
    assert_eq!(told(&mut feed).await, Vec::<String>::new());
}

#[tokio::test]
async fn savepoints_are_told_with_their_transaction_and_once() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    let points: Vec<String> =
        (0..3).map(|n| format!("SAVEPOINT s{n}; INSERT INTO member VALUES ('u', 'c{n}'); RELEASE s{n}")).collect();
    let undone = "SAVEPOINT u; INSERT INTO member VALUES ('u', 'undone'); ROLLBACK TO u";
    stage.run(&format!("BEGIN; {}; {undone}", points.join(";"))).await;
    assert_eq!(told(&mut feed).await, Vec::<String>::new());
    stage.run("COMMIT").await;
    assert_eq!(told(&mut feed).await, ["Client.team `c0`", "Client.team `c1`", "Client.team `c2`"]);
    assert_eq!(told(&mut feed).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_key_that_changes_is_told_as_it_was_and_as_it_is() {
    let mut stage = Stage::installed().await;
    stage.run("INSERT INTO member VALUES ('u', 'old')").await;
    let mut feed = stage.started().await;
    stage.run("UPDATE member SET client_id = 'new'").await;
    assert_eq!(told(&mut feed).await, ["Client.team `new`", "Client.team `old`"]);
    stage.run("UPDATE member SET note = 'x'").await;
    assert_eq!(told(&mut feed).await, ["Client.team `new`"]);
    stage.run("DELETE FROM member").await;
    assert_eq!(told(&mut feed).await, ["Client.team `new`"]);
}

#[tokio::test]
async fn a_key_is_any_text_and_none_stands_for_all() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    stage.run("INSERT INTO member VALUES ('u', '*'), ('u', ''), ('u', 'it''s \\ \"é\"')").await;
    assert_eq!(told(&mut feed).await, ["Client.team `*`", "Client.team ``", "Client.team `it's \\ \"é\"`"]);
    stage.run("INSERT INTO visit VALUES (NULL, 1)").await;
    assert_eq!(told(&mut feed).await, Vec::<String>::new(), "no key reaches a row without one");
}

#[tokio::test]
async fn the_replica_role_changes_nothing_unseen() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    stage.run("SET session_replication_role = replica; INSERT INTO member VALUES ('u', 'c'); INSERT INTO visit VALUES ('c', 1)").await;
    assert_eq!(told(&mut feed).await, ["Client.team `c`", "Client.visits `c`"]);
    stage.run("TRUNCATE member").await;
    assert_eq!(told(&mut feed).await, ["everything"]);
}

#[tokio::test]
async fn truncate_tells_that_everything_may_have_changed() {
    let mut stage = Stage::installed().await;
    stage.run("INSERT INTO member VALUES ('u', 'c'); INSERT INTO visit VALUES ('c', 1)").await;
    for table in ["member", "visit", "visit_1"] {
        let mut feed = stage.started().await;
        stage.run(&format!("TRUNCATE {table}")).await;
        assert_eq!(told(&mut feed).await, ["everything"], "{table}");
    }
}

#[tokio::test]
async fn a_partition_tells_as_its_table_does() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    stage.run("INSERT INTO visit VALUES ('a', 1); INSERT INTO visit_2 VALUES ('b', 2)").await;
    assert_eq!(told(&mut feed).await, ["Client.visits `a`", "Client.visits `b`"]);
    stage.run("UPDATE visit SET day = 2 WHERE client_id = 'a'").await;
    assert_eq!(told(&mut feed).await, ["Client.visits `a`", "Client.visits `a`"], "it moved to the other partition");
}

#[tokio::test]
async fn too_many_changes_are_told_as_everything() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    stage.run("INSERT INTO member SELECT 'u', g::text FROM generate_series(1, 10000) g").await;
    assert_eq!(told(&mut feed).await.len(), 10_000);
    stage.run("INSERT INTO member SELECT 'v', g::text FROM generate_series(1, 10001) g").await;
    assert_eq!(told(&mut feed).await, ["everything"]);
    assert_eq!(told(&mut feed).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_poll_says_how_late_it_is_and_what_the_databases_clock_shows() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    let polled = feed.poll().await.unwrap();
    assert_eq!(polled.lag, None);
    let apart = polled.server_time.unwrap().duration_since(SystemClock.now()).abs();
    assert!(apart < jiff::SignedDuration::from_secs(5), "{apart}");
    stage.run("INSERT INTO chaperone_change (at, kind, key) VALUES (clock_timestamp() - interval '3 s', 'Client.team', 'c')").await;
    let lag = feed.poll().await.unwrap().lag.unwrap();
    assert!((3.0..60.0).contains(&lag.as_secs_f64()), "{lag:?}");
}

#[tokio::test]
async fn many_writers_that_commit_and_roll_back_are_told_exactly() {
    let stage = Stage::installed().await;
    let mut feed = stage.started().await;
    let writers = (0..8).map(|writer| {
        let url = stage.url.clone();
        async move {
            let (mut session, mut dice) = (session(&url).await, Dice(writer));
            let mut committed = Vec::new();
            for round in 0..40 {
                let key = format!("w{writer}r{round}");
                let insert = format!("BEGIN; INSERT INTO member VALUES ('u', '{key}')");
                sqlx::raw_sql(statement(insert)).execute(&mut session).await.unwrap();
                tokio::time::sleep(Duration::from_millis(dice.below(5))).await;
                let is_kept = dice.below(100) < 85;
                let end = if is_kept { "COMMIT" } else { "ROLLBACK" };
                sqlx::raw_sql(end).execute(&mut session).await.unwrap();
                committed.extend(is_kept.then_some(format!("Client.team `{key}`")));
            }
            committed
        }
    });
    let mut writing = std::pin::pin!(futures_util::future::join_all(writers));
    let mut seen = Vec::new();
    let mut committed = loop {
        tokio::select! {
            committed = &mut writing => break committed.concat(),
            () = tokio::time::sleep(Duration::from_millis(3)) => seen.extend(told(&mut feed).await),
        }
    };
    seen.extend(told(&mut feed).await);
    seen.sort();
    committed.sort();
    assert!(committed.len() > 200, "{}", committed.len());
    assert_eq!(seen, committed);
}

#[tokio::test]
async fn a_poll_comes_by_itself_when_no_notification_does() {
    let stage = Stage::installed().await;
    let (mut connect, _nobody_listens) = stage.connect(stage.watching(), Duration::from_millis(50));
    let mut feed = connect.connect().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), feed.wait()).await.expect("the interval has passed");
}

#[tokio::test]
async fn a_commit_ends_the_wait_and_its_listener_survives_a_lost_connection() {
    let mut stage = Stage::installed().await;
    let (mut connect, listener) = stage.connect(stage.watching(), Duration::from_secs(600));
    let mut feed = connect.connect().await.unwrap();
    let listening = listener.run();
    let scene = async {
        feed.wait().await; // it listens now
        let waited = async { tokio::time::timeout(Duration::from_secs(20), feed.wait()).await.expect("a hint") };
        let committed = stage.run("INSERT INTO member VALUES ('u', 'c')");
        tokio::join!(waited, committed);
        let lost = stage.one("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'chaperone-hint' AND datname = current_database()");
        assert_eq!(lost.await, 1);
        let waited =
            async { tokio::time::timeout(Duration::from_secs(20), feed.wait()).await.expect("look for yourself") };
        waited.await;
    };
    tokio::select! {
        () = scene => {}
        () = listening => panic!("a listener never ends"),
    }
}

#[tokio::test]
async fn a_terminated_connection_is_an_error_and_the_next_one_follows() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    let ended = stage.one("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'chaperone-feed' AND datname = current_database()").await;
    assert_eq!(ended, 1);
    assert!(matches!(feed.poll().await, Err(FeedError::Away(Cause::Io(_) | Cause::Sqlstate(_)))));
    let mut feed = stage.started().await;
    stage.run("INSERT INTO member VALUES ('u', 'c')").await;
    assert_eq!(told(&mut feed).await, ["Client.team `c`"]);
}

#[tokio::test]
async fn changes_that_were_deleted_before_they_were_seen_start_the_feed_anew() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    stage.run("INSERT INTO chaperone_change (at, kind, key) VALUES (clock_timestamp() - interval '25 h', 'Client.team', 'c')").await;
    stage.run("INSERT INTO chaperone_change (kind, key) VALUES ('Client.team', 'young')").await;
    assert_eq!(stage.one("SELECT chaperone_trim()").await, 1);
    assert_eq!(stage.one("SELECT count(*) FROM chaperone_change").await, 1);
    assert!(matches!(feed.poll().await, Err(FeedError::Moved { what }) if what.contains("deleted")));

    // With a transaction open that is older than the bound, a new cursor lies below it: nothing is lost by that.
    let mut old = session(&stage.url).await;
    sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()").execute(&mut old).await.unwrap();
    stage.run("INSERT INTO chaperone_change (at, kind, key) VALUES (clock_timestamp() - interval '25 h', 'Client.team', 'c')").await;
    assert_eq!(stage.one("SELECT chaperone_trim()").await, 1);
    let mut feed = stage.started().await;
    assert_eq!(told(&mut feed).await, Vec::<String>::new());
}

/// It commits below what was trimmed before, is trimmed itself, and the bound says nothing of it.
#[tokio::test]
async fn a_transaction_that_was_open_for_longer_than_a_day_starts_the_feed_anew() {
    let mut stage = Stage::installed().await;
    let old =
        "INSERT INTO chaperone_change (at, kind, key) VALUES (clock_timestamp() - interval '25 h', 'Client.team', 'c')";
    let mut slow = session(&stage.url).await;
    sqlx::raw_sql(statement(format!("BEGIN; {old}"))).execute(&mut slow).await.unwrap();
    stage.run(old).await;
    assert_eq!(stage.one("SELECT chaperone_trim()").await, 1, "the one that is committed");
    let bound = "SELECT trimmed_below::text::bigint FROM chaperone_feed";
    let before = stage.one(bound).await;
    let mut feed = stage.started().await;
    assert_eq!(told(&mut feed).await, Vec::<String>::new());
    sqlx::raw_sql("COMMIT").execute(&mut slow).await.unwrap();
    assert_eq!(stage.one("SELECT chaperone_trim()").await, 1, "the one that was open");
    assert_eq!(stage.one(bound).await, before);
    assert!(matches!(feed.poll().await, Err(FeedError::Moved { what }) if what.contains("epoch")));
    let mut feed = stage.started().await;
    assert_eq!(told(&mut feed).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_feed_deletes_what_is_a_day_old_though_its_session_only_reads() {
    let mut stage = Stage::installed().await;
    stage.run("INSERT INTO chaperone_change (at, kind, key) SELECT clock_timestamp() - interval '25 h', 'Client.team', g::text FROM generate_series(1, 10010) g").await;
    stage.run("INSERT INTO chaperone_change (kind, key) VALUES ('Client.team', 'young')").await;
    let clock = Arc::new(Leaping(AtomicU64::new(0)));
    let (mut connect, _) = PostgresConnect::new(PostgresOptions {
        clock: clock.clone(),
        ..stage.options(stage.watching(), Duration::from_millis(1))
    });
    let mut feed = connect.connect().await.unwrap();
    feed.inspect().await.unwrap();
    let left = "SELECT count(*) FROM chaperone_change";
    feed.wait().await;
    assert_eq!(stage.one(left).await, 10_011, "not at once");
    clock.0.fetch_add(601, SeqCst);
    feed.wait().await;
    assert_eq!(stage.one(left).await, 11, "a call deletes no more than it can in a moment");
    feed.wait().await;
    assert_eq!(stage.one(left).await, 1);
    feed.start().await.unwrap();
    assert_eq!(told(&mut feed).await, Vec::<String>::new());
}

/// A clock that can be moved on, in seconds.
#[derive(Debug)]
struct Leaping(AtomicU64);

impl Clock for Leaping {
    fn now(&self) -> jiff::Timestamp {
        SystemClock.now()
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed() + Duration::from_secs(self.0.load(SeqCst))
    }
}

#[tokio::test]
async fn a_new_epoch_and_a_lost_row_start_the_feed_anew() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    stage.run("UPDATE chaperone_feed SET epoch = gen_random_uuid()").await;
    assert!(matches!(feed.poll().await, Err(FeedError::Moved { what }) if what.contains("epoch")));
    let mut feed = stage.started().await;
    stage.run("DELETE FROM chaperone_feed").await;
    assert!(matches!(feed.poll().await, Err(FeedError::Moved { .. })));
    let mut feed = {
        stage.install().await.unwrap();
        stage.started().await
    };
    stage.run("DROP TABLE chaperone_feed").await;
    assert!(matches!(feed.poll().await, Err(FeedError::Moved { .. })));
}

#[tokio::test]
async fn another_mapping_ends_the_wait_and_the_connection() {
    let stage = Stage::installed().await;
    let watching = stage.watching();
    let (mut connect, _) = stage.connect(watching.clone(), Duration::from_secs(600));
    let mut feed = connect.connect().await.unwrap();
    feed.inspect().await.unwrap();
    feed.start().await.unwrap();
    watching.set(stage.mapping.digest, Watched::of(&stage.mapping, Source::App));
    feed.poll().await.expect("the same mapping is no other one");
    watching.set(stage.mapping.digest, Watched::of(&mapping(&QUERIES[..1]), Source::App));
    tokio::time::timeout(Duration::from_secs(20), feed.wait()).await.expect("it wakes");
    assert!(matches!(feed.poll().await, Err(FeedError::Moved { what }) if what.contains("mapping")));
    assert!(matches!(feed.inspect().await, Err(FeedError::Moved { .. })));
    let mut feed = connect.connect().await.unwrap();
    feed.inspect().await.unwrap();
}

#[tokio::test]
async fn facts_that_no_trigger_can_tell_are_told_with_every_poll() {
    let queries = [
        QUERIES[0],
        ("Client.recent", "SELECT user_id AS id FROM member WHERE client_id = $1 AND now() > '2020-01-01'"),
    ];
    let stage = Stage::with(TABLES, &queries).await;
    let installed = stage.install().await.unwrap();
    assert_eq!(installed.untold.len(), 1);
    assert_eq!(installed.untold[0].1, "it calls function `now`, which may read other tables or answer by the moment");
    let mut feed = stage.started().await;
    for _ in 0..3 {
        assert_eq!(told(&mut feed).await, ["Client.recent (any)"]);
    }
}
