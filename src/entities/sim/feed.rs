//! The feed's simulated connection: each exchange is sent, sees its snapshot, and comes back, or is lost.

use std::sync::Arc;

use super::world::World;
use crate::entities::{
    error::Cause,
    feed::{Connect, Feed, FeedError, Polled},
    fresh::Changed,
};

/// The one mapping of the simulation.
pub(super) const MAPPING: u64 = 7;

pub(super) struct SimConnect(pub(super) Arc<World>);

pub(super) struct SimFeed {
    world: Arc<World>,
    cursor: usize,
}

const LOST: FeedError = FeedError::Away(Cause::Timeout);

impl Connect for SimConnect {
    type Feed = SimFeed;

    async fn connect(&mut self) -> Result<SimFeed, FeedError> {
        self.0.gate().await;
        let mut state = self.0.state();
        if state.loses_feed() {
            return Err(LOST);
        }
        state.tally.connects += 1;
        drop(state);
        self.0.note(|| "feed: connected".into());
        Ok(SimFeed { world: Arc::clone(&self.0), cursor: 0 })
    }

    async fn pause(&mut self, _attempts: u32) {
        self.0.note(|| "feed: lost its connection".into());
        self.0.state().tally.lost += 1;
        self.0.gate().await;
    }
}

impl SimFeed {
    /// On its way there or back.
    async fn travel(&self) -> Result<(), FeedError> {
        self.world.gate().await;
        if self.world.state().loses_feed() { Err(LOST) } else { Ok(()) }
    }
}

impl Feed for SimFeed {
    fn server_time(&self) -> Option<jiff::Timestamp> {
        None
    }

    async fn inspect(&mut self) -> Result<u64, FeedError> {
        self.travel().await?;
        Ok(MAPPING)
    }

    async fn start(&mut self) -> Result<(), FeedError> {
        // The session is set up, then the position is asked for.
        self.travel().await?;
        self.travel().await?;
        self.cursor = self.world.state().log.position();
        let cursor = self.cursor;
        self.world.note(|| format!("feed: starts from commit {cursor}"));
        self.travel().await
    }

    async fn poll(&mut self) -> Result<Polled, FeedError> {
        self.world.note(|| "feed: poll sent".into());
        self.travel().await?;
        let (changed, seen) = {
            let mut state = self.world.state();
            let is_coarse = state.dice.in_hundred(10);
            let is_everything = state.dice.in_hundred(3);
            let changed = state.log.changes_since(self.cursor, is_coarse);
            state.tally.polls += 1;
            (if is_everything { Changed::Everything } else { changed }, state.log.position())
        };
        self.world.note(|| format!("feed: poll sees up to commit {seen}"));
        self.travel().await?;
        self.world.note(|| format!("feed: poll back, up to commit {seen}"));
        self.cursor = seen;
        Ok(Polled { changed, lag: None, position: seen.to_string(), server_time: None })
    }

    async fn wait(&mut self) {
        self.world.gate().await;
    }
}
