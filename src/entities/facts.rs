//! The room's one public thing: facts of both sources, read for one question at a time.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use cedar_policy::EntityUid;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{
    check::{self, Problem},
    error::{ConnectError, FactsError},
    gather::Gather,
    load::Loader,
    pool::{Pool, PoolOptions},
};
use crate::{
    clock::Clock,
    domain::{
        Freshness, Slice, SlicePlan, Value,
        mapping::{Mapping, Source},
    },
};

/// Called with each source that a slice read, and the time it took.
pub type OnLoad = Arc<dyn Fn(Source, Duration) + Send + Sync>;

/// Where the facts are and how they are read.
#[derive(Clone)]
pub struct FactsOptions {
    /// `sqlite://…` or `postgres://…`; a bundle whose types have no rows needs none.
    pub app: Option<String>,
    pub store: Option<String>,
    pub app_pool: PoolOptions,
    pub store_pool: PoolOptions,
    /// Rows that one slice may hold, entities included.
    pub rows_max: usize,
    /// The whole of one slice may take this long.
    pub slice_timeout: Duration,
    pub on_load: Option<OnLoad>,
}

impl Default for FactsOptions {
    fn default() -> Self {
        Self {
            app: None,
            store: None,
            app_pool: PoolOptions::default(),
            store_pool: PoolOptions::default(),
            rows_max: 5_000,
            slice_timeout: Duration::from_millis(1_900),
            on_load: None,
        }
    }
}

/// The urls may hold passwords.
impl fmt::Debug for FactsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FactsOptions")
            .field("rows_max", &self.rows_max)
            .field("slice_timeout", &self.slice_timeout)
            .finish_non_exhaustive()
    }
}

/// Whose facts are asked for.
#[derive(Clone, Debug)]
pub struct Asking {
    pub principal: EntityUid,
    pub resource: EntityUid,
    pub now: Timestamp,
    /// The tenant that the session says it is in; counts only if it is one of the principal's own.
    pub said_tenant: Option<String>,
    /// Attributes that the caller may assert, over the stored ones, for this question alone.
    pub asserted: BTreeMap<EntityUid, BTreeMap<Arc<str>, Value>>,
}

/// Both sources, read-only.
pub struct Facts {
    app: Option<Pool>,
    store: Option<Pool>,
    clock: Arc<dyn Clock>,
    rows_max: usize,
    slice_timeout: Duration,
    on_load: Option<OnLoad>,
    /// A slice may hold a connection of each source at once. With as many slices as the smaller pool has connections,
    /// none can wait for a connection that another one holds while waiting for its own.
    slices: Semaphore,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("app", &self.address(Source::App))
            .field("store", &self.address(Source::Store))
            .finish_non_exhaustive()
    }
}

impl Facts {
    /// Makes the pools. A database that is away is no error here: [`Self::check`] tells, and [`Self::slice`] recovers
    /// when it comes back.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if a url cannot be used. No message holds a password.
    pub fn connect(options: FactsOptions, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let pool = |source, url: Option<&String>, options| url.map(|url| Pool::new(source, url, options)).transpose();
        let app = pool(Source::App, options.app.as_ref(), options.app_pool)?;
        let store = pool(Source::Store, options.store.as_ref(), options.store_pool)?;
        let fewest = [&app, &store].into_iter().flatten().map(|pool| pool.options.connections).min();
        let slices = fewest.and_then(|fewest| usize::try_from(fewest).ok()).unwrap_or(Semaphore::MAX_PERMITS);
        Ok(Self {
            app,
            store,
            clock,
            rows_max: options.rows_max,
            slice_timeout: options.slice_timeout,
            on_load: options.on_load,
            slices: Semaphore::new(slices.max(1)),
        })
    }

    /// Where a source is, fit for a log: no user, no password, no parameters.
    pub fn address(&self, source: Source) -> Option<&str> {
        self.pool(source).map(|pool| pool.address.as_str())
    }

    /// Compares `mapping` with what the databases have. No problem: every query runs and returns what it must.
    pub async fn check(&self, mapping: &Mapping) -> Vec<Problem> {
        check::check(mapping, |source| self.pool(source)).await
    }

    /// The sources that cannot be read now; empty while all can.
    pub async fn away(&self) -> Vec<Problem> {
        check::reach(|source| self.pool(source)).await
    }

    /// Reads what `plan` names about the two entities of the question.
    ///
    /// Both may be absent; every other entity that the plan reaches is there, or this is an error.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: the facts are not all known, so nothing may be allowed by them.
    pub async fn slice(&self, mapping: &Mapping, plan: &SlicePlan, asking: &Asking) -> Result<Slice, FactsError> {
        let late = |_elapsed| FactsError::Late { limit_ms: self.slice_timeout.as_millis() };
        // Loads end by the same deadline; the little more lets them leave their connections in order.
        let limit = self.slice_timeout + Duration::from_millis(100);
        tokio::time::timeout(limit, self.read_slice(mapping, plan, asking)).await.map_err(late).flatten()
    }

    async fn read_slice(&self, mapping: &Mapping, plan: &SlicePlan, asking: &Asking) -> Result<Slice, FactsError> {
        let oldest = self.clock.elapsed();
        // INVARIANT(slices): the semaphore is never closed, so a permit always comes.
        let _permit = self.slices.acquire().await;
        let mut gather = Gather::new(mapping, plan, asking, self.rows_max)?;
        let mut loader = Loader::new(self.app.as_ref(), self.store.as_ref(), &self.clock, oldest + self.slice_timeout);
        let gathered = Self::gather(&mut gather, &mut loader).await;
        if gathered.is_ok() {
            loader.finish().await;
        }
        if let Some(on_load) = &self.on_load {
            loader.spent().for_each(|(source, spent)| on_load(source, spent));
        }
        gathered?;
        let sources: Vec<String> = loader.spent().map(|(source, _)| format!("{}:direct", source.as_str())).collect();
        let age = self.clock.elapsed().saturating_sub(oldest);
        Ok(Slice {
            principal: asking.principal.clone(),
            resource: asking.resource.clone(),
            entities: gather.finish(),
            asserted: asking.asserted.clone(),
            freshness: Freshness {
                revision: if sources.is_empty() { "none".to_owned() } else { sources.join(",") },
                age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            },
        })
    }

    async fn gather(gather: &mut Gather<'_>, loader: &mut Loader<'_>) -> Result<(), FactsError> {
        loop {
            let wants = gather.wants()?;
            if wants.is_empty() {
                return Ok(());
            }
            for (key, rows) in loader.load(wants).await? {
                gather.take(&key, &rows)?;
            }
        }
    }

    fn pool(&self, source: Source) -> Option<&Pool> {
        match source {
            Source::App => self.app.as_ref(),
            Source::Store => self.store.as_ref(),
        }
    }
}
