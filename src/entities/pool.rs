//! Read-only pools on the databases that facts come from.
//!
//! A pool is made without connecting: a database that is away at start is a problem that [`super::Facts::check`]
//! reports, not a crash. Nothing here can write: SQLite files are opened read-only and `query_only`, PostgreSQL
//! sessions default to read-only transactions.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions, PgPool, SqliteConnection, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::{
    error::{Cause, ConnectError},
    loader::Loader,
    primary::Primary,
};
use crate::{clock::Clock, domain::mapping::Source};

/// Prepared statements kept by a connection: more than a mapping has queries.
const STATEMENTS_MAX: usize = 512;

/// KiB of a SQLite file that each connection keeps, as a negative number: facts are kept here in less room, and the file
/// itself by the system, for all connections at once.
const SQLITE_CACHE: &str = "-128";

/// More readers of one file than processors answer no sooner, and each takes a thread, the schema and a page cache. The
/// two more are for those that wait for the disk.
fn readers_of_a_file() -> u32 {
    let processors = std::thread::available_parallelism().ok().and_then(|count| u32::try_from(count.get()).ok());
    processors.unwrap_or(1).saturating_add(2)
}

/// How a database is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    pub connections: u32,
    /// A statement, and the wait for a connection, may take this long.
    pub statement_timeout: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { connections: 8, statement_timeout: Duration::from_secs(1) }
    }
}

/// One database, read-only.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) database: Database,
    /// Where it is, without user, password and parameters.
    pub(super) address: String,
    pub(super) options: PoolOptions,
}

#[derive(Debug)]
pub(super) enum Database {
    Sqlite(Box<SqliteFile>),
    /// Connections of the pool are used by what the loader runs, and by nothing else.
    Postgres {
        pool: PgPool,
        loader: Arc<Loader>,
        connect: Box<PgConnectOptions>,
        primary: Arc<Primary>,
    },
}

impl Pool {
    /// Reads the url; connects later.
    pub(super) fn new(
        source: Source,
        url: &str,
        options: PoolOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        let unreadable = |cause| ConnectError::Url { database: source, cause };
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => {
                let connect = SqliteConnectOptions::from_str(url).map_err(unreadable)?;
                let options = PoolOptions { connections: options.connections.min(readers_of_a_file()), ..options };
                let address = format!("sqlite://{}", connect.get_filename().display());
                Ok(Self { database: Database::Sqlite(Box::new(SqliteFile::new(connect, options))), address, options })
            }
            Some("postgres" | "postgresql") => {
                let connect = postgres_options(PgConnectOptions::from_str(url).map_err(unreadable)?, options);
                let place = connect
                    .get_socket()
                    .map_or_else(|| connect.get_host().to_owned(), |socket| socket.display().to_string());
                let address =
                    format!("postgres://{place}:{}/{}", connect.get_port(), connect.get_database().unwrap_or_default());
                let primary = Arc::new(Primary::new(Arc::clone(clock)));
                let loader = Loader::start(source).map_err(|cause| ConnectError::Thread { database: source, cause })?;
                let pool = {
                    let _there = loader.enter();
                    postgres_pool(options, &primary).connect_lazy_with(connect.clone())
                };
                Ok(Self {
                    database: Database::Postgres {
                        pool,
                        loader: Arc::new(loader),
                        connect: Box::new(connect),
                        primary,
                    },
                    address,
                    options,
                })
            }
            Some(scheme) => Err(ConnectError::Scheme { database: source, scheme: scheme.chars().take(20).collect() }),
            None => Err(ConnectError::Scheme { database: source, scheme: String::new() }),
        }
    }
}

fn postgres_options(connect: PgConnectOptions, options: PoolOptions) -> PgConnectOptions {
    let timeout = options.statement_timeout.as_millis().to_string();
    connect
        .application_name("chaperone")
        .statement_cache_capacity(STATEMENTS_MAX)
        .options([
            ("default_transaction_read_only", "on"),
            ("statement_timeout", &timeout),
            ("idle_in_transaction_session_timeout", &timeout),
        ])
        .disable_statement_logging()
}

fn postgres_pool(options: PoolOptions, primary: &Arc<Primary>) -> PgPoolOptions {
    let (opening, using) = (Arc::clone(primary), Arc::clone(primary));
    PgPoolOptions::new()
        .before_acquire(move |_, meta| {
            let is_usable = !using.is_retired(meta.age);
            Box::pin(async move { Ok(is_usable) })
        })
        .max_connections(options.connections)
        .acquire_timeout(options.statement_timeout)
        // A connection that broke while idle is noticed by its next statement, which another one then repeats:
        // cheaper than a round trip before each.
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let primary = Arc::clone(&opening);
            Box::pin(async move { primary.admit(connection).await })
        })
}

/// A database file that another process writes, and may replace.
#[derive(Debug)]
pub(super) struct SqliteFile {
    connect: SqliteConnectOptions,
    options: PoolOptions,
    opened: Mutex<Option<Opened>>,
}

/// Tells a file from another one that is put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

#[derive(Debug)]
struct Opened {
    identity: FileIdentity,
    pool: SqlitePool,
}

impl SqliteFile {
    fn new(connect: SqliteConnectOptions, options: PoolOptions) -> Self {
        let connect = connect
            .read_only(true)
            .create_if_missing(false)
            .pragma("query_only", "ON")
            .pragma("cache_size", SQLITE_CACHE)
            .busy_timeout(options.statement_timeout)
            .statement_cache_capacity(STATEMENTS_MAX)
            .disable_statement_logging();
        Self { connect, options, opened: Mutex::new(None) }
    }

    /// The pool on the file that stands at the path now. A restore puts another file there: connections to the old
    /// one would go on answering from it.
    pub(super) fn pool(&self) -> Result<SqlitePool, io::Error> {
        let identity = self.identity()?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = opened.as_ref()
            && opened.identity == identity
        {
            return Ok(opened.pool.clone());
        }
        let pool = SqlitePoolOptions::new()
            .max_connections(self.options.connections)
            .acquire_timeout(self.options.statement_timeout)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.connect.clone());
        *opened = Some(Opened { identity, pool: pool.clone() });
        Ok(pool)
    }

    /// A connection of its own, outside of the pool.
    pub(super) async fn open(&self) -> Result<SqliteConnection, Cause> {
        self.connect.connect().await.map_err(|error| Cause::of(&error))
    }

    /// Which file stands at the path now.
    pub(super) fn identity(&self) -> Result<FileIdentity, io::Error> {
        let stat = std::fs::metadata(self.path())?;
        Ok(FileIdentity { device: stat.dev(), inode: stat.ino() })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.connect.get_filename().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn clock() -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    #[tokio::test]
    async fn a_sqlite_file_can_be_read_and_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let writer = SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await;
        sqlx::raw_sql("PRAGMA journal_mode = WAL; CREATE TABLE t (id text)")
            .execute(&mut writer.unwrap())
            .await
            .unwrap();
        let pool =
            Pool::new(Source::App, &format!("sqlite://{}?mode=rwc", path.display()), PoolOptions::default(), &clock())
                .unwrap();
        let Database::Sqlite(file) = &pool.database else { panic!("a file was asked for") };
        let pool = file.pool().unwrap();
        sqlx::query("SELECT * FROM t").fetch_all(&pool).await.unwrap();
        for write in ["INSERT INTO t VALUES ('x')", "DROP TABLE t", "CREATE TABLE u (id text)"] {
            let error = sqlx::raw_sql(write).execute(&pool).await.unwrap_err();
            assert!(error.to_string().contains("readonly"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_address_has_no_user_password_or_parameters() {
        let address = |url: &str| Pool::new(Source::App, url, PoolOptions::default(), &clock()).unwrap().address;
        assert_eq!(
            address("postgres://clinic:s3cret@db.example:6432/ehr?sslmode=require&application_name=x"),
            "postgres://db.example:6432/ehr"
        );
        assert_eq!(
            address("postgresql://clinic:s3cret@localhost/ehr?host=/run/postgresql"),
            "postgres:///run/postgresql:5432/ehr"
        );
        assert_eq!(address("sqlite:///var/lib/clinic/app.db?mode=rw"), "sqlite:///var/lib/clinic/app.db");
    }
}
