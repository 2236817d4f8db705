//! Notifications, as a hint that something was committed. Only latency rests on them.

use std::{sync::Arc, time::Duration};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::Notify as Wake;

use crate::entities::error::Cause;

const CHANNEL: &str = "chaperone";

/// Between two attempts to listen. Meanwhile changes wait for the next poll.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens on a connection of its own, which is no other's.
pub(in crate::entities) struct Listener {
    pool: PgPool,
    hint: Arc<Wake>,
}

impl Listener {
    pub(super) fn new(connect: &PgConnectOptions, hint: Arc<Wake>) -> Self {
        // PgListener takes its connection from a pool: this one has no other use.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PAUSE * 5)
            .connect_lazy_with(connect.clone().application_name("chaperone-hint"));
        Self { pool, hint }
    }

    /// Listens for good: ends only by being dropped.
    pub(in crate::entities) async fn run(self) {
        loop {
            if let Err(error) = self.listen().await {
                tracing::debug!(cause = %Cause::of(&error), "no notifications are heard; changes wait for the next poll");
            }
            // What was sent while nobody listened is lost.
            self.hint.notify_one();
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns when the connection is lost.
    async fn listen(&self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        self.hint.notify_one();
        while listener.try_recv().await?.is_some() {
            // Its buffer has no bound, so it is emptied: one hint stands for all of them.
            while listener.next_buffered().is_some() {}
            self.hint.notify_one();
        }
        Ok(())
    }
}
