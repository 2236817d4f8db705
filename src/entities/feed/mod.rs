//! The change feed of one source: what changed in the database since the last look, told to [`Validity`].
//!
//! The loop is the same for every database and for the simulator; a database brings [`Connect`] and [`Feed`].

mod bracket;
mod postgres;
mod run;

use std::time::Duration;

use jiff::Timestamp;

pub use postgres::{Examined, FeedDatabase, FeedTask, InstallError, Installed, Mode, Notify, Proof, doctor, install};
pub(super) use postgres::{Listener, PostgresConnect, PostgresOptions, Watched, Watching};
pub(super) use run::{FeedState, run};

use super::{error::Cause, fresh::Changed};

/// Opens connections of a feed: each feed has one of its own, which no load ever uses.
pub(super) trait Connect {
    type Feed: Feed;

    /// A new connection to the one primary. If it is another server than before, the connections of the loads are retired,
    /// and new ones must lead to this one too.
    async fn connect(&mut self) -> Result<Self::Feed, FeedError>;

    /// Waits before the next attempt after `attempts` in a row failed.
    async fn pause(&mut self, attempts: u32);
}

/// One live connection of a feed.
pub(super) trait Feed {
    /// The database's own clock, as it was read while the connection was opened.
    fn server_time(&self) -> Option<Timestamp>;

    /// Whether the feed is whole: everything watched that must be. Asked on a new connection and once a minute. Gives the
    /// digest of the mapping that it looked at.
    async fn inspect(&mut self) -> Result<u64, FeedError>;

    /// Takes the position that changes are told from. A change committed after this is told by some later poll.
    async fn start(&mut self) -> Result<(), FeedError>;

    /// Everything that became visible since the last poll, or since the start; moves the position.
    async fn poll(&mut self) -> Result<Polled, FeedError>;

    /// Waits for the next poll's turn: the interval, or a hint.
    async fn wait(&mut self);
}

/// What one poll brought.
#[derive(Debug)]
pub(super) struct Polled {
    pub(super) changed: Changed,
    /// How long ago the oldest of these changes was written, by the database's clock.
    pub(super) lag: Option<Duration>,
    /// The position after it, as a word for answers and records.
    pub(super) position: String,
    /// The database's own clock, as it was read during the poll.
    pub(super) server_time: Option<Timestamp>,
}

/// Why a feed has no connection, or must take a new one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FeedError {
    #[error("the change feed has no connection")]
    Away(#[source] Cause),
    #[error("the server is a standby: facts and changes are read from the primary alone")]
    Standby,
    /// The server, its history or the feed's tables are not the ones from before.
    #[error("{what}: the feed starts anew")]
    Moved { what: &'static str },
    #[error("the change feed is not whole: {}", problems.join("; "))]
    NotWhole { problems: Vec<String> },
}
