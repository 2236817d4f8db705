//! A glance at a SQLite file in WAL mode: the head of its WAL index, which every commit rewrites.
//!
//! The head is what SQLite itself compares to learn that nothing was committed (`walIndexTryHdr`), 48 bytes kept twice in
//! the file `-shm`, which all connections share. Reading it costs one call and no other thread; asking a connection costs
//! two changes of threads and more. Only "nothing changed" is believed: whatever else the head says, or a head that cannot
//! be read, sends the look to the connection. Format: SQLite, "The WAL-Index File Format", section 2.1.

use std::{
    ffi::OsString,
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// One copy of the head.
const COPY_BYTES: usize = 48;
/// Where a copy says that it was written at all.
const IS_INIT_AT: usize = 12;

/// An open WAL index. The connection that it belongs to must stay open: while it is, the index stays where it is.
#[derive(Debug)]
pub(super) struct Glance {
    path: PathBuf,
    index: File,
    device: u64,
    inode: u64,
}

/// What the head was, whole: equal heads have no commit between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head([u8; COPY_BYTES]);

impl Head {
    /// No index has it: [`Glance::head`] gives none that is not written.
    pub(super) const NONE: Self = Self([0; COPY_BYTES]);
}

impl Glance {
    /// The index of the database at `database`; `None` where there is none, as in every other journal mode.
    pub(super) fn open(database: &Path) -> Option<Self> {
        let mut path: OsString = database.as_os_str().to_owned();
        path.push("-shm");
        let path = PathBuf::from(path);
        let index = File::open(&path).ok()?;
        let stat = index.metadata().ok()?;
        Some(Self { path, index, device: stat.dev(), inode: stat.ino() })
    }

    /// The head as it is now; `None` while it is being written, or if the index is no longer the one at its path.
    pub(super) fn head(&self) -> Option<Head> {
        let stat = std::fs::metadata(&self.path).ok()?;
        if !self.is(&stat) {
            return None;
        }
        let (first, second) = self.copies().ok()?;
        // A writer changes the second copy first: two that are equal are of one commit.
        (first == second && first.get(IS_INIT_AT) == Some(&1)).then_some(Head(first))
    }

    fn is(&self, stat: &Metadata) -> bool {
        (stat.dev(), stat.ino()) == (self.device, self.inode)
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

    async fn opened(path: &Path) -> SqliteConnection {
        SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
    }

    #[tokio::test]
    async fn the_head_moves_with_every_commit_and_with_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let mut writer = opened(&path).await;
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
        let mut writer = opened(&path).await;
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
