//! The facts room: connected, checked against the mapping, and watched for coming back.

use std::{sync::Arc, time::Duration};

use super::{AppError, House};
use crate::{
    clock::Clock,
    config::{Config, SourceConfig},
    domain::mapping::Source,
    engine::Bundle,
    entities::{Caution, Facts, FactsOptions, FeedReport, FollowOptions, PoolOptions, Problem},
    telemetry::{FactsSeen, Metrics, Readiness},
};

/// How often a database that is away, or was, is asked again.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// A database whose clock differs by more than this is told of; by more than the other, windows cannot be judged.
const SKEW_TOLD_SECONDS: f64 = 1.0;
const SKEW_MAX_SECONDS: f64 = 5.0;

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
        staleness: Duration::from_millis(config.entities.staleness_ms),
        keep_bytes: config.entities.cache_bytes,
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
    match away.first() {
        None => readiness.ready("facts", "the databases answer"),
        Some(problem) => readiness.not_ready("facts", problem.to_string()),
    }
    Ok(())
}

/// What the databases and their feeds are at, for probes.
#[derive(Debug)]
struct Look {
    /// Since when a database is away, on the clock's elapsed time.
    away_since: Option<Duration>,
    /// What the log was told of.
    cautions: Vec<Caution>,
}

/// Keeps readiness true to the databases and to the feeds.
pub(super) fn watch(house: &Arc<House>) {
    let house = Arc::clone(house);
    let stopping = house.lifecycle.stages().stopping.clone();
    let lifecycle = house.lifecycle.clone();
    lifecycle.watch("facts check", async move {
        let mut look = Look { away_since: None, cautions: Vec::new() };
        while !stopping.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(CHECK_EVERY) => {}
                () = stopping.cancelled() => break,
            }
            let away = house.facts.away().await;
            look.caution(house.facts.cautions().await);
            look.tell(&house, &away);
            super::tell_trail(&house);
        }
        Ok::<(), AppError>(())
    });
}

/// Follows each database that has a change feed, on a thread of its own.
pub(super) fn follow(house: &Arc<House>) -> Result<(), AppError> {
    if let Some(bundle) = house.live.current() {
        house.facts.watch(&bundle.mapping);
    }
    let metrics = house.metrics.clone();
    let options = FollowOptions {
        poll: Duration::from_millis(house.config.entities.poll_ms),
        hint: house.config.entities.hint,
        on_lag: Arc::new(move |lag| metrics.change_taken_in(lag.as_secs_f64())),
    };
    for follower in house.facts.followers(&options) {
        let name = match follower.source() {
            Source::App => "feed app",
            Source::Store => "feed store",
        };
        house.lifecycle.watch_thread(name, move |stages| follower.run(stages.flushing.clone().cancelled_owned()))?;
    }
    let facts = Arc::clone(&house.facts);
    house.metrics.watch_facts(move || seen(&facts));
    Ok(())
}

fn seen(facts: &Facts) -> FactsSeen {
    let (kept, feeds) = (facts.keep_stats(), facts.feeds());
    FactsSeen {
        hits: kept.hits,
        misses: kept.misses,
        entries: kept.entries,
        silences: feeds.iter().map(|feed| (feed.source, feed.silence)).collect(),
        skews: feeds.iter().filter_map(|feed| Some((feed.source, feed.skew_seconds?))).collect(),
    }
}

/// What `POST /admin/v1/barrier` answers: how each source got past it.
pub(super) async fn barrier(facts: &Facts) -> Result<serde_json::Value, String> {
    let passed = facts.barrier().await.map_err(|error| error.to_string())?;
    let passed =
        passed.into_iter().map(|(source, how)| (source.as_str().to_owned(), serde_json::Value::from(how.as_str())));
    Ok(passed.collect())
}

impl Look {
    /// Told to the log when it is new, and to whoever asks as long as it stands.
    fn caution(&mut self, cautions: Vec<Caution>) {
        for caution in cautions.iter().filter(|caution| !self.cautions.contains(caution)) {
            tracing::warn!("{caution}");
        }
        self.cautions = cautions;
    }

    fn tell(&mut self, house: &House, away: &[Problem]) {
        let readiness = &house.lifecycle.readiness;
        let now = house.clock.elapsed();
        let Some(problem) = away.first() else {
            self.away_since = None;
            return tell_feeds(house, &house.facts.feeds(), &self.cautions);
        };
        let since = *self.away_since.get_or_insert(now);
        let patience = Duration::from_millis(house.config.entities.staleness_ms) * 3;
        // Decisions are denied from the first moment; a probe that gave up as quickly would restart what comes back.
        if now.saturating_sub(since) >= patience || !readiness.report().started {
            readiness.not_ready("facts", problem.to_string());
        } else {
            readiness.degraded("facts", problem.to_string());
        }
    }
}

fn tell_feeds(house: &House, feeds: &[FeedReport], cautions: &[Caution]) {
    let readiness = &house.lifecycle.readiness;
    let staleness = Duration::from_millis(house.config.entities.staleness_ms);
    let skewed = feeds.iter().find(|feed| feed.skew_seconds.is_some_and(|skew| skew.abs() > SKEW_MAX_SECONDS));
    if let Some(feed) = skewed {
        let skew = feed.skew_seconds.unwrap_or_default();
        let source = feed.source.as_str();
        return readiness.not_ready(
            "facts",
            format!("the clock of source `{source}` is {skew:+.1} s off: windows cannot be judged; set the clocks"),
        );
    }
    let without: Vec<String> = feeds.iter().filter_map(|feed| untrusted(feed, staleness)).collect();
    match without.as_slice() {
        [] => readiness.ready("facts", heard_of(feeds, cautions)),
        reasons => {
            readiness.degraded("facts", format!("every fact is read for each question: {}", reasons.join(" · ")))
        }
    }
}

/// Why nothing kept of this source is used; `None`: it is.
fn untrusted(feed: &FeedReport, staleness: Duration) -> Option<String> {
    let source = feed.source.as_str();
    match (&feed.trouble, feed.lease_age) {
        (Some(trouble), None) => Some(format!("source `{source}`: {trouble}")),
        (None, None) => Some(format!("source `{source}`: its change feed was not heard of yet")),
        (_, Some(age)) if age > staleness => {
            Some(format!("source `{source}`: its change feed was last heard of {} ms ago", age.as_millis()))
        }
        (_, Some(_)) => None,
    }
}

fn heard_of(feeds: &[FeedReport], cautions: &[Caution]) -> String {
    let mut text = "the databases answer".to_owned();
    for feed in feeds {
        if let Some(age) = feed.lease_age {
            text.push_str(&format!("; source `{}` was heard of {} ms ago", feed.source.as_str(), age.as_millis()));
        }
        if let Some(skew) = feed.skew_seconds.filter(|skew| skew.abs() > SKEW_TOLD_SECONDS) {
            text.push_str(&format!(", its clock is {skew:+.1} s off"));
        }
    }
    for caution in cautions {
        text.push_str(&format!("; {caution}"));
    }
    text
}
