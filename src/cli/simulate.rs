//! One question over the real path, without the trail: bundle, slice plan, facts, evaluation.
//!
//! Nothing here is recorded, so nothing here is an answer: no [`crate::audit::Recorded`] can be made of it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{exit::Exit, failure::Failure};
use crate::{
    clock::{Clock, SystemClock},
    config::{Config, SourceConfig},
    domain::{Evaluation, Reason, Request, Slice},
    engine::{Bundle, question::Question},
    entities::{Asking, Facts, FactsError, FactsOptions, PoolOptions},
};

/// What came of one question, and what it was judged by.
pub(super) struct Simulated {
    pub(super) evaluation: Evaluation,
    /// Absent where nothing could be loaded.
    pub(super) facts: Option<(Question, Slice)>,
    /// Why the facts could not be read.
    pub(super) unread: Option<FactsError>,
}

/// Judges `request` as of `now`.
pub(super) async fn ask(bundle: &Bundle, facts: &Facts, request: &Request, now: Timestamp) -> Simulated {
    let Ok(question) = bundle.question(request) else {
        let evaluation = bundle.denied_without_facts(None, Reason::UNKNOWN_PRINCIPAL);
        return Simulated { evaluation, facts: None, unread: None };
    };
    let plan = bundle.plan(&question);
    let asking = Asking {
        principal: question.principal.clone(),
        resource: question.resource.clone(),
        now,
        said_tenant: question.said_tenant.as_deref().map(str::to_owned),
        asserted: question.asserted.clone(),
    };
    match facts.slice(&bundle.mapping, &plan, &asking).await {
        Ok(slice) => {
            let evaluation = bundle.evaluate(&question, &slice, now);
            Simulated { evaluation, facts: Some((question, slice)), unread: None }
        }
        Err(error) => {
            let evaluation = bundle.denied_without_facts(Some(&question), Reason::DATA_UNAVAILABLE);
            Simulated { evaluation, facts: None, unread: Some(error) }
        }
    }
}

/// Opens the configured sources, read-only.
pub(super) fn configured_facts(config: &Config) -> Result<Facts, Failure> {
    if config.sources.app.is_none() && config.sources.store.is_none() {
        return Err(Failure::new(Exit::CannotRun, "no source of facts is configured")
            .next("name the databases under `sources`, or ask a running sidecar with --url or --socket"));
    }
    let timeout = Duration::from_millis(config.entities.statement_timeout_ms);
    let pool = |source: Option<&SourceConfig>| PoolOptions {
        connections: source.map_or(1, |source| source.connections),
        statement_timeout: timeout,
    };
    let url = |source: Option<&SourceConfig>| source.map(|source| source.url.expose().to_owned());
    let options = FactsOptions {
        app: url(config.sources.app.as_ref()),
        store: url(config.sources.store.as_ref()),
        app_pool: pool(config.sources.app.as_ref()),
        store_pool: pool(config.sources.store.as_ref()),
        ..FactsOptions::default()
    };
    connect(options)
}

pub(super) fn connect(options: FactsOptions) -> Result<Facts, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Facts::connect(options, clock)
        .map_err(|error| Failure::of(Exit::CannotRun, &error).next("look at `sources` in the configuration"))
}
