//! SQLite's change feed: one look at `data_version` for each decision, shared by those who ask at the same time.
//!
//! The version moves with every commit of another connection, in this process or another; it says nothing of what
//! changed, so everything kept becomes invalid. Nothing needs to be installed, and nothing can be missed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use sqlx::SqliteConnection;
use tokio::sync::Mutex;

use super::{
    error::Cause,
    fresh::{Mark, Validity},
    pool::{FileIdentity, SqliteFile},
};
use crate::clock::Clock;

/// Looks at one database file on a connection that does nothing else.
#[derive(Debug)]
pub(super) struct Probe {
    validity: Arc<Validity>,
    clock: Arc<dyn Clock>,
    /// How often a look was asked for.
    asked: AtomicU64,
    eye: Mutex<Eye>,
}

#[derive(Debug, Default)]
struct Eye {
    /// A look that began when this many had asked has ended well. Its mark was taken before anybody could look again.
    last: Option<(u64, Mark)>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    connection: SqliteConnection,
    identity: FileIdentity,
    version: i64,
}

impl Probe {
    pub(super) fn new(validity: Arc<Validity>, clock: Arc<dyn Clock>) -> Self {
        Self { validity, clock, asked: AtomicU64::new(0), eye: Mutex::new(Eye::default()) }
    }

    /// Takes in every change that was committed before this call. Gives the mark by which kept facts may count.
    pub(super) async fn look(&self, file: &SqliteFile) -> Result<Mark, Cause> {
        let turn = self.asked.fetch_add(1, SeqCst) + 1;
        let mut eye = self.eye.lock().await;
        // Somebody looked after this one had asked.
        if let Some((seen, mark)) = eye.last
            && seen >= turn
        {
            return Ok(mark);
        }
        let asked = self.asked.load(SeqCst);
        let from = self.clock.elapsed();
        let before = eye.open.take();
        // A look that fails or is given up leaves no connection behind: the next one is new, and a new one has seen
        // nothing yet.
        let now = see(file, before, &self.validity).await?;
        eye.open = Some(now);
        // Under the lock: no other look is between its tick and its epoch.
        let mark = self.validity.mark(from);
        eye.last = Some((asked, mark));
        Ok(mark)
    }
}

async fn see(file: &SqliteFile, before: Option<Open>, validity: &Validity) -> Result<Open, Cause> {
    // A restore puts another file at the path, of which the open connection knows nothing.
    let identity = file.identity().map_err(|error| Cause::Io(error.kind()))?;
    let before = before.filter(|open| open.identity == identity);
    let (mut connection, seen) = match before {
        Some(open) => (open.connection, Some(open.version)),
        None => (file.open().await?, None),
    };
    let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut connection).await;
    let version: i64 = version.map_err(|error| Cause::of(&error))?;
    if seen != Some(version) {
        validity.forget();
    }
    Ok(Open { connection, identity, version })
}
