//! Opens the listeners and hands each its handler.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use super::{AppError, House, StoreRecords};
use crate::{
    audit::query::{CursorKey, FolderRecords, RecordSource},
    clock::FrozenClock,
    config::{CallerConfig, Capability as Configured, Limits as ConfiguredLimits},
    http::{
        self, Hosts,
        admin::AdminApi,
        caller::{CallerEntry, Callers, Capability, Token},
        callers_api::{CallersApi, Room},
        health::{ComponentState, HealthApi},
        json::JsonLimits,
        listen::Door,
        serve,
        trail_api::TrailApi,
    },
};

/// The longest that one question may look through segments that nobody looked at before.
const QUERY_WAIT: Duration = Duration::from_secs(8);

/// Where the process really listens.
#[derive(Clone, Debug, Default)]
pub struct Listening {
    pub unix: Option<PathBuf>,
    pub tcp: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub health: Option<SocketAddr>,
}

/// Binds everything first, then serves: an occupied address leaves nothing half open.
pub(super) async fn open(house: &Arc<House>, demo_clock: Option<FrozenClock>) -> Result<Listening, AppError> {
    let server = &house.config.server;
    let callers = Arc::new(Callers::new(house.config.callers.iter().map(caller).collect::<Result<_, _>>()?)?);
    let is_demo = demo_clock.is_some();
    let unix = match &server.unix {
        Some(unix) => Some(Door::unix(&unix.path, unix.mode).await?),
        None => None,
    };
    let tcp = match &server.tcp {
        Some(tcp) => Some(Door::tcp(tcp.listen).await?),
        None => None,
    };
    let admin = match &server.admin {
        Some(admin) => Some(Door::tcp(admin.listen).await?),
        None => None,
    };
    let health = match &server.health {
        Some(health) => Some(Door::tcp(health.listen).await?),
        None => None,
    };
    let listening = Listening {
        unix: server.unix.as_ref().map(|unix| unix.path.clone()),
        tcp: tcp.as_ref().and_then(Door::tcp_address),
        admin: admin.as_ref().and_then(Door::tcp_address),
        health: health.as_ref().and_then(Door::tcp_address),
    };
    let limits = Arc::new(limits(&house.config.limits));
    let hosts = server.tcp.as_ref().map(|tcp| tcp.hosts.clone()).unwrap_or_default();
    let api = Arc::new(CallersApi::new(Room {
        authorizer: Arc::clone(&house.authorizer),
        admin: Arc::clone(&house.admin),
        callers: Arc::clone(&callers),
        hosts: Hosts::loopback_and(hosts),
        clock: Arc::clone(&house.clock),
        limits: Arc::clone(&limits),
        tasks: house.lifecycle.requests(),
        base_url: server.public_url(listening.tcp),
        demo_clock,
    }));
    let health_api = Arc::new(health_api(house));
    if let Some(door) = unix {
        start(house, "unix listener", door, Arc::clone(&api), &limits);
    }
    if let Some(door) = tcp {
        start(house, "tcp listener", door, api, &limits);
    }
    if let Some(door) = admin {
        let api = admin_api(house, &callers, &limits, is_demo.then(|| Arc::clone(&health_api)))?;
        start(house, "admin listener", door, Arc::new(api), &limits);
    }
    if let Some(door) = health {
        start(house, "health listener", door, health_api, &limits);
    }
    Ok(listening)
}

fn start<H: serve::Handle>(
    house: &Arc<House>,
    name: &'static str,
    door: Door,
    handler: Arc<H>,
    limits: &Arc<http::Limits>,
) {
    let served = serve::House {
        clock: Arc::clone(&house.clock),
        limits: Arc::clone(limits),
        tasks: house.lifecycle.requests(),
        shutdown: house.lifecycle.stages().stopping.clone(),
    };
    house.lifecycle.watch(name, async move {
        serve::serve(door, handler, served).await;
        Ok::<(), AppError>(())
    });
}

fn caller(config: &CallerConfig) -> Result<CallerEntry, AppError> {
    let tokens = config.tokens.iter().map(|token| Token::new(token.expose()).ok_or(AppError::Token));
    let (uids, gids) = config.unix.as_ref().map(|peers| (peers.uids.clone(), peers.gids.clone())).unwrap_or_default();
    Ok(CallerEntry {
        name: config.name.clone(),
        uids,
        gids,
        tokens: tokens.collect::<Result<_, _>>()?,
        capabilities: config.capabilities.iter().map(|capability| capability_of(*capability)).collect(),
        caller: Arc::new(config.to_caller()),
    })
}

const fn capability_of(capability: Configured) -> Capability {
    match capability {
        Configured::Decide => Capability::Decide,
        Configured::Explain => Capability::Explain,
        Configured::Search => Capability::Search,
        Configured::Grant => Capability::Grant,
    }
}

fn admin_api(
    house: &Arc<House>,
    callers: &Callers,
    limits: &Arc<http::Limits>,
    health: Option<Arc<HealthApi>>,
) -> Result<AdminApi, AppError> {
    let tokens = house.config.server.admin.as_ref().map(|admin| admin.tokens.as_slice()).unwrap_or_default();
    let tokens =
        tokens.iter().map(|token| Token::new(token.expose()).ok_or(AppError::Token)).collect::<Result<_, _>>()?;
    let (state, facts, all) = (Arc::clone(house), Arc::clone(&house.facts), Arc::clone(house));
    let api = AdminApi {
        tokens,
        hosts: Hosts::loopback_and([]),
        clock: Arc::clone(&house.clock),
        tasks: house.lifecycle.requests(),
        status: Arc::new(move || {
            let house = Arc::clone(&state);
            Box::pin(async move { house.status().await })
        }),
        barrier: Arc::new(move || {
            let facts = Arc::clone(&facts);
            Box::pin(async move { super::facts::barrier(&facts).await })
        }),
        barrier_everywhere: Arc::new(move || {
            let house = Arc::clone(&all);
            Box::pin(async move { super::sidecars::barrier(&house).await })
        }),
        admin: Arc::clone(&house.admin),
        is_asserted: house.config.server.admin.as_ref().is_some_and(|admin| admin.asserted),
        limits: Arc::clone(limits),
        trail: Some(Arc::new(trail_api(house)?)),
        health,
    };
    if api.shares_a_token_with(callers) {
        return Err(AppError::SharedToken);
    }
    Ok(api)
}

/// Reads the process's own folder, and the store where it may; what it knows of old segments is kept for its life.
fn trail_api(house: &Arc<House>) -> Result<TrailApi, AppError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(AppError::Random)?;
    let source = FolderRecords::lasting(&house.config.audit.dir, Arc::clone(&house.clock), QUERY_WAIT)
        .opened_with(house.trail.encryption_keys());
    let folder: Arc<dyn RecordSource> = Arc::new(source);
    let source = match super::reading_address(&house.config) {
        None => folder,
        Some(url) => Arc::new(StoreRecords::open(&url, QUERY_WAIT).map_err(AppError::Store)?.and(folder)),
    };
    let (trail, clock) = (Arc::clone(&house.trail), Arc::clone(&house.clock));
    Ok(TrailApi::new(source, trail, clock, house.lifecycle.requests(), CursorKey::new(key)))
}

fn health_api(house: &Arc<House>) -> HealthApi {
    let readiness = house.lifecycle.readiness.clone();
    let metrics = house.metrics.clone();
    HealthApi::new(
        Arc::clone(&house.clock),
        Arc::new(move || {
            let report = readiness.report();
            let component = |component: crate::telemetry::Component| ComponentState {
                name: component.name.into(),
                is_ready: component.state != crate::telemetry::State::NotReady,
                detail: component.reason.into(),
            };
            report.components.into_iter().map(component).collect()
        }),
        Arc::new(move || metrics.render()),
    )
}

fn limits(config: &ConfiguredLimits) -> http::Limits {
    http::Limits {
        body_bytes_max: config.body_bytes,
        batch_bytes_max: config.batch_bytes,
        items_max: config.batch_items,
        json: JsonLimits {
            depth_max: config.json_depth,
            nodes_max: config.json_nodes,
            string_bytes_max: config.string_bytes,
        },
        batch_nodes_max: config.json_nodes_batch,
        id_bytes_max: config.id_bytes,
        header: Duration::from_millis(config.header_read_ms),
        idle: Duration::from_millis(config.idle_ms),
        connections_max: config.connections,
        in_flight_max: config.in_flight,
        caller_share_max: (config.in_flight / 2).max(1),
        queue_wait: Duration::from_millis(config.queue_wait_ms),
        deadline: Duration::from_millis(config.deadline_ms),
        ..http::Limits::default()
    }
}
