//! What looks after changes beside the calls that make them: what a crash cut off is ended, grants and reviews are counted.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{AppError, House};
use crate::{config::GrantsConfig, domain::grant::GrantLimits, telemetry::Chain};

/// How often changes that nobody finished are looked for: those of a lost volume come of age while the process runs.
const RECOVER_EVERY: Duration = Duration::from_secs(3_600);
/// How often grants and reviews are counted.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

pub(super) fn limits(config: &GrantsConfig) -> GrantLimits {
    let seconds = |minutes: u64| i64::try_from(minutes.saturating_mul(60)).unwrap_or(i64::MAX);
    GrantLimits {
        default_seconds: seconds(config.default_minutes),
        most_seconds: seconds(config.most_minutes),
        extensions_max: i64::try_from(config.extensions).unwrap_or(i64::MAX),
    }
}

/// Ends what an earlier process began here and did not finish, as soon as the store answers; then counts.
pub(super) fn watch(house: &Arc<House>) {
    if house.store.is_none() {
        return;
    }
    let house = Arc::clone(house);
    let stopping = house.lifecycle.stages().stopping.clone();
    let lifecycle = house.lifecycle.clone();
    lifecycle.watch("changes", async move {
        let mut recover_at = Duration::ZERO;
        loop {
            let turn = turn(&house, &mut recover_at);
            // What is half done when the process ends is taken up by the next one.
            tokio::select! {
                () = turn => {}
                () = stopped(&stopping) => return Ok::<(), AppError>(()),
            }
            tokio::select! {
                () = tokio::time::sleep(MEASURE_EVERY) => {}
                () = stopping.cancelled() => return Ok::<(), AppError>(()),
            }
        }
    });
}

/// How long a turn may still take once the process stops.
const LAST_TURN: Duration = Duration::from_secs(2);

async fn stopped(stopping: &CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(LAST_TURN).await;
}

async fn turn(house: &House, recover_at: &mut Duration) {
    let now = house.clock.elapsed();
    if now >= *recover_at {
        match house.admin.recover(&house.config.audit.dir).await {
            Ok(count) => {
                *recover_at = now + RECOVER_EVERY;
                if count > 0 {
                    tracing::warn!(count, "records of changes that a crash cut off were taken back");
                }
            }
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "changes that were cut off wait for the store")
            }
        }
    }
    if let Err(error) = house.admin.settle_left().await {
        tracing::debug!(error = %Chain(&error), "changes that were cut off wait for the store");
    }
    if let Err(error) = house.admin.measure().await {
        tracing::debug!(error = %Chain(&error), "grants and reviews could not be counted");
    }
}
