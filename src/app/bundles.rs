//! Bundles: the first one must be good, later ones go live whole or not at all.

use std::sync::Arc;

use super::{AppError, House};
use crate::{
    authorize,
    config::{AuditCapture, Config, PoliciesConfig},
    domain::{Record, RecordKind, Tier},
    engine::{
        Bundle,
        live::{Live, Reload, ReloadFailure},
        load::BundlePaths,
        problem::{Problem, Problems},
    },
    telemetry::{Chain, Metrics, ReloadResult},
    watch::{Pace, Watch},
};

fn paths(config: &PoliciesConfig) -> BundlePaths {
    BundlePaths { policies: config.dir.clone(), schemas: config.schemas.clone(), cache: config.cache_dir.clone() }
}

/// Loads the bundle that the process starts with; warnings are logged, errors end the start.
pub(super) fn load_first(config: &PoliciesConfig, metrics: &Metrics) -> Result<Live, AppError> {
    let (bundle, warnings) = Bundle::load(&paths(config)).map_err(AppError::Bundle)?;
    warn(&warnings);
    metrics.policies_live(&bundle.revision);
    Ok(Live::new(bundle))
}

/// Keeps a copy of the files by their digest, where decisions are captured.
pub(super) fn keep(config: &Config, revision: &str) {
    if config.audit.capture == AuditCapture::Off {
        return;
    }
    if let Err(error) = paths(&config.policies).keep(revision, &authorize::bundles_folder(&config.audit.dir)) {
        tracing::error!(error = %Chain(&error), %revision, "the bundle is not kept: what it decides cannot be derived again");
    }
}

fn warn(warnings: &Problems) {
    for warning in &warnings.0 {
        tracing::warn!("{warning}");
    }
}

/// Watches the folders and swaps in what changed, off the request threads.
pub(super) fn watch(house: &Arc<House>) -> Result<(), AppError> {
    let watched = paths(&house.config.policies);
    let folders = vec![watched.policies.clone(), watched.schemas.clone()];
    let digest = move || watched.digest().ok().map(|digest| digest.to_string());
    let (watching, mut changes) = Watch::start(folders, Pace::default(), digest).map_err(AppError::Watch)?;
    let house = Arc::clone(house);
    let lifecycle = house.lifecycle.clone();
    let stopping = house.lifecycle.stages().stopping.clone();
    lifecycle.watch("policy watch", async move {
        // Dropped with this task: then the watch ends too.
        let _watching = watching;
        loop {
            tokio::select! {
                changed = changes.recv() => if changed.is_none() { return Err("the watcher of the policy folders ended") },
                () = stopping.cancelled() => return Ok(()),
            }
            let found = Arc::clone(&house);
            match tokio::task::spawn_blocking(move || read(&found)).await {
                Ok(found) => {
                    let outcome = take(&house, found).await;
                    announce(&house, outcome).await;
                }
                Err(error) => tracing::error!(%error, "reading the policies panicked; the last good bundle stays"),
            }
        }
    });
    Ok(())
}

/// What lies in the folders.
enum Found {
    Live,
    KnownBad,
    Changed(Box<Bundle>),
    Bad(Option<Arc<str>>, Problems),
}

/// What became of it.
enum Outcome {
    Same,
    Live(Arc<str>),
    Refused(Option<Arc<str>>, Problems),
}

/// Parses and validates, away from the threads that answer.
fn read(house: &House) -> Found {
    let paths = paths(&house.config.policies);
    let digest = match paths.digest() {
        Ok(digest) => digest,
        Err(problems) => return Found::Bad(None, problems),
    };
    match house.live.reload_for(&digest) {
        Reload::Current => Found::Live,
        Reload::Refused => Found::KnownBad,
        Reload::Load => match Bundle::load(&paths) {
            Ok((bundle, warnings)) => {
                warn(&warnings);
                keep(&house.config, &bundle.revision);
                Found::Changed(Box::new(bundle))
            }
            Err(problems) => Found::Bad(Some(digest), problems),
        },
    }
}

/// Swaps a good bundle in, once its mapping fits the databases.
async fn take(house: &House, found: Found) -> Outcome {
    match found {
        Found::Live => {
            house.live.recovered();
            house.lifecycle.readiness.ready("policies", "a bundle is live");
            Outcome::Same
        }
        Found::KnownBad => Outcome::Same,
        Found::Bad(revision, problems) => Outcome::Refused(revision, problems),
        Found::Changed(bundle) => {
            let misfits = house.facts.check(&bundle.mapping).await;
            let misfits: Vec<Problem> = misfits
                .iter()
                .filter(|misfit| !misfit.is_unreachable())
                .map(|misfit| Problem::error(misfit.to_string()))
                .collect();
            let revision = bundle.revision.clone();
            if !misfits.is_empty() {
                return Outcome::Refused(Some(revision), Problems(misfits));
            }
            // The feeds look at what it reads; until they have, its facts are read for each question.
            house.facts.watch(&bundle.mapping);
            house.live.swap(*bundle);
            Outcome::Live(revision)
        }
    }
}

/// Says what became of a change: log, metric, readiness, and a record.
async fn announce(house: &House, outcome: Outcome) {
    let readiness = &house.lifecycle.readiness;
    let mut record = Record::new(RecordKind::Policy, house.clock.now());
    match outcome {
        Outcome::Same => return,
        Outcome::Live(revision) => {
            house.metrics.policies_live(&revision);
            house.metrics.reloaded(ReloadResult::Live);
            readiness.ready("policies", "a bundle is live");
            tracing::info!(%revision, "a changed bundle is live");
            record.detail.insert("event".into(), "live".into());
            record.detail.insert("revision".into(), revision.to_string().into());
        }
        Outcome::Refused(revision, problems) => {
            house.metrics.reloaded(ReloadResult::Refused);
            let live = house.live.current().map(|bundle| bundle.revision.to_string()).unwrap_or_default();
            let first = problems.0.first().map(|problem| problem.message.clone()).unwrap_or_default();
            readiness.degraded("policies", format!("a changed bundle was refused, {live} stays live: {first}"));
            tracing::error!(refused = revision.as_deref().unwrap_or("unreadable"), %live, "a changed bundle was refused; the last good one stays:\n{problems}");
            record.detail.insert("event".into(), "refused".into());
            record.detail.insert("revision".into(), revision.as_deref().unwrap_or("unreadable").into());
            record.detail.insert("problems".into(), problems.0.len().into());
            house.live.fail(ReloadFailure { revision, problems, at: house.clock.now() });
        }
    }
    if let Err(error) = house.trail.append((), record, Tier::Disk).await {
        tracing::error!(error = &error as &dyn std::error::Error, "the change of policies could not be recorded");
    }
}
