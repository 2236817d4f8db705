//! The store's own connections: one to a SQLite file, few to a PostgreSQL.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions, PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    error::{Cause, StoreError},
    transaction::{Inner, Sql, Transaction, bound_sqlite},
    value::Value,
};

/// How the store is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// To a PostgreSQL; a SQLite file has one writer.
    pub connections: u32,
    /// A statement, and the wait for a connection or for another writer, may take this long.
    pub statement_timeout: Duration,
    /// Make a SQLite file that is not there.
    pub create: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { connections: 4, statement_timeout: Duration::from_secs(5), create: false }
    }
}

/// Which SQL is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// The store, for writing.
#[derive(Debug)]
pub struct Store {
    database: Database,
    /// Where it is, without user, password and parameters.
    pub(super) address: String,
    pub(super) options: StoreOptions,
}

#[derive(Debug)]
enum Database {
    Sqlite(Box<File>),
    Postgres(PgPool),
}

impl Store {
    /// Reads the address; connects later. Call it inside a runtime: the connections live there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Scheme`] or [`StoreError::Url`] when the address cannot be meant.
    pub fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => {
                let connect = SqliteConnectOptions::from_str(url).map_err(StoreError::Url)?;
                let address = format!("sqlite://{}", connect.get_filename().display());
                Ok(Self { database: Database::Sqlite(Box::new(File::new(connect, options))), address, options })
            }
            Some("postgres" | "postgresql") => {
                let connect = PgConnectOptions::from_str(url).map_err(StoreError::Url)?;
                let place = connect
                    .get_socket()
                    .map_or_else(|| connect.get_host().to_owned(), |socket| socket.display().to_string());
                let address =
                    format!("postgres://{place}:{}/{}", connect.get_port(), connect.get_database().unwrap_or_default());
                Ok(Self { database: Database::Postgres(postgres_pool(connect, options)), address, options })
            }
            Some(scheme) => Err(StoreError::Scheme { scheme: scheme.chars().take(20).collect() }),
            None => Err(StoreError::Scheme { scheme: String::new() }),
        }
    }

    pub const fn dialect(&self) -> Dialect {
        match self.database {
            Database::Sqlite(_) => Dialect::Sqlite,
            Database::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Where it is, without user, password and parameters.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.database {
            Database::Sqlite(file) => Some(file.connect.get_filename()),
            Database::Postgres(_) => None,
        }
    }

    pub(super) const fn postgres(&self) -> Option<&PgPool> {
        match &self.database {
            Database::Sqlite(_) => None,
            Database::Postgres(pool) => Some(pool),
        }
    }

    /// Begins a transaction that may write. In SQLite it is the only one, and others wait for its end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Away`] when there is no connection in time.
    pub async fn begin(&self) -> Result<Transaction, StoreError> {
        self.begin_with("BEGIN IMMEDIATE", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await
    }

    /// Begins one that reads, all of it at one instant.
    ///
    /// # Errors
    ///
    /// [`StoreError::Away`] when there is no connection in time.
    pub async fn read(&self) -> Result<Transaction, StoreError> {
        self.begin_with("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    async fn begin_with(&self, sqlite: &'static str, postgres: &'static str) -> Result<Transaction, StoreError> {
        let inner = match &self.database {
            Database::Sqlite(file) => self.file_pool(file)?.begin_with(sqlite).await.map(Inner::Sqlite),
            Database::Postgres(pool) => pool.begin_with(postgres).await.map(Inner::Postgres),
        };
        let inner = inner.map_err(|error| StoreError::of(&self.address, &error))?;
        Ok(Transaction::new(inner, self.address.clone()))
    }

    /// Runs one statement, committed by itself, and returns how many rows it changed.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; an [`Away`](StoreError::Away) leaves open whether it stands.
    pub async fn run(&self, sql: Sql, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let done = match &self.database {
            Database::Sqlite(file) => {
                let pool = self.file_pool(file)?;
                bound_sqlite(sql.sqlite, values).execute(&pool).await.map(|done| done.rows_affected())
            }
            // As every other: a role may be set to read, or to wait for locks otherwise.
            Database::Postgres(_) => {
                let mut transaction = self.begin().await?;
                let done = transaction.run(sql, values).await?;
                transaction.commit().await?;
                return Ok(done);
            }
        };
        done.map_err(|error| StoreError::of(&self.address, &error))
    }

    fn file_pool(&self, file: &File) -> Result<SqlitePool, StoreError> {
        let away =
            |error: io::Error| StoreError::Away { address: self.address.clone(), cause: Cause::Io(error.kind()) };
        file.pool().map_err(away)
    }

    /// Ends all connections in order.
    pub async fn close(&self) {
        match &self.database {
            Database::Sqlite(file) => {
                let opened = file.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(opened) = opened {
                    opened.pool.close().await;
                }
            }
            Database::Postgres(pool) => pool.close().await,
        }
    }
}

/// A server may be set to answer before its commit is on disk; stronger settings than `on` are kept.
const COMMITS_LAST: &str = "SELECT set_config('synchronous_commit', 'on', false) \
                            WHERE current_setting('synchronous_commit') = 'off'";

fn postgres_pool(connect: PgConnectOptions, options: StoreOptions) -> PgPool {
    let timeout = options.statement_timeout.as_millis().to_string();
    let connect = connect
        .application_name("chaperone-store")
        .options([("statement_timeout", &timeout), ("idle_in_transaction_session_timeout", &timeout)])
        .disable_statement_logging();
    PgPoolOptions::new()
        .max_connections(options.connections)
        .acquire_timeout(options.statement_timeout)
        .after_connect(|connection, _| {
            Box::pin(async move {
                // What is written to a primary that was replaced is lost with it; a standby takes nothing at all.
                let in_recovery: bool =
                    sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut *connection).await?;
                // What is told to have been committed must be on the server's disk at least.
                sqlx::query(COMMITS_LAST).execute(connection).await?;
                if in_recovery { Err(sqlx::Error::Protocol("the server is in recovery".to_owned())) } else { Ok(()) }
            })
        })
        .connect_lazy_with(connect)
}

/// A database file that somebody may replace by a restored one.
#[derive(Debug)]
struct File {
    connect: SqliteConnectOptions,
    options: StoreOptions,
    opened: Mutex<Option<Opened>>,
}

#[derive(Debug)]
struct Opened {
    /// Device and inode.
    identity: (u64, u64),
    pool: SqlitePool,
}

impl File {
    fn new(connect: SqliteConnectOptions, options: StoreOptions) -> Self {
        let connect = connect
            .create_if_missing(options.create)
            .journal_mode(SqliteJournalMode::Wal)
            // In a WAL, NORMAL may forget commits at a loss of power, and a grant that was answered must stand.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(options.statement_timeout)
            .disable_statement_logging();
        Self { connect, options, opened: Mutex::new(None) }
    }

    /// The connection to the file that stands at the path now: what is written to one that was replaced is lost.
    fn pool(&self) -> io::Result<SqlitePool> {
        let path = self.connect.get_filename();
        let identity = match std::fs::metadata(path) {
            Ok(stat) => Some((stat.dev(), stat.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.options.create => None,
            Err(error) => return Err(error),
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = opened.as_ref()
            && Some(opened.identity) == identity
        {
            return Ok(opened.pool.clone());
        }
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.options.statement_timeout)
            // There is no way to a file that could have broken meanwhile.
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.connect.clone());
        // A file that is about to be made is known from its second use on.
        *opened = identity.map(|identity| Opened { identity, pool: pool.clone() });
        Ok(pool)
    }
}
