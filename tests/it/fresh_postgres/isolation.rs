//! No flood of questions costs a lease, and a flush costs each fact one load.

use std::{sync::Arc, time::Duration};

use chaperone::{domain::mapping::Source, entities::PoolOptions};

use crate::helpers::{
    callers::{Callers, Revoked},
    following::{Databases, Following, Heard, How, LANES, elapsed, revoke},
    postgres::Postgres,
};

const STALENESS: Duration = Duration::from_secs(2);
const CONNECTIONS: u32 = 4;

fn few_connections() -> How {
    let how = How::within(STALENESS);
    How { pool: PoolOptions { connections: CONNECTIONS, ..how.pool }, ..how }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_questions_without_kept_facts_costs_no_lease() {
    const FLOOD: usize = 200;
    let databases = Databases::on(Postgres::shared()).await;
    let following = Arc::new(Following::start(&databases, few_connections()));
    following.works(&databases, 0).await;
    let held =
        Postgres::shared().hold(databases.name(Source::Store), "LOCK TABLE assignments IN ACCESS EXCLUSIVE MODE");
    let began = elapsed();
    // Every one of them holds or waits for a connection of the loads.
    let callers = Callers::start(&following, FLOOD, Duration::ZERO, |caller, turn| 1 + (caller + turn) % (LANES - 1));
    let (mut oldest, mut kept) = (Duration::ZERO, 0_u32);
    while elapsed() < began + STALENESS * 2 {
        for source in [Source::App, Source::Store] {
            let age = following.lease_age(source).unwrap_or_else(|| panic!("{:?}", following.facts.feeds()));
            oldest = oldest.max(age);
        }
        let heard = following.ask(0).await;
        assert!(heard.is_allow(), "a kept question stands beside the flood: {heard:?}");
        kept += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(oldest < STALENESS, "a lease was {oldest:?} old");
    drop(held);
    following.ask_until("lane 5 can be read", 5, Heard::is_allow).await;
    let heard = callers.stop().await;
    let outages = heard.iter().filter(|heard| heard.is_outage()).count();
    assert!(outages >= FLOOD, "only {outages} questions were without facts");
    println!(
        "{FLOOD} callers on {CONNECTIONS} connections before a locked table: no lease older than {oldest:.1?}, {outages} of {} answers without facts, {kept} kept answers beside them",
        heard.len()
    );
    following.works(&databases, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flush_each_fact_is_read_for_all_callers_at_once() {
    const FLUSHES: i64 = 20;
    const CALLERS: usize = 64;
    // One load at a time for whoever asks: a few follow each other until the feed vouches again. Each caller's own would
    // be eight times as many.
    const READS_A_FLUSH_MAX: i64 = 8;
    let databases = Databases::on(Postgres::shared()).await;
    let following = Arc::new(Following::start(&databases, few_connections()));
    following.works(&databases, 1).await;
    // A connection reports what it read at its end.
    let scans = async || {
        databases.terminate("chaperone").await;
        let sql = "SELECT seq_scan + COALESCE(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'assignments'";
        databases.number(Source::Store, sql).await
    };
    let before = scans().await;
    let callers = Callers::start(&following, CALLERS, Duration::ZERO, |_, _| 1);
    let mut most = 0;
    for _ in 0..FLUSHES {
        following.ask_until("ana may read", 1, Heard::is_allow).await;
        databases.write(Source::Store, "TRUNCATE legal_holds").await;
        for source in [Source::App, Source::Store] {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chaperone' AND datname = current_database()";
            most = most.max(databases.number(source, sql).await);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let committed = databases.write(Source::Store, revoke(1)).await;
    following.denied_in_time(1, committed).await;
    tokio::time::sleep(STALENESS + Duration::from_millis(200)).await;
    let revoked = Revoked { lane: 1, sent: committed, committed, lifted: elapsed() };
    let heard = callers.stop().await;
    // Reading scans the table once, looking for the row to revoke once more.
    let read = scans().await - before;
    println!(
        "{FLUSHES} flushes under {CALLERS} callers: assignments of one client read {read} times for {} answers, on at most {most} connections a database",
        heard.len()
    );
    assert!(read >= FLUSHES, "a flush forgets everything: {read}");
    assert!(read <= READS_A_FLUSH_MAX * FLUSHES, "{read} reads");
    assert!(most <= i64::from(CONNECTIONS), "{most} connections");
    let seen = revoked.seen(&heard, STALENESS);
    assert!(seen.judged > 0 && seen.late.is_empty(), "{seen:#?}");
}
