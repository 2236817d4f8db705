//! Following the change feeds: one thread and one connection for each database that has one, so that no flood of
//! questions can cost a lease.

use std::{io, sync::Arc, time::Duration};

use super::{
    facts::Facts,
    feed::{FeedState, Listener, PostgresConnect, PostgresOptions, Watched, Watching, run},
    fresh::Validity,
    pool::Database,
    source::{Origin, Way},
};
use crate::{
    clock::Clock,
    domain::mapping::{Mapping, Source},
};

/// Called with the age of the oldest change that a poll brought.
pub type OnLag = Arc<dyn Fn(Duration) + Send + Sync>;

/// How the feeds are followed.
#[derive(Clone)]
pub struct FollowOptions {
    /// The longest pause between two polls.
    pub poll: Duration,
    /// Whether to listen for notifications, which end a pause early; without them only the pause is longer.
    pub hint: bool,
    pub on_lag: OnLag,
}

/// One feed, to be run on a thread of its own.
pub struct Follower {
    source: Source,
    validity: Arc<Validity>,
    state: Arc<FeedState>,
    clock: Arc<dyn Clock>,
    connect: PostgresConnect,
    listener: Option<Listener>,
    on_lag: OnLag,
}

/// What an operator may know of a feed.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedReport {
    pub source: Source,
    /// Since the feed was last heard of, or since it was waited for.
    pub silence: Duration,
    /// The same while it counts; `None`: nothing kept is used.
    pub lease_age: Option<Duration>,
    /// Why there is no lease, with what to do; without ids and values.
    pub trouble: Option<String>,
    /// By how much the database's clock is ahead, in seconds.
    pub skew_seconds: Option<f64>,
}

impl Facts {
    /// From now on the feeds tell of what `mapping` reads. Until each has looked, its facts are read for each question.
    pub fn watch(&self, mapping: &Mapping) {
        for (origin, watching) in self.watched() {
            watching.set(mapping.digest, Watched::of(mapping, origin.source));
        }
    }

    /// The feeds to follow: none for a database that each decision looks at by itself.
    pub fn followers(&self, options: &FollowOptions) -> Vec<Follower> {
        self.watched().filter_map(|(origin, watching)| self.follower(origin, watching, options)).collect()
    }

    /// How each feed is.
    pub fn feeds(&self) -> Vec<FeedReport> {
        self.watched().map(|(origin, _)| self.report(origin)).collect()
    }

    fn watched(&self) -> impl Iterator<Item = (&Origin, &Arc<Watching>)> {
        [Source::App, Source::Store].into_iter().filter_map(|source| {
            let origin = self.origin(source)?;
            match &origin.way {
                Way::Sqlite { .. } => None,
                Way::Postgres { watching, .. } => Some((origin, watching)),
            }
        })
    }

    fn follower(&self, origin: &Origin, watching: &Arc<Watching>, options: &FollowOptions) -> Option<Follower> {
        let Database::Postgres { connect, primary, .. } = &origin.pool.database else { return None };
        let primary = Arc::clone(primary);
        let (connect, listener) = PostgresConnect::new(PostgresOptions {
            connect: (**connect).clone(),
            staleness: self.staleness(),
            poll: options.poll,
            hint: options.hint,
            clock: Arc::clone(self.clock()),
            on_connect: Arc::new(move |server| primary.follow(server)),
            watching: Arc::clone(watching),
        });
        Some(Follower {
            source: origin.source,
            validity: Arc::clone(&origin.validity),
            state: Arc::clone(&origin.feed),
            clock: Arc::clone(self.clock()),
            connect,
            listener,
            on_lag: Arc::clone(&options.on_lag),
        })
    }

    fn report(&self, origin: &Origin) -> FeedReport {
        let seen = origin.feed.seen();
        let age = origin.validity.lease().map(|lease| self.clock().elapsed().saturating_sub(lease));
        FeedReport {
            source: origin.source,
            silence: self.clock().elapsed().saturating_sub(seen.heard.unwrap_or(self.since())),
            lease_age: age,
            trouble: seen.trouble.map(|trouble| crate::telemetry::Chain(&trouble).to_string()),
            skew_seconds: seen.skew_seconds,
        }
    }
}

impl Follower {
    pub const fn source(&self) -> Source {
        self.source
    }

    /// Follows the feed on this thread until `stop` comes.
    ///
    /// # Errors
    ///
    /// When the system gives no event loop.
    pub fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), io::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = self.listener.take();
        runtime.block_on(async {
            let feed = run(&mut self.connect, &self.validity, &self.state, &*self.clock, &*self.on_lag);
            let hints = async {
                match listener {
                    Some(listener) => listener.run().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = feed => {}
                () = hints => {}
                () = stop => {}
            }
        });
        // Nobody renews the lease any more: what is kept must not be believed until it runs out.
        self.validity.drop_lease();
        Ok(())
    }
}
