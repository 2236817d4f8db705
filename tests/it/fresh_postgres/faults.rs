//! The server fails under callers: nothing is allowed that the bound forbids, and everything heals by itself.

use std::{sync::Arc, time::Duration};

use chaperone::domain::mapping::Source;

use crate::helpers::{
    callers::{Callers, Revoked},
    following::{Databases, Following, Heard, How, elapsed, lift, revoke},
    postgres::Postgres,
};

const CALLERS: usize = 4;

/// A server of its own under callers that ask about lanes 1 to 4.
struct Scene {
    postgres: Postgres,
    databases: Databases,
    following: Arc<Following>,
    callers: Callers,
}

impl Scene {
    async fn set(staleness: Duration) -> Self {
        let postgres = Postgres::start();
        let databases = Databases::on(&postgres).await;
        let following = Arc::new(Following::start(&databases, How::within(staleness)));
        following.works(&databases, 1).await;
        let pause = Duration::from_millis(2);
        let callers = Callers::start(&following, CALLERS, pause, |caller, turn| 1 + (caller + turn) % CALLERS);
        for lane in 1..=CALLERS {
            following.ask_until("ana may read", lane, Heard::is_allow).await;
        }
        Self { postgres, databases, following, callers }
    }

    /// The fault is over at `healed`: says how long it took until an allow, checks that all works, and gives the answers.
    async fn heals(self, name: &str, healed: Duration) -> Vec<Heard> {
        let allowed = self.following.ask_until("ana is allowed again", 2, Heard::is_allow).await;
        self.following.wait_for_lease().await;
        let lease = elapsed();
        let lag = self.following.works(&self.databases, 3).await;
        let heard = self.callers.stop().await;
        println!(
            "{name}: allowed {:.1?} and followed {:.1?} after it was over, then a revocation within {lag:.1?}; {} answers, {} of them without facts",
            allowed.released.saturating_sub(healed),
            lease.saturating_sub(healed),
            heard.len(),
            heard.iter().filter(|heard| heard.is_outage()).count(),
        );
        heard
    }
}

/// No answer that left between the two instants is an allow, and there are such answers.
fn only_outages(heard: &[Heard], from: Duration, to: Duration) {
    let between: Vec<_> = heard.iter().filter(|heard| heard.released > from && heard.asked < to).collect();
    let between: Vec<_> = between.into_iter().filter(|heard| heard.released < to).collect();
    assert!(!between.is_empty(), "nobody was answered meanwhile");
    for heard in between {
        assert!(heard.is_outage(), "{heard:?} between {from:?} and {to:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_is_cut_off_hides_no_revocation() {
    let scene = Scene::set(Duration::from_secs(2)).await;
    let (databases, following) = (scene.databases.clone(), Arc::clone(&scene.following));
    let mut revoked = Vec::new();
    for round in 0..20 {
        let lane = 1 + round % CALLERS;
        // Committed before the feed can be back.
        let both = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name IN ('chaperone-feed', 'chaperone-hint') AND datname = current_database(); {}",
            revoke(lane)
        );
        let committed = databases.write(Source::Store, both).await;
        let lag = following.denied_in_time(lane, committed).await;
        if round == 0 {
            println!("a feed that was cut off: denied {lag:.1?} after the commit");
        }
        revoked.push(Revoked { lane, sent: committed, committed, lifted: elapsed() });
        databases.write(Source::Store, lift(lane)).await;
        following.ask_until("ana is allowed again", lane, Heard::is_allow).await;
    }
    // The loads' connections go away as well, in the middle of whatever they do.
    databases
        .write(
            Source::App,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'chaperone%'",
        )
        .await;
    let heard = scene.heals("terminated backends", elapsed()).await;
    for revoked in revoked {
        let seen = revoked.seen(&heard, following.staleness);
        assert!(seen.late.is_empty(), "{revoked:?}: {seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_for_long_takes_the_allows_with_it() {
    // The bound is a fifteenth of the default, so is the time that the server is away; `scripts/test --long` makes the
    // last outage 30 s.
    let staleness = Duration::from_millis(500);
    let scene = Scene::set(staleness).await;
    for (name, take) in [("stopped", Postgres::stop as fn(&Postgres)), ("killed", Postgres::kill)] {
        take(&scene.postgres);
        let gone = elapsed();
        tokio::time::sleep(staleness * 8).await;
        let heard = scene.following.ask(1).await;
        assert!(heard.is_outage(), "{name}: {heard:?}");
        assert_eq!(scene.following.lease_age(Source::Store), None, "{name}");
        let trouble = scene.following.trouble(Source::App).unwrap();
        assert!(trouble.contains("no connection"), "{name}: {trouble}");
        assert!(elapsed() > gone + staleness * 8);
        scene.postgres.restart();
        scene.following.ask_until("ana is allowed again", 1, Heard::is_allow).await;
        scene.following.works(&scene.databases, 1).await;
    }
    scene.postgres.stop();
    let gone = elapsed();
    let seconds = std::env::var("CHAPERONE_OUTAGE_SECONDS").map(|seconds| seconds.parse().expect("seconds"));
    tokio::time::sleep(seconds.map_or(staleness * 4, Duration::from_secs)).await;
    let back = elapsed();
    scene.postgres.restart();
    let heard = scene.heals("a server that was stopped", elapsed()).await;
    only_outages(&heard, gone + staleness, back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_freezes_is_believed_no_longer_than_the_bound() {
    let staleness = Duration::from_secs(1);
    let scene = Scene::set(staleness).await;
    scene.postgres.pause();
    let frozen = elapsed();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let thawed = elapsed();
    scene.postgres.resume();
    let heard = scene.heals("a server that was frozen for 5 s", elapsed()).await;
    only_outages(&heard, frozen + staleness, thawed);
}
