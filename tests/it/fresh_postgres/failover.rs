//! A standby is not read; one that becomes the primary is, and knows everything that was revoked before.

use std::{os::unix::fs::symlink, path::Path, sync::Arc, time::Duration};

use chaperone::domain::mapping::Source;

use crate::helpers::{
    callers::{Callers, Revoked},
    following::{Databases, Following, Heard, How, elapsed, lift, revoke, wait_for},
    postgres::Postgres,
};

const STALENESS: Duration = Duration::from_secs(2);

/// Where clients look for the primary, as a service's address would be: leads to another server from now on.
fn lead(address: &Path, postgres: &Postgres) {
    let next = address.with_extension("next");
    symlink(postgres.folder(), &next).unwrap();
    std::fs::rename(next, address).unwrap();
}

fn is_refused_as_standby(following: &Following) -> bool {
    [Source::App, Source::Store].into_iter().all(|source| {
        following.lease_age(source).is_none()
            && following.trouble(source).is_some_and(|trouble| trouble.contains("standby"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_safe_and_short() {
    let primary = Postgres::start();
    let databases = Databases::on(&primary).await;
    let standby = primary.standby();
    let replica = databases.at(standby.folder());
    wait_for("the standby has followed", async || {
        replica.number(Source::Store, "SELECT count(*) FROM chaperone_feed").await == 1
    })
    .await;

    // Whoever is sent to the standby gets nothing from it, though it answers every query.
    let astray = Following::start(&replica, How::within(STALENESS));
    wait_for("the feeds refuse a standby", async || is_refused_as_standby(&astray)).await;
    for _ in 0..10 {
        let heard = astray.ask(1).await;
        assert!(heard.is_outage(), "{heard:?}");
    }

    let home = tempfile::Builder::new().prefix("chp-").tempdir_in("/tmp").unwrap();
    let address = home.path().join("primary");
    lead(&address, &primary);
    let databases = databases.at(&address);
    let following = Arc::new(Following::start(&databases, How::within(STALENESS)));
    following.works(&databases, 1).await;
    let pause = Duration::from_millis(2);
    let callers = Callers::start(&following, 4, pause, |caller, turn| 1 + (caller + turn) % 4);
    for lane in 1..=4 {
        following.ask_until("ana may read", lane, Heard::is_allow).await;
    }

    let committed = databases.write(Source::Store, revoke(1)).await;
    // In order: what was committed is on the standby.
    primary.stop();
    lead(&address, &standby);
    let led = elapsed();
    wait_for("the feeds refuse a standby", async || is_refused_as_standby(&following)).await;
    tokio::time::sleep(STALENESS + Duration::from_millis(500)).await;
    let promoting = elapsed();
    standby.promote();
    let promoted = elapsed();
    let allowed = following.ask_until("the new primary is read", 2, Heard::is_allow).await;
    following.wait_for_lease().await;
    let leased = elapsed();

    let committed_after = databases.write(Source::Store, revoke(2)).await;
    let lag = following.denied_in_time(2, committed_after).await;
    tokio::time::sleep(STALENESS + Duration::from_millis(200)).await;
    let lifted = elapsed();
    databases.write(Source::Store, format!("{}; {}", lift(1), lift(2))).await;
    for lane in [1, 2] {
        following.ask_until("what is lifted on the new primary is allowed", lane, Heard::is_allow).await;
    }
    astray.works(&databases, 3).await;
    following.works(&databases, 4).await;
    let heard = callers.stop().await;

    println!(
        "failover: allowed {:.1?} and followed {:.1?} after the promotion, which took {:.1?}; a revocation on the new primary within {lag:.1?}",
        allowed.released.saturating_sub(promoted),
        leased.saturating_sub(promoted),
        promoted - promoting,
    );
    for revoked in [
        Revoked { lane: 1, sent: committed, committed, lifted },
        Revoked { lane: 2, sent: committed_after, committed: committed_after, lifted },
    ] {
        let seen = revoked.seen(&heard, STALENESS);
        assert!(seen.judged > 0, "{revoked:?}");
        assert!(seen.late.is_empty(), "{revoked:?}: {seen:#?}");
    }
    let meanwhile = heard.iter().filter(|heard| heard.asked > led && heard.released < promoting);
    let (count, allows) =
        meanwhile.fold((0, 0), |(count, allows), heard| (count + 1, allows + u32::from(heard.is_allow())));
    assert!(count >= 4 && allows == 0, "{allows} of {count} answers were allows while there was no primary");
}
