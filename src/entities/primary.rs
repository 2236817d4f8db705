//! Which server loads may be read from: the one that the feed follows, and no connection from before it did.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use sqlx::{PgConnection, Row as _};

use super::{
    error::Cause,
    fresh::{Bug, is_seeded},
};
use crate::clock::Clock;

/// Tells a server, and one run of it, from every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// `None`: the role may not ask for the identifier of the system.
    system: Option<String>,
    started: String,
}

impl Server {
    /// The server that a connection leads to, and whether it is in recovery.
    pub(super) async fn of(connection: &mut PgConnection) -> Result<(Self, bool), Cause> {
        Self::read(connection).await.map_err(|error| Cause::of(&error))
    }

    async fn read(connection: &mut PgConnection) -> Result<(Self, bool), sqlx::Error> {
        let row = sqlx::query(
            "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_postmaster_start_time()::text,
                    pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')",
        )
        .fetch_one(&mut *connection)
        .await?;
        let (in_recovery, started, may_identify): (bool, String, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        // A right that is missing fails the statement that could need it, so this is one of its own.
        let system = if may_identify {
            let system = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
            Some(sqlx::query_scalar(system).fetch_one(connection).await?)
        } else {
            None
        };
        Ok((Self { system, started }, in_recovery))
    }
}

/// What the feed knows of the primary, for the connections of the loads.
#[derive(Debug)]
pub(super) struct Primary {
    clock: Arc<dyn Clock>,
    /// The server that the feed follows; `None`: it follows none, and any that is not in recovery is as good.
    followed: Mutex<Option<Server>>,
    /// Connections opened before this instant are of no more use. Nanoseconds of the clock's elapsed time.
    retired_before: AtomicU64,
    /// How often connections were retired.
    retirements: AtomicU64,
}

impl Primary {
    pub(super) const fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, followed: Mutex::new(None), retired_before: AtomicU64::new(0), retirements: AtomicU64::new(0) }
    }

    /// From now on this is the server that the feed follows. Every connection that is open now is retired: it may lead
    /// to another one.
    pub(super) fn follow(&self, server: Option<Server>) {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = server;
        let now = u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.retired_before.fetch_max(now, SeqCst);
        self.retirements.fetch_add(1, SeqCst);
    }

    /// Whether a connection of this age must not be used any more.
    pub(super) fn is_retired(&self, age: Duration) -> bool {
        self.clock.elapsed().saturating_sub(age) <= Duration::from_nanos(self.retired_before.load(SeqCst))
    }

    /// Changes with every retirement: whoever holds a connection since before lets it go.
    pub(super) fn retirements(&self) -> u64 {
        self.retirements.load(SeqCst)
    }

    /// Refuses a new connection that facts must not be read from.
    pub(super) async fn admit(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (server, in_recovery) = Server::read(connection).await?;
        // A standby may lag: a revocation committed on the primary would stay unseen.
        if in_recovery && !is_seeded(Bug::LoadsFromStandby) {
            return Err(sqlx::Error::Protocol("the server is in recovery".to_owned()));
        }
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.as_ref().is_some_and(|followed| *followed != server) && !is_seeded(Bug::LoadsFromAnotherServer) {
            return Err(sqlx::Error::Protocol("the server is not the one that the change feed follows".to_owned()));
        }
        Ok(())
    }
}
