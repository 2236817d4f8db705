//! A glance at a SQLite file in WAL mode: the head of its WAL index, which every commit rewrites.
//!
//! The head is what SQLite itself compares to learn that nothing was committed (`walIndexTryHdr`), 48 bytes kept twice in
//! the file `-shm`, which all connections share. Reading it costs one call and no other thread; asking a connection costs
//! two changes of threads and more. A head that is the same proves that nothing was committed; one that differs is taken for
//! a commit, be it one or not; one that cannot be read sends the look to the connection. Format: SQLite, "The WAL-Index File
//! Format", section 2.1.
//!
//! INVARIANT(never-closed): SQLite locks this file with POSIX locks, which belong to the process: closing any descriptor of
//! it would drop them all, and the next process to come would take the index for its own and begin it anew. So each index is
//! opened once in the life of the process, whoever looks at it, and never closed. A database whose last connection goes takes
//! its index away, and the next one makes another: after [`KEPT_MAX`] of them at one path, no more are opened there.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// One copy of the head.
const COPY_BYTES: usize = 48;
/// Where a copy says that it was written at all.
const IS_INIT_AT: usize = 12;

/// How many indexes of one path are kept open: those of a database that is opened and closed again and again add up.
const KEPT_MAX: usize = 64;

/// An open WAL index. The connection that it belongs to must stay open: while it is, the index stays where it is.
#[derive(Debug)]
pub(super) struct Glance {
    path: PathBuf,
    index: Arc<File>,
    identity: Identity,
}

/// Device and inode. While an index is open, no other one gets its number.
type Identity = (u64, u64);

/// Every index that was opened, for the life of the process, and how many at each path.
#[derive(Debug)]
struct Opened {
    indexes: BTreeMap<Identity, Vec<Arc<File>>>,
    counts: BTreeMap<PathBuf, usize>,
}

static OPENED: Mutex<Opened> = Mutex::new(Opened { indexes: BTreeMap::new(), counts: BTreeMap::new() });

/// The open index at `path`; `None` where too many were opened before it.
fn opened(path: &Path) -> io::Result<Option<(Identity, Arc<File>)>> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let Opened { indexes, counts } = &mut *opened;
    let here = identity(&std::fs::metadata(path)?);
    if let Some(index) = indexes.get(&here).and_then(|all| all.first()) {
        return Ok(Some((here, Arc::clone(index))));
    }
    let count = counts.entry(path.to_owned()).or_default();
    if *count >= KEPT_MAX {
        if *count == KEPT_MAX {
            *count += 1;
            tracing::warn!(
                indexes = KEPT_MAX,
                "a SQLite database was closed by all and opened again too often: from now on each decision asks a \
                 connection whether it was written, until the next start"
            );
        }
        return Ok(None);
    }
    let index = Arc::new(File::open(path)?);
    *count += 1;
    // Another one may have come to the path since, of which one is open already: this one is kept as well.
    let found = index.metadata().map(|stat| identity(&stat));
    indexes.entry(*found.as_ref().unwrap_or(&here)).or_default().push(Arc::clone(&index));
    found.map(|found| Some((found, index)))
}

fn identity(stat: &Metadata) -> Identity {
    (stat.dev(), stat.ino())
}

/// What the head was, whole: equal heads have no commit between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head([u8; COPY_BYTES]);

impl Head {
    /// No index has it: [`Glance::head`] gives none that is not written.
    pub(super) const NONE: Self = Self([0; COPY_BYTES]);
}

impl Glance {
    /// The index of the database at `database`; `None` where there is none, as in every other journal mode, or where none
    /// is opened any more.
    pub(super) fn open(database: &Path) -> Option<Self> {
        let mut path: OsString = database.as_os_str().to_owned();
        path.push("-shm");
        let path = PathBuf::from(path);
        let (identity, index) = opened(&path).ok()??;
        Some(Self { path, index, identity })
    }

    /// The head as it is now; `None` while it is being written, or if the index is no longer the one at its path.
    pub(super) fn head(&self) -> Option<Head> {
        let stat = std::fs::metadata(&self.path).ok()?;
        if identity(&stat) != self.identity {
            return None;
        }
        let (first, second) = self.copies().ok()?;
        // A writer changes the second copy first: two that are equal are of one commit.
        (first == second && first.get(IS_INIT_AT) == Some(&1)).then_some(Head(first))
    }

    fn copies(&self) -> io::Result<([u8; COPY_BYTES], [u8; COPY_BYTES])> {
        let (mut first, mut second) = ([0; COPY_BYTES], [0; COPY_BYTES]);
        // As SQLite reads them: the one that is written last is read first.
        self.index.read_exact_at(&mut first, 0)?;
        self.index.read_exact_at(&mut second, 48)?;
        Ok((first, second))
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};

    use super::*;

    async fn run(connection: &mut SqliteConnection, sql: &'static str) {
        sqlx::raw_sql(sql).execute(connection).await.unwrap();
    }

    async fn opened_at(path: &Path) -> SqliteConnection {
        SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
    }

    /// How many locks this process holds on the file, by what the kernel says.
    fn locks_on(path: &Path) -> usize {
        let of = format!(":{} ", std::fs::metadata(path).unwrap().ino());
        let own = format!(" {} ", std::process::id());
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().filter(|line| line.contains("POSIX") && line.contains(&of) && line.contains(&own)).count()
    }

    #[tokio::test]
    async fn looking_at_the_index_takes_no_lock_of_sqlite_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let mut writer = opened_at(&path).await;
        run(&mut writer, "PRAGMA journal_mode = WAL; CREATE TABLE one (version integer)").await;
        let shm = folder.path().join("app.db-shm");
        let held = locks_on(&shm);
        assert!(held > 0, "an open connection says so by a lock");
        for _ in 0..3 {
            assert!(Glance::open(&path).unwrap().head().is_some());
            assert_eq!(locks_on(&shm), held, "a glance that is over");
        }
    }

    /// How many descriptors this process has on files of that folder that are gone.
    fn gone_in(folder: &Path) -> usize {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let targets = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        targets.filter(|at| at.starts_with(folder) && at.to_string_lossy().ends_with(" (deleted)")).count()
    }

    #[tokio::test]
    async fn of_a_database_that_comes_and_goes_so_many_indexes_are_kept_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        for round in 0..KEPT_MAX + 6 {
            let mut writer = opened_at(&path).await;
            run(&mut writer, "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS one (version integer)").await;
            assert_eq!(Glance::open(&path).is_some(), round < KEPT_MAX, "round {round}");
            // The one that was opened is there for all that look again.
            assert_eq!(Glance::open(&path).is_some(), round < KEPT_MAX, "round {round}");
            sqlx::Connection::close(writer).await.unwrap();
            assert_eq!(gone_in(folder.path()), KEPT_MAX.min(round + 1), "round {round}");
        }
        let elsewhere = folder.path().join("store.db");
        let mut writer = opened_at(&elsewhere).await;
        run(&mut writer, "PRAGMA journal_mode = WAL; CREATE TABLE one (version integer)").await;
        assert!(Glance::open(&elsewhere).is_some(), "another database");
    }

    #[tokio::test]
    async fn the_head_moves_with_every_commit_and_with_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let mut writer = opened_at(&path).await;
        run(&mut writer, "PRAGMA journal_mode = WAL; CREATE TABLE one (version integer); INSERT INTO one VALUES (0)")
            .await;
        let glance = Glance::open(&path).unwrap();
        let mut last = glance.head().unwrap();
        for round in 0..500 {
            run(&mut writer, "BEGIN IMMEDIATE; UPDATE one SET version = version + 1").await;
            assert_eq!(glance.head(), Some(last), "nothing is committed yet, round {round}");
            run(&mut writer, "COMMIT").await;
            let now = glance.head().unwrap();
            assert_ne!(now, last, "a commit, round {round}");
            last = now;
            if round % 100 == 50 {
                run(&mut writer, "PRAGMA wal_checkpoint(TRUNCATE)").await;
                last = glance.head().unwrap_or(last);
            }
            run(&mut writer, "SELECT * FROM one").await;
        }
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "damages a file, durably or not")]
    async fn there_is_no_head_where_nothing_can_be_told_by_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let mut writer = opened_at(&path).await;
        run(&mut writer, "PRAGMA journal_mode = DELETE; CREATE TABLE one (version integer)").await;
        assert!(Glance::open(&path).is_none(), "no WAL, no index");
        run(&mut writer, "PRAGMA journal_mode = WAL; INSERT INTO one VALUES (0)").await;
        let glance = Glance::open(&path).unwrap();
        assert!(glance.head().is_some());
        let shm = folder.path().join("app.db-shm");
        let bytes = std::fs::read(&shm).unwrap();
        std::fs::rename(&shm, folder.path().join("elsewhere")).unwrap();
        assert_eq!(glance.head(), None, "it is not at its path");
        std::fs::write(&shm, &bytes).unwrap();
        assert_eq!(glance.head(), None, "another one is at its path");
        let other = Glance::open(&path).unwrap();
        assert!(other.head().is_some());
        for (at, why) in [(8, "the copies differ"), (12, "it says that it was not written")] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            if at == 12 {
                bytes[48 + at] ^= 1;
            }
            std::fs::write(&shm, bytes).unwrap();
            assert_eq!(other.head(), None, "{why}");
        }
        std::fs::write(&shm, &bytes[..60]).unwrap();
        assert_eq!(other.head(), None, "it is cut off");
    }
}
