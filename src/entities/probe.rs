//! SQLite's change feed: one look at `data_version` for each decision, shared by those who ask at the same time.
//!
//! The version moves with every commit of another connection, in this process or another; it says nothing of what
//! changed, so everything kept becomes invalid. Nothing needs to be installed, and nothing can be missed. Where the file
//! itself shows whether anything was committed since the last look ([`Glance`]), the connection is not asked.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use sqlx::SqliteConnection;
use tokio::sync::Mutex;

use super::{
    error::Cause,
    fresh::{Bug, Mark, Validity, is_seeded},
    glance::{Glance, Head},
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
    /// The index of the file, and its head before the version was read.
    seen: Option<(Glance, Head)>,
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
        match eye.open.as_mut().map_or(Glanced::Nothing, |open| open.glanced(file)) {
            Glanced::Untouched => {}
            Glanced::Moved => self.validity.forget(),
            Glanced::Nothing => {
                let before = eye.open.take();
                // A look that fails or is given up leaves no connection behind: the next one is new, and a new one has
                // seen nothing yet.
                let now = see(file, before, &self.validity).await?;
                eye.open = Some(now);
            }
        }
        // Under the lock: no other look is between its tick and its epoch.
        let mark = self.validity.mark(from);
        eye.last = Some((asked, mark));
        Ok(mark)
    }
}

/// What the file shows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Glanced {
    /// Nobody committed since the last look.
    Untouched,
    /// Somebody may have: what was read before may be old.
    Moved,
    /// It shows nothing that can be believed.
    Nothing,
}

impl Open {
    /// Compares the head of the index with the last one seen, and remembers it.
    fn glanced(&mut self, file: &SqliteFile) -> Glanced {
        let Some((glance, last)) = &mut self.seen else { return Glanced::Nothing };
        // The index first: a file that is put in another's place later was put there after this look.
        let Some(head) = glance.head() else { return Glanced::Nothing };
        if *last == Head::NONE || file.identity().map_or(true, |identity| identity != self.identity) {
            return Glanced::Nothing;
        }
        // The head is of before whatever is forgotten for it: a commit after it makes the next look forget again.
        if std::mem::replace(last, head) == head { Glanced::Untouched } else { Glanced::Moved }
    }
}

async fn see(file: &SqliteFile, before: Option<Open>, validity: &Validity) -> Result<Open, Cause> {
    // A restore puts another file at the path, of which the open connection knows nothing.
    let identity = file.identity().map_err(|error| Cause::Io(error.kind()))?;
    let before = before.filter(|open| open.identity == identity);
    let (mut connection, known, glance) = match before {
        Some(open) => (open.connection, Some(open.version), open.seen.map(|(glance, _)| glance)),
        None => (file.open().await?, None, None),
    };
    // The head before the version: a commit between the two makes the next look ask again, never overlook it.
    let head = glance.as_ref().and_then(Glance::head);
    let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut connection).await;
    let version: i64 = version.map_err(|error| Cause::of(&error))?;
    if known != Some(version) {
        validity.forget();
    }
    let head = if is_seeded(Bug::HeadAfterVersion) {
        // A commit comes in between; here it is waited for.
        let is_same = || head.is_some() && glance.as_ref().and_then(Glance::head) == head;
        for _ in 0..1_000 {
            if !is_same() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        glance.as_ref().and_then(Glance::head)
    } else {
        head
    };
    // The connection has read the file now, so its index is there if there is one; its head is read by the next look.
    let seen = match glance.zip(head) {
        None if is_wal(&mut connection).await? => Glance::open(&file.path()).map(|glance| (glance, Head::NONE)),
        seen => seen,
    };
    Ok(Open { connection, identity, version, seen })
}

/// Whether the file has an index that commits rewrite. One that lies beside a file of another mode is left over, and never
/// moves. While this connection is open, the mode stays.
async fn is_wal(connection: &mut SqliteConnection) -> Result<bool, Cause> {
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(connection).await.map_err(|error| Cause::of(&error))?;
    Ok(mode.eq_ignore_ascii_case("wal"))
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};

    use super::*;
    use crate::{
        clock::SystemClock,
        domain::mapping::Source,
        entities::pool::{Database, Pool, PoolOptions},
    };

    /// The database at `path`, and a probe that has not looked at it yet.
    fn watched(path: &std::path::Path) -> (Pool, Probe) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let url = format!("sqlite://{}", path.display());
        let pool = Pool::new(Source::App, &url, PoolOptions::default(), &clock).unwrap();
        (pool, Probe::new(Arc::new(Validity::new()), clock))
    }

    #[tokio::test]
    async fn what_the_head_of_the_index_shows_is_not_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let mut writer = SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
        sqlx::raw_sql("PRAGMA journal_mode = WAL; CREATE TABLE t (id text)").execute(&mut writer).await.unwrap();
        let (pool, probe) = watched(&path);
        let Database::Sqlite(file) = &pool.database else { panic!("a file was asked for") };
        let glanced = async || probe.eye.lock().await.open.as_mut().map_or(Glanced::Nothing, |open| open.glanced(file));
        // The first look finds the index, the second one its head.
        for _ in 0..2 {
            assert_eq!(glanced().await, Glanced::Nothing);
            probe.look(file).await.unwrap();
        }
        assert_eq!(glanced().await, Glanced::Untouched);
        let insert = "INSERT INTO t VALUES ('x')";
        sqlx::raw_sql(insert).execute(&mut writer).await.unwrap();
        assert_eq!(glanced().await, Glanced::Moved, "a commit");
        assert_eq!(glanced().await, Glanced::Untouched, "the same commit");
        for round in 0..20 {
            let before = probe.look(file).await.unwrap();
            assert_eq!(probe.look(file).await.unwrap().tick, before.tick, "nothing was committed, round {round}");
            sqlx::raw_sql(insert).execute(&mut writer).await.unwrap();
            assert!(probe.look(file).await.unwrap().tick > before.tick, "a commit, round {round}");
        }
    }

    #[tokio::test]
    async fn a_commit_during_a_look_is_seen_by_it_or_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let mut writer = SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
        sqlx::raw_sql("PRAGMA journal_mode = WAL; CREATE TABLE t (id text)").execute(&mut writer).await.unwrap();
        let (pool, probe) = watched(&path);
        let Database::Sqlite(file) = &pool.database else { panic!("a file was asked for") };
        // Finds the index; the next one reads its head, whether anything was committed or not.
        let before = probe.look(file).await.unwrap();
        let commit = async {
            // Long enough for the look to have read the version, for whoever swallows what is committed after that.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            sqlx::raw_sql("INSERT INTO t VALUES ('x')").execute(&mut writer).await.unwrap();
        };
        let (during, ()) = tokio::join!(probe.look(file), commit);
        let after = probe.look(file).await.unwrap();
        assert!(after.tick > before.tick, "before {before:?}, during {during:?}, after {after:?}");
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "leaves a file behind, durably or not")]
    async fn an_index_that_is_left_over_beside_a_file_of_another_mode_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let shm = folder.path().join("app.db-shm");
        let mut writer = SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
        sqlx::raw_sql("PRAGMA journal_mode = WAL; CREATE TABLE t (id text)").execute(&mut writer).await.unwrap();
        let index = std::fs::read(&shm).unwrap();
        sqlx::raw_sql("PRAGMA journal_mode = DELETE").execute(&mut writer).await.unwrap();
        assert!(!shm.exists());
        std::fs::write(&shm, &index).unwrap();
        assert!(Glance::open(&path).unwrap().head().is_some(), "it looks like one that is in use");
        let (pool, probe) = watched(&path);
        let Database::Sqlite(file) = &pool.database else { panic!("a file was asked for") };
        for round in 0..4 {
            let before = probe.look(file).await.unwrap();
            assert_eq!(probe.look(file).await.unwrap().tick, before.tick, "nothing was committed, round {round}");
            sqlx::raw_sql("INSERT INTO t VALUES ('x')").execute(&mut writer).await.unwrap();
            assert!(probe.look(file).await.unwrap().tick > before.tick, "a commit, round {round}");
        }
    }

    #[tokio::test]
    async fn where_nothing_can_be_glanced_at_each_look_asks_and_no_commit_is_overlooked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let opened =
            async || SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
        loop {
            let mut writer = opened().await;
            let made = "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (id text)";
            sqlx::raw_sql(made).execute(&mut writer).await.unwrap();
            let is_over = Glance::open(&path).is_none();
            sqlx::Connection::close(writer).await.unwrap();
            if is_over {
                break;
            }
        }
        let mut writer = opened().await;
        let (pool, probe) = watched(&path);
        let Database::Sqlite(file) = &pool.database else { panic!("a file was asked for") };
        for round in 0..3 {
            let before = probe.look(file).await.unwrap();
            assert_eq!(probe.look(file).await.unwrap().tick, before.tick, "nothing was committed, round {round}");
            let open = probe.eye.lock().await.open.as_mut().map(|open| (open.seen.is_none(), open.glanced(file)));
            assert_eq!(open, Some((true, Glanced::Nothing)), "round {round}");
            sqlx::raw_sql("INSERT INTO t VALUES ('x')").execute(&mut writer).await.unwrap();
            assert!(probe.look(file).await.unwrap().tick > before.tick, "a commit, round {round}");
        }
    }
}
