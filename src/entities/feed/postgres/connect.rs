//! Connections of the feed: one of its own, and how long it waits for the next.

use std::{sync::Arc, time::Duration};

use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tokio::{sync::Notify as Wake, time::timeout};

use super::{PostgresFeed, Watching, explain, found::Session, hint::Listener};
use crate::{
    clock::Clock,
    entities::{
        error::Cause,
        feed::{Connect, FeedError},
        primary::Server,
    },
};

const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MOST: Duration = Duration::from_secs(1);
/// A feed that is not whole waits for a person: looking for it more often would only load the database.
const PAUSE_NOT_WHOLE: Duration = Duration::from_secs(2);

/// Told which server the feed follows: the connections of the loads must lead there too.
pub(in crate::entities) type OnConnect = Arc<dyn Fn(Option<Server>) + Send + Sync>;

/// What a feed is made of.
#[derive(Clone)]
pub(in crate::entities) struct PostgresOptions {
    /// Where the primary is, and who reads.
    pub(in crate::entities) connect: PgConnectOptions,
    /// S: a quarter of it is the longest that any one answer is waited for.
    pub(in crate::entities) staleness: Duration,
    /// P: the longest pause between two polls.
    pub(in crate::entities) poll: Duration,
    /// Whether to listen for notifications, which end a pause early.
    pub(in crate::entities) hint: bool,
    pub(in crate::entities) clock: Arc<dyn Clock>,
    /// Called when a connection leads to another server than the one before, and with none when there is no connection.
    pub(in crate::entities) on_connect: OnConnect,
    pub(in crate::entities) watching: Arc<Watching>,
}

/// What the connections of one feed share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) limit: Duration,
    pub(super) poll: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) watching: Arc<Watching>,
    /// Wakes the feed: something was committed, or a listener lost track.
    pub(super) hint: Arc<Wake>,
}

/// Opens the connections of a feed.
pub(in crate::entities) struct PostgresConnect {
    connect: PgConnectOptions,
    shared: Shared,
    on_connect: OnConnect,
    /// The server that the connection before led to.
    server: Option<Server>,
    /// Whether the last connection was left because the feed is not whole.
    was_whole: Arc<std::sync::atomic::AtomicBool>,
}

impl PostgresConnect {
    /// The feed, and what listens for its hints: a future of its own, to be driven beside the feed's.
    pub(in crate::entities) fn new(options: PostgresOptions) -> (Self, Option<Listener>) {
        let limit = options.staleness / 4;
        let shared = Shared {
            limit,
            poll: options.poll,
            clock: options.clock,
            watching: options.watching,
            hint: Arc::new(Wake::new()),
        };
        let connect = session(options.connect, limit);
        let listener = options.hint.then(|| Listener::new(&connect, shared.hint.clone()));
        let was_whole = Arc::new(std::sync::atomic::AtomicBool::new(true));
        (Self { connect, shared, on_connect: options.on_connect, server: None, was_whole }, listener)
    }
}

/// Options of a session that asks for plans and polls.
pub(super) fn session(connect: PgConnectOptions, limit: Duration) -> PgConnectOptions {
    let limit = limit.as_millis().max(1).to_string();
    connect
        .application_name("chaperone-feed")
        .options([("default_transaction_read_only", "on"), ("statement_timeout", limit.as_str())])
        .options(explain::SETTINGS)
        .disable_statement_logging()
}

/// Opens a connection, and says where it leads.
pub(super) async fn open(connect: &PgConnectOptions, limit: Duration) -> Result<(PgConnection, Session), Cause> {
    let opened = async {
        let mut connection = connect.connect().await.map_err(|error| Cause::of(&error))?;
        let session = Session::of(&mut connection).await?;
        Ok((connection, session))
    };
    timeout(limit, opened).await.unwrap_or(Err(Cause::Timeout))
}

/// When the loads are told where the feed is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Anyway,
    IfOther,
}

impl PostgresConnect {
    fn lead(&mut self, server: Option<Server>, change: Change) {
        if change == Change::Anyway || self.server != server {
            (self.on_connect)(server.clone());
            self.server = server;
        }
    }
}

impl Connect for PostgresConnect {
    type Feed = PostgresFeed;

    async fn connect(&mut self) -> Result<PostgresFeed, FeedError> {
        let (connection, session) = match open(&self.connect, self.shared.limit).await {
            Ok((_, Session { in_recovery: true, .. })) => {
                // The loads' connections may lead there too.
                self.lead(None, Change::Anyway);
                return Err(FeedError::Standby);
            }
            Ok(opened) => opened,
            Err(cause) => {
                self.lead(None, Change::IfOther);
                return Err(FeedError::Away(cause));
            }
        };
        self.lead(Some(session.server.clone()), Change::IfOther);
        Ok(PostgresFeed::new(connection, session, self.shared.clone(), self.was_whole.clone()))
    }

    async fn pause(&mut self, attempts: u32) {
        let doubled = PAUSE_FIRST.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
        let is_whole = self.was_whole.load(std::sync::atomic::Ordering::SeqCst);
        let pause = if is_whole { doubled.min(PAUSE_MOST) } else { PAUSE_NOT_WHOLE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.shared.watching.changed.notified() => {}
        }
    }
}
