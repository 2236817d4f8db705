//! Facts are kept, and still a grant is in force for the next decision: this process's own commits need no feed.

use std::{sync::Arc, time::Duration};

use chaperone::{admin::grants::End, entities::FollowOptions};
use tokio_util::sync::CancellationToken;

use super::{Clinic, person, wish};
use crate::helpers::{
    authorizer::shipped,
    following::{Databases, wait_for},
    postgres::Postgres,
    world::World,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_in_force_before_any_feed_tells_of_it() {
    let databases = Databases::on(Postgres::shared()).await;
    let clinic = Clinic::on(World::Postgres { app: databases.app.clone(), store: databases.store.clone() }).await;
    let facts = Arc::clone(clinic.authorizing.facts());
    facts.watch(&shipped().current().unwrap().mapping);
    // Slower than this test: whatever is in force at once, no poll has told of it.
    let follow = FollowOptions { poll: Duration::from_secs(15), hint: false, on_lag: Arc::new(|_lag| {}) };
    let stop = CancellationToken::new();
    let threads: Vec<_> = facts
        .followers(&follow)
        .into_iter()
        .map(|follower| {
            let stop = stop.clone();
            std::thread::spawn(move || follower.run(stop.cancelled_owned()).unwrap())
        })
        .collect();
    wait_for("facts are kept", async || {
        let before = facts.keep_stats().hits;
        assert!(!clinic.reads("ana", "C4", "clin.summary").await);
        facts.keep_stats().hits > before
    })
    .await;
    let grant = clinic.ask("ana", &wish("ana", "C4", "EMERG_TREAT", "Client unreachable and in danger")).await.unwrap();
    assert!(clinic.reads("ana", "C4", "clin.summary").await, "in force at once");
    assert!(clinic.reads("ana", "C4", "clin.summary").await);
    let permitted = clinic.admin.ask_to_end(&person("ana"), &grant.grant_id).await.unwrap();
    clinic.admin.step(&permitted, &grant.grant_id, &End, None, None).await.unwrap();
    assert!(!clinic.reads("ana", "C4", "clin.summary").await, "over at once");
    stop.cancel();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
