//! This process among the others on the same store: noted before its doors open, and passing the barriers that anybody asks for.

use std::{fs, sync::Arc, time::Duration};

use serde_json::{Value as Json, json};

use super::{AppError, House, Process};
use crate::{admin::sidecars::Sidecar, audit::Trail, config::Config, telemetry::Chain};

/// What `/readyz?verbose` calls it, where it is not noted.
const COMPONENT: &str = "sidecars";
/// How soon a barrier is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The same while the store is away or lacks its tables: it is not to be filled with errors.
const LOOK_EVERY_IN_VAIN: Duration = Duration::from_secs(2);
/// How often it is said that this process lives. On SQLite each commit makes everyone read the file's facts again.
const BEAT_EVERY: Duration = Duration::from_secs(10);
/// What a store that is away may cost a start, and an end.
const STORE_WAIT: Duration = Duration::from_secs(2);
/// A barrier over all waits for this long on top of S, and no longer than a call to the listener may take.
const ON_TOP: Duration = Duration::from_secs(3);
const BARRIER_WAIT_MAX: Duration = Duration::from_secs(9);
/// The listener's own limit would say nothing of the store.
const BARRIER_ANSWER_MAX: Duration = Duration::from_millis(9_500);

/// How this process is called.
pub(super) fn own(process: Process, config: &Config, trail: &Trail) -> Sidecar {
    // A name for people: which machine, or which pod. Where the system gives none, the id tells it apart as well.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Sidecar {
        id: trail.status().writer,
        process: process.as_str(),
        host: host.trim().chars().take(64).collect(),
        staleness: Duration::from_millis(config.entities.staleness_ms),
    }
}

/// Notes it before anybody can be answered; says whether that was done. Where the store is away, or refuses, it is noted
/// later, and until then no feed is followed: every fact is read for each question, so that nothing kept can allow what a
/// barrier has called revoked.
pub(super) async fn appear(house: &House) -> bool {
    if house.store.is_none() {
        return true;
    }
    let noting = house.admin.appear(&house.sidecar, &house.config.audit.dir);
    match tokio::time::timeout(STORE_WAIT, noting).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(error = %Chain(&error), "barriers over all sidecars do not know this one yet");
            tell_unnoted(house, &Chain(&error).to_string());
            false
        }
        Err(_elapsed) => {
            tracing::warn!("the store does not answer: barriers over all sidecars do not know this one yet");
            tell_unnoted(house, "the store does not answer");
            false
        }
    }
}

fn tell_unnoted(house: &House, why: &str) {
    house.lifecycle.readiness.degraded(
        COMPONENT,
        format!("this process is not noted in the store, so every fact is read for each question: {why}"),
    );
}

/// The shipped frames of both are held, since each is a writer of its own. Nobody is refused: which of the two is the copy,
/// a process cannot know.
fn tell_followed(house: &House, follower: &str) {
    let own = &house.sidecar.id;
    tracing::warn!(own, follower, "another process began behind this trail's records: its folder was copied");
    house.lifecycle.readiness.degraded(
        COMPONENT,
        format!(
            "writer {follower} began behind the records of this process, writer {own}, which lives: the folder of its trail \
             was copied. Stop one of the two, and give it a fresh folder"
        ),
    );
}

/// Looks for barriers until nothing is answered any more: what is in flight is still waited for. Follows the feeds once it
/// is noted, where it was not.
pub(super) fn watch(house: &Arc<House>, mut is_noted: bool) {
    if house.store.is_none() {
        return;
    }
    let house = Arc::clone(house);
    let flushing = house.lifecycle.stages().flushing.clone();
    let lifecycle = house.lifecycle.clone();
    lifecycle.watch("sidecars", async move {
        let mut beat_at = Duration::ZERO;
        loop {
            let now = house.clock.elapsed();
            let is_beat_due = now >= beat_at;
            let look = house.admin.look_for_barriers(&house.sidecar, is_beat_due);
            let looked = tokio::select! {
                looked = look => looked,
                () = flushing.cancelled() => return Ok::<(), AppError>(()),
            };
            let mut rest = LOOK_EVERY;
            match looked {
                Ok(follower) => {
                    if is_beat_due {
                        beat_at = now + BEAT_EVERY;
                    }
                    if !is_noted {
                        is_noted = true;
                        house.lifecycle.readiness.ready(COMPONENT, "noted in the store");
                        super::facts::follow(&house)?;
                    }
                    if let Some(follower) = follower {
                        tell_followed(&house, &follower);
                    }
                }
                Err(error) => {
                    tracing::debug!(error = %Chain(&error), "barriers over all sidecars wait for the store");
                    if !is_noted {
                        tell_unnoted(&house, &Chain(&error).to_string());
                    }
                    rest = LOOK_EVERY_IN_VAIN;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = flushing.cancelled() => return Ok(()),
            }
        }
    });
}

/// Takes it out, once the trail is closed: without a record nothing is answered any more.
pub(super) async fn disappear(house: &House) {
    if house.store.is_none() {
        return;
    }
    match tokio::time::timeout(STORE_WAIT, house.admin.disappear(&house.sidecar)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = %Chain(&error), "the store still names this sidecar"),
        Err(_elapsed) => tracing::debug!("the store still names this sidecar"),
    }
}

/// What `POST /admin/v1/barrier` with `"scope":"all"` answers.
pub(super) async fn barrier(house: &House) -> Result<Json, String> {
    let wait = (house.sidecar.staleness + ON_TOP).min(BARRIER_WAIT_MAX);
    // A server that is frozen ends no connection: what is asked of it is answered by nobody.
    let limit = (wait + STORE_WAIT).min(BARRIER_ANSWER_MAX);
    let asking = tokio::time::timeout(limit, house.admin.barrier_everywhere(&house.sidecar, wait));
    let everywhere =
        asking.await.map_err(|_elapsed| "nothing can be said of all sidecars: the store does not answer")?;
    let everywhere = everywhere.map_err(|error| Chain(&error).to_string())?;
    let word = if everywhere.in_force { "reached" } else { "not_reached" };
    let mut told = json!({ "barrier": word });
    if let (Json::Object(told), Ok(Json::Object(whole))) = (&mut told, serde_json::to_value(&everywhere)) {
        told.extend(whole);
    }
    Ok(told)
}

/// What `GET /admin/v1/status` says of all on the store: it is asked most of all where something is wrong, the store too.
pub(super) async fn told(house: &House) -> Option<Json> {
    house.store.as_ref()?;
    Some(match tokio::time::timeout(STORE_WAIT, house.admin.sidecars()).await {
        Ok(Ok(all)) => serde_json::to_value(&all).unwrap_or_default(),
        Ok(Err(error)) => json!({ "unknown": Chain(&error).to_string() }),
        Err(_elapsed) => json!({ "unknown": "the store does not answer" }),
    })
}
