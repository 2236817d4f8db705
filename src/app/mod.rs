//! Builds every room once, joins them, and runs until asked to stop.
//!
//! Nothing is bound before the configuration, the bundle and the trail are good; nothing is answered before all of them
//! are. Background work is watched by `lifecycle`: when one worker dies, the process does.

mod bundles;
mod changes;
pub mod demo;
mod doors;
mod error;
mod facts;
mod notify;
mod process;
mod records;
mod shipping;
mod sidecars;
mod store;

use std::{sync::Arc, time::Duration};

use serde_json::json;

pub use doors::Listening;
pub use error::AppError;
pub use process::Process;
pub use records::{StoreRecords, reading_address, shipped_address};
pub use shipping::{address as shipping_address, ship};

use crate::{
    admin::{Admin, Rooms, sidecars::Sidecar},
    audit::{Captures, Trail, TrailConfig, TrailHealth, TrailStatus, retention::Retention},
    authorize::{Authorizer, Settings},
    clock::{Clock, FrozenClock},
    config::{AuditCapture, Config},
    engine::live::Live,
    entities::Facts,
    lifecycle::{self, Bounds, Lifecycle},
    store::Store,
    telemetry::Metrics,
};

/// Called once every listener is bound and everything is ready to answer.
pub type OnListening = Box<dyn FnOnce(&Listening) -> Result<(), AppError> + Send>;

/// What one process is made of, beyond its configuration.
pub struct Start {
    /// Which doors are opened.
    pub process: Process,
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    /// The demo's clock, which callers may move.
    pub demo_clock: Option<FrozenClock>,
    /// Told once every listener is bound and everything is ready to answer.
    pub on_listening: OnListening,
}

/// The rooms of a running process, shared by listeners and workers.
pub(super) struct House {
    pub(super) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) live: Arc<Live>,
    pub(super) facts: Arc<Facts>,
    /// For what is written to Chaperone's own tables.
    pub(super) store: Option<Arc<Store>>,
    pub(super) trail: Arc<Trail>,
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) admin: Arc<Admin>,
    /// This process, as others on the same store know it.
    pub(super) sidecar: Sidecar,
    pub(super) lifecycle: Lifecycle,
}

/// Runs the sidecar until it is asked to stop, or until something it cannot do without dies.
///
/// # Errors
///
/// [`AppError`] says what could not be built or what died; nothing is left half open.
pub async fn run(start: Start) -> Result<(), AppError> {
    let (lifecycle, watch) = Lifecycle::new();
    lifecycle.readiness.expect(&["policies", "facts", "trail"]);
    let live = Arc::new(bundles::load_first(&start.config.policies, &start.metrics)?);
    lifecycle.readiness.ready("policies", "a bundle is live");
    let facts = Arc::new(facts::connect(&start.config, &start.clock, &start.metrics)?);
    let bundle = live.current();
    facts::check_first(&facts, bundle.as_deref(), &lifecycle.readiness).await?;
    let store = store::open(&start.config)?;
    let trail = Arc::new(Trail::open(trail_config(&start.config), Arc::clone(&start.clock))?);
    lifecycle.readiness.ready("trail", "the trail is open");
    let captures = captures(&start.config, &trail)?;
    if let Some(bundle) = &bundle {
        bundles::keep(&start.config, &bundle.revision);
    }
    let authorizer = Authorizer::new(
        Arc::clone(&live),
        Arc::clone(&facts),
        Arc::clone(&trail),
        Arc::clone(&start.clock),
        start.metrics.clone(),
        Settings {
            durability: start.config.audit.durability.default,
            durability_of_changes: start.config.audit.durability.changes,
        },
    );
    let authorizer = Arc::new(authorizer.capturing(captures.clone()));
    let admin = Admin::new(Rooms {
        authorizer: Arc::clone(&authorizer),
        live: Arc::clone(&live),
        facts: Arc::clone(&facts),
        trail: Arc::clone(&trail),
        store: store.clone(),
        clock: Arc::clone(&start.clock),
        metrics: start.metrics.clone(),
        limits: changes::limits(&start.config.grants),
    });
    let admin = Arc::new(match &start.config.grants.notify {
        Some(notify) => admin.telling(notify::notices(notify)),
        None => admin,
    });
    let house = Arc::new(House {
        sidecar: sidecars::own(start.process, &start.config, &trail),
        config: start.process.doors(start.config),
        clock: start.clock,
        metrics: start.metrics,
        live,
        facts,
        store,
        trail: Arc::clone(&trail),
        authorizer,
        admin,
        lifecycle: lifecycle.clone(),
    });
    let ended = answer(&house, start.demo_clock, start.on_listening, watch).await;
    // The seal comes last, when no request can append any more; also after a death or where nothing could be bound, so
    // that the trail ends cleanly.
    let closed = trail.close().await;
    sidecars::disappear(&house).await;
    if let Some(captures) = captures
        && tokio::task::spawn_blocking(move || captures.close()).await.is_err()
    {
        tracing::error!("the last of what decisions were made of may not be written");
    }
    ended?;
    closed.map_err(AppError::Close)
}

/// Opens the doors and answers until the end.
async fn answer(
    house: &Arc<House>,
    demo_clock: Option<FrozenClock>,
    on_listening: OnListening,
    mut watch: lifecycle::Watch,
) -> Result<(), AppError> {
    watch.listen()?;
    let is_noted = sidecars::appear(house).await;
    let listening = doors::open(house, demo_clock).await?;
    bundles::watch(house)?;
    if is_noted {
        facts::follow(house)?;
    }
    facts::watch(house);
    watch_trail(house);
    store::watch(house);
    changes::watch(house);
    sidecars::watch(house, is_noted);
    notify::watch(house)?;
    on_listening(&listening)?;
    shipping::start(house)?;
    Ok(watch.run(Bounds::default()).await?)
}

/// Where it is kept what decisions are made of, if it is.
fn captures(config: &Config, trail: &Trail) -> Result<Option<Arc<Captures>>, AppError> {
    match config.audit.capture {
        AuditCapture::Off => Ok(None),
        AuditCapture::Slices => {
            let quota = (config.audit.quota_bytes > 0).then_some(config.audit.quota_bytes);
            let opened = Captures::open(&config.audit.dir, &trail.status().writer, config.audit.capture_bytes, quota);
            opened.map(|captures| Some(Arc::new(captures))).map_err(AppError::Capture)
        }
    }
}

/// How long the records of each tenant are kept.
pub fn retention(config: &Config) -> Retention {
    let years = |years: u64| u16::try_from(years).unwrap_or(u16::MAX);
    let tenants = config.audit.tenant_retention_years.iter().map(|(tenant, kept)| (tenant.clone(), years(*kept)));
    Retention::new(years(config.audit.retention_years), tenants.collect())
}

/// How the trail is kept, by the configuration.
pub fn trail_config(config: &Config) -> TrailConfig {
    TrailConfig {
        segment_bytes: config.audit.segment_bytes,
        sync_after: Duration::from_millis(config.audit.sync_after_ms),
        quota_bytes: (config.audit.quota_bytes > 0).then_some(config.audit.quota_bytes),
        strict: config.audit.strict,
        accept_ephemeral: config.audit.accept_ephemeral,
        key_file: config.audit.key_file.clone(),
        encryption_key_file: config.audit.encryption_key_file.clone(),
        checkpoint_after: Duration::from_secs(config.audit.checkpoint_seconds),
        checkpoints_dir: config.audit.checkpoints_dir.clone(),
        ships: shipping::address(config).is_some(),
        ships_elsewhere: shipping::is_elsewhere(config),
        keep_local: Some(Duration::from_secs(config.audit.keep_local_hours.saturating_mul(3_600))),
        ..TrailConfig::at(&config.audit.dir)
    }
}

/// A trail without room answers nothing: not ready until it has some again.
pub(super) fn tell_trail(house: &House) {
    let readiness = &house.lifecycle.readiness;
    let status = house.trail.status();
    if let Some(checkpoint) = status.last_checkpoint {
        house.metrics.audit_checkpoint(u64::try_from(checkpoint.at.as_second()).unwrap_or(0));
    }
    match status.health {
        TrailHealth::Ok => match trouble(&status) {
            Some(trouble) => readiness.degraded("trail", trouble),
            None => readiness.ready("trail", "the trail is open"),
        },
        TrailHealth::Adrift => readiness.degraded("trail", "no room on disk: every answer waits for the store"),
        TrailHealth::Full => {
            readiness.not_ready("trail", "no room for records: every answer is refused until there is")
        }
        TrailHealth::Closed | TrailHealth::Fatal => readiness.not_ready("trail", "the trail is closed"),
    }
}

/// What somebody should look at though every answer is recorded.
fn trouble(status: &TrailStatus) -> Option<String> {
    let shipping = &status.shipping;
    if !shipping.alarms.is_empty() {
        return Some(shipping.alarms.join(" · "));
    }
    let away = shipping.away.as_ref().map(|why| format!("{} records are not shipped yet: {why}", shipping.lag));
    status.checkpoint_trouble.clone().or(away)
}

/// A trail that can no longer write ends the process: no answer without a record.
fn watch_trail(house: &Arc<House>) {
    let fatal = house.trail.fatal();
    let stopping = house.lifecycle.stages().stopping.clone();
    house.lifecycle.watch("trail", async move {
        tokio::select! {
            cause = fatal => Err(AppError::TrailStopped(cause)),
            () = stopping.cancelled() => Ok(()),
        }
    });
}

impl House {
    /// The state of every room, for `GET /admin/v1/status`: no ids of people or records.
    pub(super) async fn status(&self) -> serde_json::Value {
        let mut status = self.own_status();
        if let (Some(sidecars), Some(members)) = (sidecars::told(self).await, status.as_object_mut()) {
            members.insert("sidecars".to_owned(), sidecars);
        }
        status
    }

    fn own_status(&self) -> serde_json::Value {
        let trail = self.trail.status();
        let failure = self.live.last_failure();
        json!({
            "schema_version": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "ready": self.lifecycle.readiness.report().is_ready(),
            "policies": {
                "revision": self.live.current().map(|bundle| bundle.revision.to_string()),
                "last_reload_failed": failure.map(|failure| failure.problems.to_string()),
            },
            "trail": {
                "writer": trail.writer,
                "last_seq": trail.last_seq,
                "synced_seq": trail.synced_seq,
                "appended": trail.appended,
                "refused": trail.refused,
                "shipping": trail.shipping,
                "health": match trail.health {
                    TrailHealth::Ok => "ok",
                    TrailHealth::Adrift => "adrift",
                    TrailHealth::Full => "full",
                    TrailHealth::Fatal => "fatal",
                    TrailHealth::Closed => "closed",
                },
            },
        })
    }
}
