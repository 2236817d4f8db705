//! What `serve` wires, in this process: facts of two PostgreSQL databases, a thread for each feed, an authorizer on top.
//!
//! The demo world has more clients here than it has by itself: each *lane* is a client with one note, and with one
//! assignment that alone lets ana read it. Lane 0 is the demo's own: assignment A1, client C1, note N1.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use chaperone::{
    audit::{Trail, TrailConfig},
    authorize::{Authorizer, Settings},
    clock::{Clock, FrozenClock, SystemClock},
    domain::{Evaluation, Reason, Request, Tier, mapping::Source},
    engine::Bundle,
    entities::{
        Asking, Facts, FactsError, FactsOptions, FeedDatabase, FeedTask, FollowOptions, Gathered, Mode, Notify,
        PoolOptions, Trust, install,
    },
    telemetry::Metrics,
};
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::{
    authorizer::shipped,
    clinic::{NOW, Said as _, at, fresh, request},
    postgres::Postgres,
};

/// Clients that ana may read by one assignment each.
pub(crate) const LANES: usize = 64;

const LANES_OF_APP: &str = "
INSERT INTO clients (id, tenant_id, pseudonym, created_at, npp_acknowledged_at)
  SELECT 'L' || n, 'T1', 'psn-lane-' || n, '2025-01-05T00:00:00Z', '2026-01-01T00:00:00Z' FROM generate_series(1, 63) n;
INSERT INTO notes (id, tenant_id, client_id, author_id, kind, created_at, body)
  SELECT 'LN' || n, 'T1', 'L' || n, 'ana', 'progress', '2026-03-03T16:00:00Z', 'demo' FROM generate_series(1, 63) n";

const LANES_OF_STORE: &str = "
INSERT INTO assignments (id, tenant_id, client_id, user_id, assigned_by, valid_from)
  SELECT 'LA' || n, 'T1', 'L' || n, 'ana', 'sid', '2026-01-01T05:00:00Z' FROM generate_series(1, 63) n";

/// Longest time for anything to become true on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn elapsed() -> Duration {
    SystemClock.elapsed()
}

pub(crate) fn assignment(lane: usize) -> String {
    if lane == 0 { "A1".to_owned() } else { format!("LA{lane}") }
}

pub(crate) fn revoke(lane: usize) -> String {
    format!("UPDATE assignments SET revoked_at = '2026-03-10T14:00:00Z' WHERE id = '{}'", assignment(lane))
}

pub(crate) fn lift(lane: usize) -> String {
    format!("UPDATE assignments SET revoked_at = NULL WHERE id = '{}'", assignment(lane))
}

/// May ana read the note of this lane?
pub(crate) fn reads(lane: usize) -> Request {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let note = if lane == 0 { "N1".to_owned() } else { format!("LN{lane}") };
    let asked = request("ana", "read", "Note", &note).context("session", fresh("T1"));
    Request { decision_id: format!("d{}", ASKED.fetch_add(1, SeqCst)), ..asked }
}

/// The two databases of the demo world on some server.
#[derive(Clone)]
pub(crate) struct Databases {
    pub(crate) app: String,
    pub(crate) store: String,
}

impl Databases {
    /// New ones, with all lanes and with whole feeds.
    pub(crate) async fn on(postgres: &Postgres) -> Self {
        let (app, store) = postgres.demo();
        let databases = Self { app, store };
        databases.write(Source::App, LANES_OF_APP).await;
        databases.write(Source::Store, LANES_OF_STORE).await;
        databases.install().await;
        databases
    }

    async fn install(&self) {
        let bundle = shipped().current().unwrap();
        let database = |source| FeedDatabase { source, url: self.url(source).to_owned(), owner_url: None };
        let task = FeedTask {
            mapping: &bundle.mapping,
            databases: &[database(Source::App), database(Source::Store)],
            meant: &[Source::App, Source::Store],
            limit: Duration::from_secs(20),
        };
        let installed = install(&task, Notify::Yes, Mode::Install).await.unwrap();
        assert!(installed.iter().all(|installed| !installed.statements.is_empty()), "{installed:?}");
    }

    /// The same databases where another folder's socket leads.
    pub(crate) fn at(&self, folder: &std::path::Path) -> Self {
        let elsewhere = |url: &String| format!("{}?host={}", url.split('?').next().unwrap(), folder.display());
        Self { app: elsewhere(&self.app), store: elsewhere(&self.store) }
    }

    pub(crate) fn url(&self, source: Source) -> &str {
        match source {
            Source::App => &self.app,
            Source::Store => &self.store,
        }
    }

    /// The database's name on its server.
    pub(crate) fn name(&self, source: Source) -> &str {
        let path = self.url(source).split('?').next().unwrap();
        path.rsplit('/').next().unwrap()
    }

    pub(crate) async fn open(&self, source: Source) -> PgConnection {
        PgConnection::connect(self.url(source)).await.unwrap()
    }

    /// Changes a database as the application would, on a connection of its own. Gives the instant when it was known to
    /// be committed.
    pub(crate) async fn write(&self, source: Source, sql: impl Into<String>) -> Duration {
        let mut connection = self.open(source).await;
        let committed = run(&mut connection, sql).await;
        connection.close().await.unwrap();
        committed
    }

    /// One number that a database says.
    pub(crate) async fn number(&self, source: Source, sql: impl Into<String>) -> i64 {
        let mut connection = self.open(source).await;
        let number = sqlx::query_scalar(sqlx::AssertSqlSafe(sql.into())).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }

    /// Ends the connections of this name on both databases, and waits until they are gone.
    pub(crate) async fn terminate(&self, application: &str) {
        let of = format!("application_name = '{application}' AND datname = current_database()");
        for source in [Source::App, Source::Store] {
            let sql = format!("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE {of}");
            assert!(self.number(source, sql).await > 0, "no connection of {application} on {}", source.as_str());
        }
    }
}

/// Runs statements; gives the instant when they were known to be committed.
pub(crate) async fn run(connection: &mut PgConnection, sql: impl Into<String>) -> Duration {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.into())).execute(connection).await.unwrap();
    elapsed()
}

/// How facts are read and feeds are followed.
#[derive(Clone)]
pub(crate) struct How {
    pub(crate) staleness: Duration,
    pub(crate) poll: Duration,
    pub(crate) hint: bool,
    pub(crate) is_followed: bool,
    pub(crate) pool: PoolOptions,
    pub(crate) slice_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

impl How {
    /// What `serve` would make of this staleness.
    pub(crate) fn within(staleness: Duration) -> Self {
        Self {
            staleness,
            poll: Duration::from_millis(250).min(staleness / 4),
            hint: true,
            is_followed: true,
            pool: PoolOptions { connections: 8, statement_timeout: staleness / 2 },
            slice_timeout: staleness * 9 / 10,
            clock: Arc::new(FrozenClock::at(at(NOW))),
        }
    }
}

/// An authorizer with followed feeds; its threads end with it.
pub(crate) struct Following {
    pub(crate) facts: Arc<Facts>,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) staleness: Duration,
    /// How old the changes were, by the database's clock, that each poll took in.
    pub(crate) taken_in: Arc<Mutex<Vec<Duration>>>,
    authorizer: Authorizer,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
    _trail: tempfile::TempDir,
}

/// One answer, with the instants around it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) lane: usize,
    pub(crate) asked: Duration,
    pub(crate) released: Duration,
    /// `None`: an allow.
    pub(crate) reason: Option<Reason>,
}

impl Heard {
    pub(crate) const fn is_allow(&self) -> bool {
        self.reason.is_none()
    }

    pub(crate) fn is_outage(&self) -> bool {
        self.reason == Some(Reason::DATA_UNAVAILABLE)
    }

    /// A deny by what the facts say.
    pub(crate) fn is_refusal(&self) -> bool {
        self.reason.as_ref().is_some_and(|reason| *reason != Reason::DATA_UNAVAILABLE && *reason != Reason::DATA_STALE)
    }
}

impl Following {
    pub(crate) fn start(databases: &Databases, how: How) -> Self {
        let options = FactsOptions {
            app: Some(databases.app.clone()),
            store: Some(databases.store.clone()),
            app_pool: how.pool,
            store_pool: how.pool,
            slice_timeout: how.slice_timeout,
            staleness: how.staleness,
            ..FactsOptions::default()
        };
        let facts = Arc::new(Facts::connect(options, Arc::clone(&how.clock)).unwrap());
        let bundle = shipped().current().unwrap();
        facts.watch(&bundle.mapping);
        let taken_in: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let lags = Arc::clone(&taken_in);
        let on_lag = Arc::new(move |lag| lags.lock().unwrap().push(lag));
        let follow = FollowOptions { poll: how.poll, hint: how.hint, on_lag };
        let stop = CancellationToken::new();
        let followers = if how.is_followed { facts.followers(&follow) } else { Vec::new() };
        let thread = |follower: chaperone::entities::Follower| {
            let stop = stop.clone();
            std::thread::spawn(move || follower.run(stop.cancelled_owned()).unwrap())
        };
        let threads = followers.into_iter().map(thread).collect();
        let trail = tempfile::tempdir().unwrap();
        let config = TrailConfig { accept_ephemeral: true, ..TrailConfig::at(trail.path().join("audit")) };
        let authorizer = Authorizer::new(
            shipped(),
            Arc::clone(&facts),
            Arc::new(Trail::open(config, Arc::clone(&how.clock)).unwrap()),
            Arc::clone(&how.clock),
            Metrics::local().unwrap(),
            Settings { durability: Tier::Process, durability_of_changes: Tier::Disk },
        );
        let (staleness, clock) = (how.staleness, how.clock);
        Self { facts, bundle, staleness, taken_in, authorizer, clock, stop, threads, _trail: trail }
    }

    pub(crate) async fn ask(&self, lane: usize) -> Heard {
        let request = reads(lane);
        let asked = elapsed();
        let recorded = self.authorizer.authorize(request).await.unwrap();
        let released = elapsed();
        let evaluation: &Evaluation = recorded.value();
        assert_eq!(evaluation.decision.is_allow(), evaluation.reason.is_none(), "{evaluation:?}");
        Heard { lane, asked, released, reason: evaluation.reason.clone() }
    }

    /// The facts of a lane's question.
    pub(crate) async fn gathered(&self, lane: usize, trust: Trust) -> Result<Gathered, FactsError> {
        let question = self.bundle.question(&reads(lane)).unwrap();
        let asking = Asking {
            principal: question.principal.clone(),
            resource: question.resource.clone(),
            now: self.clock.now(),
            said_tenant: question.said_tenant.as_deref().map(str::to_owned),
            asserted: question.asserted.clone(),
        };
        self.facts.gathered(&self.bundle.mapping, &self.bundle.plan(&question), &asking, trust).await
    }

    /// Whether a lane's question needs no database now.
    pub(crate) async fn is_kept(&self, lane: usize) -> bool {
        self.gathered(lane, Trust::Feed).await.is_ok_and(|gathered| gathered.loaded == 0)
    }

    pub(crate) fn lease_age(&self, source: Source) -> Option<Duration> {
        self.facts.feeds().into_iter().find(|feed| feed.source == source).and_then(|feed| feed.lease_age)
    }

    pub(crate) fn trouble(&self, source: Source) -> Option<String> {
        self.facts.feeds().into_iter().find(|feed| feed.source == source).and_then(|feed| feed.trouble)
    }

    pub(crate) fn has_leases(&self) -> bool {
        let is_live = |source| self.lease_age(source).is_some_and(|age| age < self.staleness);
        is_live(Source::App) && is_live(Source::Store)
    }

    pub(crate) async fn wait_for_lease(&self) {
        wait_for("both feeds have a lease", async || self.has_leases()).await;
    }

    /// Asks until the answer is as wanted; gives that answer.
    pub(crate) async fn ask_until(&self, state: &str, lane: usize, is_wanted: fn(&Heard) -> bool) -> Heard {
        let from = elapsed();
        loop {
            let heard = self.ask(lane).await;
            if is_wanted(&heard) {
                return heard;
            }
            let feeds = self.facts.feeds();
            assert!(elapsed() < from + PATIENCE, "after a minute it is not so that {state}: {heard:?}, {feeds:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// After a change of lane `lane` that was committed then: asks until it is denied for what it says, and holds every
    /// answer before that to the bound. Gives the time from the commit to the deny.
    pub(crate) async fn denied_in_time(&self, lane: usize, committed: Duration) -> Duration {
        loop {
            let heard = self.ask(lane).await;
            let bound = committed + self.staleness;
            assert!(
                !heard.is_allow() || heard.released <= bound,
                "allowed too late: {heard:?}, committed {committed:?}"
            );
            if heard.is_refusal() {
                return heard.released.saturating_sub(committed);
            }
            assert!(heard.released < committed + PATIENCE, "no deny by the facts within a minute: {heard:?}");
        }
    }

    /// Everything works: kept facts answer, a revocation is seen in time, and what is lifted is allowed again.
    pub(crate) async fn works(&self, databases: &Databases, lane: usize) -> Duration {
        self.wait_for_lease().await;
        self.ask_until("it is allowed", lane, Heard::is_allow).await;
        wait_for("its facts are kept", async || self.is_kept(lane).await).await;
        let committed = databases.write(Source::Store, revoke(lane)).await;
        let lag = self.denied_in_time(lane, committed).await;
        databases.write(Source::Store, lift(lane)).await;
        self.ask_until("it is allowed again", lane, Heard::is_allow).await;
        lag
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a feed's thread panicked");
        }
    }
}

pub(crate) async fn wait_for(state: &str, is_reached: impl AsyncFn() -> bool) {
    let from = elapsed();
    while !is_reached().await {
        assert!(elapsed() < from + PATIENCE, "after a minute it is not so that {state}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
