//! The fail-closed table, cell by cell, as far as SQL can bring it about; each followed by recovery.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chaperone::{
    clock::{Clock, FrozenClock, SystemClock},
    domain::{Reason, Timestamp, mapping::Source},
    entities::{PoolOptions, Trust},
};
use jiff::{SignedDuration, ToSpan as _};

use crate::{
    helpers::{
        clinic::{NOW, at},
        following::{Databases, Following, Heard, How, elapsed, lift, revoke, wait_for},
        postgres::Postgres,
    },
    outage::TO_TODAY,
};

const STALENESS: Duration = Duration::from_secs(2);

async fn scene() -> (Databases, Following) {
    let databases = Databases::on(Postgres::shared()).await;
    let following = Following::start(&databases, How::within(STALENESS));
    following.works(&databases, 1).await;
    (databases, following)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_denies_what_must_be_read_and_not_what_is_kept() {
    let (databases, following) = scene().await;
    following.ask_until("lane 1 is kept", 1, Heard::is_allow).await;
    let held =
        Postgres::shared().hold(databases.name(Source::Store), "LOCK TABLE assignments IN ACCESS EXCLUSIVE MODE");
    // Longer than a statement may take.
    let until = elapsed() + STALENESS;
    while elapsed() < until {
        let (kept, unknown) = tokio::join!(following.ask(1), following.ask(2));
        assert!(kept.is_allow(), "{kept:?}");
        assert!(unknown.is_outage(), "{unknown:?}");
        assert!(following.has_leases(), "{:?}", following.facts.feeds());
    }
    drop(held);
    let freed = elapsed();
    let heard = following.ask_until("lane 2 can be read", 2, Heard::is_allow).await;
    println!("a locked table: allowed {:.1?} after it was free", heard.released - freed);
    following.works(&databases, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_is_not_whole_means_direct_loads_and_names_the_trigger() {
    let (databases, following) = scene().await;
    for (change, undo, words) in [
        (
            "ALTER TABLE assignments DISABLE TRIGGER chaperone_row",
            "ALTER TABLE assignments ENABLE ALWAYS TRIGGER chaperone_row",
            "trigger chaperone_row of table public.assignments is disabled",
        ),
        (
            "ALTER TABLE assignments ENABLE TRIGGER chaperone_truncate",
            "ALTER TABLE assignments ENABLE ALWAYS TRIGGER chaperone_truncate",
            "trigger chaperone_truncate of table public.assignments is not ENABLE ALWAYS",
        ),
    ] {
        databases.write(Source::Store, change).await;
        // Within a minute the feed looks by itself; a new connection looks at once.
        databases.terminate("chaperone-feed").await;
        wait_for("the feed says what is missing", async || {
            following.trouble(Source::Store).is_some_and(|trouble| trouble.contains(words))
        })
        .await;
        let trouble = following.trouble(Source::Store).unwrap();
        assert!(trouble.contains("chaperone db install"), "{trouble}");
        assert_eq!(following.lease_age(Source::Store), None);
        for _ in 0..5 {
            databases.write(Source::Store, revoke(1)).await;
            let heard = following.ask(1).await;
            assert!(heard.is_refusal(), "nothing kept is used: {heard:?}");
            databases.write(Source::Store, lift(1)).await;
            let heard = following.ask(1).await;
            assert!(heard.is_allow(), "the database answers: {heard:?}");
        }
        let undone = databases.write(Source::Store, undo).await;
        following.wait_for_lease().await;
        println!("{words}: followed again {:.1?} after it was mended", elapsed() - undone);
        following.works(&databases, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_epoch_of_the_feed_starts_it_anew() {
    let (databases, following) = scene().await;
    assert!(following.is_kept(1).await);
    let sql =
        "UPDATE chaperone_feed SET epoch = gen_random_uuid(); ALTER TABLE assignments DISABLE TRIGGER chaperone_row;
               UPDATE assignments SET revoked_at = '2026-03-10T14:00:00Z' WHERE id = 'LA1';
               ALTER TABLE assignments ENABLE ALWAYS TRIGGER chaperone_row";
    // What a restored copy is: other rows, told by nobody, and another epoch.
    let committed = databases.write(Source::Store, sql).await;
    following.denied_in_time(1, committed).await;
    databases.write(Source::Store, lift(1)).await;
    following.works(&databases, 1).await;
}

/// Two loads that are slower than the bound: the second answer is the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allow_that_comes_too_late_twice_is_denied_as_stale() {
    let databases = Databases::on(Postgres::shared()).await;
    let how = How {
        is_followed: false,
        pool: PoolOptions { connections: 8, statement_timeout: Duration::from_secs(20) },
        slice_timeout: Duration::from_secs(40),
        ..How::within(Duration::from_millis(400))
    };
    let following = Following::start(&databases, how);
    following.ask_until("it is quick enough", 1, Heard::is_allow).await;
    let slow = "ALTER TABLE assignments RENAME TO assignments_within;
                CREATE VIEW assignments AS SELECT a.* FROM assignments_within a, (SELECT pg_sleep(0.5)) AS late";
    databases.write(Source::Store, slow).await;
    let heard = following.ask(1).await;
    assert_eq!(heard.reason, Some(Reason::DATA_STALE), "{heard:?}");
    let quick = "DROP VIEW assignments; ALTER TABLE assignments_within RENAME TO assignments";
    databases.write(Source::Store, quick).await;
    following.ask_until("it is quick again", 1, Heard::is_allow).await;
}

/// Ages go by the clock that only counts: the wall clock says which windows are open, and nothing of freshness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_is_set_moves_windows_and_ages_nothing() {
    let databases = Databases::on(Postgres::shared()).await;
    let wall = FrozenClock::at(at(NOW));
    let how = How { clock: Arc::new(wall.clone()), ..How::within(STALENESS) };
    let following = Following::start(&databases, how);
    following.works(&databases, 0).await;
    wait_for("its facts are kept", async || following.is_kept(0).await).await;
    // A1 ends at 2026-07-01T04:00:00Z; ana's certificate at the end of June.
    for (instant, is_open) in [("2026-03-09T00:00:00Z", true), ("2026-07-02T00:00:00Z", false), (NOW, true)] {
        wall.set(at(instant));
        let gathered = following.gathered(0, Trust::Feed).await.unwrap();
        assert_eq!(gathered.loaded, 0, "at {instant} it was read again");
        let heard = following.ask(0).await;
        assert_eq!(heard.is_allow(), is_open, "at {instant}: {heard:?}");
        assert!(heard.is_allow() || heard.is_refusal(), "at {instant}: {heard:?}");
    }
    following.works(&databases, 0).await;
}

/// A wall clock that goes on by itself, and can be set.
#[derive(Debug)]
struct Settable {
    /// What it shows when the machine's counting clock shows zero.
    zero: Mutex<Timestamp>,
}

impl Settable {
    fn at(now: Timestamp) -> Self {
        Self { zero: Mutex::new(now - SignedDuration::try_from(elapsed()).unwrap()) }
    }

    fn turn(&self, by: jiff::Span) {
        let mut zero = self.zero.lock().unwrap();
        *zero += by;
    }
}

impl Clock for Settable {
    fn now(&self) -> Timestamp {
        *self.zero.lock().unwrap() + SignedDuration::try_from(elapsed()).unwrap()
    }

    fn elapsed(&self) -> Duration {
        elapsed()
    }

    fn is_wall(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_wall_clock_that_steps_hides_no_revocation() {
    let (databases, clock, following) = today(SignedDuration::ZERO, "SELECT 'whole'").await;
    following.works(&databases, 1).await;
    for hours in [1, -2, 3] {
        following.ask_until("ana may read", 1, Heard::is_allow).await;
        clock.turn(hours.hours());
        let committed = databases.write(Source::Store, revoke(1)).await;
        following.denied_in_time(1, committed).await;
        databases.write(Source::Store, lift(1)).await;
    }
    following.works(&databases, 1).await;
    // A poll that began before the last turn may still have had the word.
    let skew = || following.facts.feeds()[0].skew_seconds.expect("both clocks are known");
    wait_for("ours is known to be two hours ahead", async || skew() < -3_600.0).await;
}

/// The demo world as if its day were today, after `change` of the store, and a clock of ours that differs from the
/// databases' by this.
async fn today(ahead: SignedDuration, change: &str) -> (Databases, Arc<Settable>, Following) {
    let databases = Databases::on(Postgres::shared()).await;
    for source in [Source::App, Source::Store] {
        databases.write(source, TO_TODAY).await;
    }
    databases.write(Source::Store, change).await;
    let clock = Arc::new(Settable::at(SystemClock.now() + ahead));
    let following = Following::start(&databases, How { clock: clock.clone(), ..How::within(STALENESS) });
    let is_known = async || following.facts.feeds().iter().all(|feed| feed.skew_seconds.is_some());
    wait_for("the databases' clocks are known", is_known).await;
    (databases, clock, following)
}

/// Far more than a poll can take, and far less than a test may.
const APART: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_millis(2_500);

/// A feed that is not whole comes to no poll: the clock is read all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_ends_by_the_clock_that_wrote_its_end_though_ours_is_behind() {
    for change in ["SELECT 'whole'", "ALTER TABLE assignments DISABLE TRIGGER chaperone_row"] {
        let (databases, _clock, following) = today(-SignedDuration::try_from(APART).unwrap(), change).await;
        following.ask_until("ana may read", 1, Heard::is_allow).await;
        let ends = format!(
            "UPDATE assignments SET valid_to = clock_timestamp() + interval '{} ms' WHERE id = 'LA1'",
            SOON.as_millis()
        );
        let written = databases.write(Source::Store, ends).await;
        let mut allows = 0;
        loop {
            let heard = following.ask(1).await;
            if heard.is_refusal() {
                assert!(heard.released < written + APART, "by our clock it is open for another moment: {heard:?}");
                break;
            }
            assert!(heard.is_allow() && heard.asked < written + SOON, "it is over: {heard:?}, written at {written:?}");
            allows += 1;
        }
        assert!(allows > 0, "it was open at first");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_starts_by_the_clock_that_wrote_its_start_though_ours_is_ahead() {
    let (databases, _clock, following) = today(SignedDuration::try_from(APART).unwrap(), "SELECT 'whole'").await;
    following.ask_until("ana may read", 1, Heard::is_allow).await;
    let starts = format!(
        "UPDATE assignments SET valid_from = clock_timestamp() + interval '{} ms' WHERE id = 'LA1'",
        SOON.as_millis()
    );
    let sent = elapsed();
    let written = databases.write(Source::Store, starts).await;
    following.denied_in_time(1, written).await;
    let heard = following.ask_until("it has started", 1, Heard::is_allow).await;
    assert!(heard.released >= sent + SOON, "it has not started: {heard:?}, sent at {sent:?}");
}
