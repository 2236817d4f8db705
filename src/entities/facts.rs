//! The room's one public thing: facts of both sources, read for one question at a time.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use cedar_policy::EntityUid;
use futures_util::future::try_join;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{
    check::{self, Problem},
    error::{ConnectError, FactsError},
    fed::{Fact, Trust},
    fresh::{Entered, Hold, InFlight},
    gather::Gather,
    hot::{Hot, HotFact},
    keep::{Keep, KeepStats},
    load::Want,
    pool::{Pool, PoolOptions},
    source::{Look, LookError, Origin, Permit, Tally},
};
use crate::{
    clock::Clock,
    domain::{
        Entities, Freshness, Skew, Slice, SlicePlan, Value,
        mapping::{Mapping, Source},
    },
};

/// Called with each source that a slice read, and the time it took.
pub type OnLoad = Arc<dyn Fn(Source, Duration) + Send + Sync>;

/// Of the memory for kept facts this part is for whole slices that are asked for again and again, and what is made of them.
const HOT_SHARE: u64 = 8;

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
    /// S: an allow rests on no fact that may be staler than this when it leaves.
    pub staleness: Duration,
    /// Most memory that kept facts take.
    pub keep_bytes: u64,
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
            staleness: Duration::from_secs(2),
            keep_bytes: 64 * 1024 * 1024,
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
    app: Option<Origin>,
    store: Option<Origin>,
    keep: Arc<Keep>,
    hot: Hot,
    in_flight: Arc<InFlight>,
    clock: Arc<dyn Clock>,
    rows_max: usize,
    slice_timeout: Duration,
    staleness: Duration,
    on_load: Option<OnLoad>,
    slices: Semaphore,
    since: Duration,
}

/// A complete slice, and what it rests on.
#[derive(Debug)]
pub struct Gathered {
    pub slice: Slice,
    pub hold: Hold,
    /// Facts that were kept, and facts that were read for this question.
    pub kept: usize,
    pub loaded: usize,
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
        let since = clock.elapsed();
        let hot_bytes = options.keep_bytes / HOT_SHARE;
        let keep = Arc::new(Keep::new(options.keep_bytes - hot_bytes, since));
        let origin = |source, url: Option<&String>, pool| {
            url.map(|url| {
                let pool = Pool::new(source, url, pool, &clock)?;
                Ok(Origin::new(source, pool, &keep, &clock, options.staleness))
            })
            .transpose()
        };
        let app = origin(Source::App, options.app.as_ref(), options.app_pool)?;
        let store = origin(Source::Store, options.store.as_ref(), options.store_pool)?;
        let fewest = [&app, &store].into_iter().flatten().map(|origin| origin.pool.options.connections).min();
        let slices = fewest.and_then(|fewest| usize::try_from(fewest).ok()).unwrap_or(Semaphore::MAX_PERMITS);
        Ok(Self {
            app,
            store,
            keep,
            hot: Hot::new(hot_bytes),
            in_flight: Arc::default(),
            clock,
            rows_max: options.rows_max,
            slice_timeout: options.slice_timeout,
            staleness: options.staleness,
            on_load: options.on_load,
            slices: Semaphore::new(slices.max(1)),
            since,
        })
    }

    /// Where a source is, fit for a log: no user, no password, no parameters.
    pub fn address(&self, source: Source) -> Option<&str> {
        self.origin(source).map(|origin| origin.pool.address.as_str())
    }

    /// Compares `mapping` with what the databases have. No problem: every query runs and returns what it must.
    pub async fn check(&self, mapping: &Mapping) -> Vec<Problem> {
        check::check(mapping, |source| self.pool(source)).await
    }

    /// The sources that cannot be read now; empty while all can.
    pub async fn away(&self) -> Vec<Problem> {
        check::reach(|source| self.pool(source)).await
    }

    /// Counts a decision as under way until what comes back is dropped: a barrier waits for it.
    pub fn enter(&self) -> Entered {
        self.in_flight.enter()
    }

    /// Reads what `plan` names about the two entities of the question.
    ///
    /// Both may be absent; every other entity that the plan reaches is there, or this is an error.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: the facts are not all known, so nothing may be allowed by them.
    pub async fn slice(&self, mapping: &Mapping, plan: &SlicePlan, asking: &Asking) -> Result<Slice, FactsError> {
        self.gathered(mapping, &Arc::new(plan.clone()), asking, Trust::Feed).await.map(|gathered| gathered.slice)
    }

    /// The same, with what it rests on: ask [`Hold::is_good`] before an allow leaves.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: the facts are not all known, so nothing may be allowed by them.
    pub async fn gathered(
        &self,
        mapping: &Mapping,
        plan: &Arc<SlicePlan>,
        asking: &Asking,
        trust: Trust,
    ) -> Result<Gathered, FactsError> {
        let late = |_elapsed| FactsError::Late { limit_ms: self.slice_timeout.as_millis() };
        // Loads end by the same deadline; the little more lets them leave their connections in order.
        let limit = self.slice_timeout + Duration::from_millis(100);
        tokio::time::timeout(limit, self.gather(mapping, plan, asking, trust)).await.map_err(late).flatten()
    }

    async fn gather(
        &self,
        mapping: &Mapping,
        plan: &Arc<SlicePlan>,
        asking: &Asking,
        trust: Trust,
    ) -> Result<Gathered, FactsError> {
        let deadline = self.clock.elapsed() + self.slice_timeout;
        // A file that changed between kept facts and read ones: once more, then from reads alone, of one instant.
        for trust in [trust, trust] {
            match self.attempt(mapping, plan, asking, trust, deadline).await {
                Ok(gathered) => return Ok(gathered),
                Err(LookError::Facts(error)) => return Err(error),
                Err(LookError::Moved) => {}
            }
        }
        match self.attempt(mapping, plan, asking, Trust::LoadsAlone, deadline).await {
            Ok(gathered) => Ok(gathered),
            Err(LookError::Facts(error)) => Err(error),
            // INVARIANT(moved): without kept facts there is nothing that a read could differ from.
            Err(LookError::Moved) => Err(FactsError::Late { limit_ms: self.slice_timeout.as_millis() }),
        }
    }

    async fn attempt(
        &self,
        mapping: &Mapping,
        plan: &Arc<SlicePlan>,
        asking: &Asking,
        trust: Trust,
        deadline: Duration,
    ) -> Result<Gathered, LookError> {
        let skew = self.skew(asking.now);
        if trust == Trust::Feed
            && let Some(gathered) = self.again(mapping, plan, asking, skew, deadline).await?
        {
            return Ok(gathered);
        }
        let permit = Permit::of(&self.slices);
        let mut gather = Gather::new(mapping, plan, asking, skew, self.rows_max)?;
        let look = |source| self.origin(source).map(|origin| Look::new(origin, mapping.digest, trust, deadline));
        let validity = |origin: &Option<Origin>| origin.as_ref().map(|origin| Arc::clone(&origin.validity));
        let (mut app, mut store) = (look(Source::App), look(Source::Store));
        let mut hold = Hold::new(validity(&self.app), validity(&self.store));
        let mut oldest = self.clock.elapsed();
        let mut marks = Vec::new();
        loop {
            let wants = gather.wants()?;
            if wants.is_empty() {
                break;
            }
            let (of_app, of_store): (Vec<_>, Vec<_>) =
                wants.into_iter().partition(|want| want.key.source == Source::App);
            let (facts, more) =
                try_join(self.facts(app.as_mut(), of_app, &permit), self.facts(store.as_mut(), of_store, &permit))
                    .await?;
            for fact in facts.into_iter().chain(more) {
                gather.take(fact.key(), &fact.rows)?;
                oldest = oldest.min(fact.from);
                marks.push(HotFact::of(&fact));
                hold.pin(fact.pin);
            }
        }
        let used = self.leave([app, store]).await;
        let mut gathered = self.gathered_of(asking, (gather.finish().into(), skew), hold, oldest, &used);
        if trust == Trust::Feed {
            self.hot.put(mapping, plan, asking, &mut gathered.slice, &marks);
        }
        Ok(gathered)
    }

    /// The slice of an earlier question, if every fact in it still counts.
    async fn again(
        &self,
        mapping: &Mapping,
        plan: &Arc<SlicePlan>,
        asking: &Asking,
        skew: Skew,
        deadline: Duration,
    ) -> Result<Option<Gathered>, LookError> {
        let Some(hot) = self.hot.find(mapping, plan, asking, skew) else { return Ok(None) };
        let validity = |origin: &Option<Origin>| origin.as_ref().map(|origin| Arc::clone(&origin.validity));
        let mut hold = Hold::new(validity(&self.app), validity(&self.store));
        let mut oldest = self.clock.elapsed();
        let mut looks = [None, None];
        for (source, looked) in [Source::App, Source::Store].into_iter().zip(&mut looks) {
            let facts = hot.of(source);
            let Some(origin) = self.origin(source).filter(|_| !facts.is_empty()) else { continue };
            let look = looked.insert(Look::new(origin, mapping.digest, Trust::Feed, deadline));
            let Some((from, pins)) = look.still(facts, self.staleness).await? else { return Ok(None) };
            oldest = oldest.min(from);
            pins.into_iter().for_each(|pin| hold.pin(pin));
        }
        let used = self.leave(looks).await;
        self.keep.found_again(used.iter().map(|(_, tally)| tally.kept).sum());
        Ok(Some(self.gathered_of(asking, (hot.entities.clone(), skew), hold, oldest, &used)))
    }

    fn gathered_of(
        &self,
        asking: &Asking,
        (entities, skew): (Entities, Skew),
        hold: Hold,
        oldest: Duration,
        used: &[(String, Tally)],
    ) -> Gathered {
        let age = self.clock.elapsed().saturating_sub(oldest);
        let positions: Vec<&str> = used.iter().map(|(word, _)| word.as_str()).collect();
        Gathered {
            slice: Slice {
                principal: asking.principal.clone(),
                resource: asking.resource.clone(),
                entities,
                asserted: asking.asserted.clone(),
                freshness: Freshness {
                    revision: if positions.is_empty() { "none".to_owned() } else { positions.join(",") },
                    age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                },
                skew,
            },
            hold,
            kept: used.iter().map(|(_, tally)| tally.kept).sum(),
            loaded: used.iter().map(|(_, tally)| tally.loaded).sum(),
        }
    }

    async fn facts(
        &self,
        look: Option<&mut Look<'_>>,
        wants: Vec<Want<'_>>,
        permit: &Permit<'_>,
    ) -> Result<Vec<Fact>, LookError> {
        match (look, wants.first()) {
            (_, None) => Ok(Vec::new()),
            (Some(look), Some(_)) => look.facts(wants, permit, self.staleness).await,
            (None, Some(want)) => {
                Err(FactsError::NotConfigured { database: want.key.source, place: want.place() }.into())
            }
        }
    }

    /// Ends looks; says what each took that took anything.
    async fn leave(&self, looks: [Option<Look<'_>>; 2]) -> Vec<(String, Tally)> {
        let mut used = Vec::new();
        for mut look in looks.into_iter().flatten().filter(Look::is_used) {
            look.end().await;
            if let Some(on_load) = self.on_load.as_ref().filter(|_| look.tally.loaded > 0) {
                on_load(look.source(), look.tally.spent);
            }
            used.push((format!("{}:{}", look.source().as_str(), look.position()), look.tally));
        }
        used
    }

    /// How far the clocks of the databases may be from `now`, the one that was just read.
    fn skew(&self, now: Timestamp) -> Skew {
        let elapsed = self.clock.elapsed();
        let skews = [&self.app, &self.store].into_iter().flatten().map(|origin| origin.feed.skew(now, elapsed));
        skews.fold(Skew::default(), Skew::or)
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Since when this waits for its feeds, on the clock's elapsed time.
    pub(super) const fn since(&self) -> Duration {
        self.since
    }

    pub(super) const fn staleness(&self) -> Duration {
        self.staleness
    }

    pub(super) const fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    /// How much is kept, and how often it was of use.
    pub fn keep_stats(&self) -> KeepStats {
        self.keep.stats()
    }

    pub(super) const fn origin(&self, source: Source) -> Option<&Origin> {
        match source {
            Source::App => self.app.as_ref(),
            Source::Store => self.store.as_ref(),
        }
    }

    fn pool(&self, source: Source) -> Option<&Pool> {
        self.origin(source).map(|origin| &origin.pool)
    }
}
