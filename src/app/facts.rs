//! The facts room: connected, checked against the mapping, and watched for coming back.

use std::{sync::Arc, time::Duration};

use super::{AppError, House};
use crate::{
    clock::Clock,
    config::{Config, SourceConfig},
    engine::Bundle,
    entities::{Facts, FactsOptions, PoolOptions, Problem},
    telemetry::{Metrics, Readiness},
};

/// How often a database that is away, or was, is asked again.
const CHECK_EVERY: Duration = Duration::from_secs(2);

pub(super) fn connect(config: &Config, clock: &Arc<dyn Clock>, metrics: &Metrics) -> Result<Facts, AppError> {
    let timeout = Duration::from_millis(config.entities.statement_timeout_ms);
    let pool = |source: Option<&SourceConfig>| PoolOptions {
        connections: source.map_or(1, |source| source.connections),
        statement_timeout: timeout,
    };
    let url = |source: Option<&SourceConfig>| source.map(|source| source.url.expose().to_owned());
    let metrics = metrics.clone();
    let options = FactsOptions {
        app: url(config.sources.app.as_ref()),
        store: url(config.sources.store.as_ref()),
        app_pool: pool(config.sources.app.as_ref()),
        store_pool: pool(config.sources.store.as_ref()),
        slice_timeout: Duration::from_millis(config.limits.deadline_ms.saturating_mul(9) / 10),
        on_load: Some(Arc::new(move |source, took| metrics.facts_loaded(source, took.as_secs_f64()))),
        ..FactsOptions::default()
    };
    Ok(Facts::connect(options, Arc::clone(clock))?)
}

/// Compares the mapping with the databases before anything is bound. A mapping that does not fit is an error; a database
/// that is away is not: the sidecar starts, is not ready, and denies `data_unavailable` until it answers.
pub(super) async fn check_first(facts: &Facts, bundle: Option<&Bundle>, readiness: &Readiness) -> Result<(), AppError> {
    let Some(bundle) = bundle else { return Ok(()) };
    let problems = facts.check(&bundle.mapping).await;
    let (away, wrong): (Vec<_>, Vec<_>) = problems.into_iter().partition(Problem::is_unreachable);
    if !wrong.is_empty() {
        return Err(AppError::Mapping(wrong.iter().map(ToString::to_string).collect()));
    }
    tell(&away, readiness);
    Ok(())
}

fn tell(away: &[Problem], readiness: &Readiness) {
    match away.first() {
        None => readiness.ready("facts", "the databases answer"),
        Some(problem) => readiness.not_ready("facts", problem.to_string()),
    }
}

/// Keeps readiness true to the databases.
pub(super) fn watch(house: &Arc<House>) {
    let house = Arc::clone(house);
    let stopping = house.lifecycle.stages().stopping.clone();
    let lifecycle = house.lifecycle.clone();
    lifecycle.watch("facts check", async move {
        while !stopping.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(CHECK_EVERY) => {}
                () = stopping.cancelled() => break,
            }
            let away = house.facts.away().await;
            tell(&away, &house.lifecycle.readiness);
            super::tell_trail(&house);
        }
        Ok::<(), AppError>(())
    });
}
