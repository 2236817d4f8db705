//! What is wrong with a database file though it can be read: nothing of it shows before a revocation comes late.

use std::fmt;

use super::{
    error::Cause,
    facts::Facts,
    pool::{Database, SqliteFile},
};
use crate::domain::mapping::Source;

/// Something that who runs the database should change. No id and no value of a row is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caution {
    /// Readers that overlap keep the application from committing.
    JournalMode { database: Source, mode: String },
    /// Locks do not hold there, and what another machine wrote may be seen late.
    NetworkFile { database: Source },
}

impl fmt::Display for Caution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JournalMode { database, mode } => write!(
                f,
                "source `{}` is in journal mode `{mode}`, in which readers can keep a revocation from being committed: run `PRAGMA journal_mode = WAL` on it once",
                database.as_str()
            ),
            Self::NetworkFile { database } => write!(
                f,
                "source `{}` lies on a network file system, where SQLite's locks do not hold and a revocation may be seen late: put it on a local disk",
                database.as_str()
            ),
        }
    }
}

impl Facts {
    /// What to be careful about. A database that is away says nothing here: [`Self::away`] does.
    pub async fn cautions(&self) -> Vec<Caution> {
        let mut cautions = Vec::new();
        for origin in [Source::App, Source::Store].into_iter().filter_map(|source| self.origin(source)) {
            let Database::Sqlite(file) = &origin.pool.database else { continue };
            let database = origin.source;
            if is_on_network(file) {
                cautions.push(Caution::NetworkFile { database });
            }
            let limit = origin.pool.options.statement_timeout;
            match tokio::time::timeout(limit, journal_mode(file)).await {
                Ok(Ok(mode)) if mode != "wal" => cautions.push(Caution::JournalMode { database, mode }),
                Ok(Ok(_) | Err(_)) | Err(_) => {}
            }
        }
        cautions
    }
}

async fn journal_mode(file: &SqliteFile) -> Result<String, Cause> {
    let pool = file.pool().map_err(|error| Cause::Io(error.kind()))?;
    let mut connection = pool.acquire().await.map_err(|error| Cause::of(&error))?;
    // A connection tells the mode it last read the file in: it has to read it now.
    let read = sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1").fetch_optional(&mut *connection).await;
    read.map_err(|error| Cause::of(&error))?;
    sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await.map_err(|error| Cause::of(&error))
}

fn is_on_network(file: &SqliteFile) -> bool {
    rustix::fs::statfs(file.path()).is_ok_and(|stat| is_network(i128::from(stat.f_type) & 0xffff_ffff))
}

/// By the number that Linux gives each file system.
const fn is_network(kind: i128) -> bool {
    matches!(
        kind,
        // NFS, CIFS, SMB 2, SMB
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x517b
        // 9P, Ceph, AFS, Coda, Lustre, GPFS, OCFS2
        | 0x0102_1997 | 0x00c3_6400 | 0x5346_414f | 0x7375_7245 | 0x0bd0_0bd0 | 0x4750_4653 | 0x7461_636f
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        for network in [0x6969, 0xfe53_4d42, 0x0102_1997, 0x00c3_6400] {
            assert!(is_network(network), "{network:x}");
        }
        // ext4, XFS, Btrfs, tmpfs, overlay, ZFS
        for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1] {
            assert!(!is_network(local), "{local:x}");
        }
    }
}
