//! The tables' history: each step once, in its order, forward only.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{
    error::StoreError,
    pool::{Dialect, Store},
    transaction::{Inner, Sql, Transaction},
    value::Value,
};

/// What a migration belongs to. In PostgreSQL both may live in one database; in SQLite the trail has a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Assignments, grants, reviews, restrictions and their like.
    Tables,
    /// The shipped trail.
    Trail,
}

/// One step of the tables' history.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    pub version: i64,
    /// The file's name, without its extension.
    pub name: &'static str,
    pub part: Part,
    sql: Sql,
}

macro_rules! migration {
    ($version:literal, $name:literal, $part:expr) => {
        Migration {
            version: $version,
            name: $name,
            part: $part,
            sql: Sql {
                sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
                postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
            },
        }
    };
}

/// All of them, by version. A text that was released is never changed: its digest stands in every store.
const MIGRATIONS: [Migration; 13] = [
    migration!(1, "0001_store", Part::Tables),
    migration!(2, "0002_trail", Part::Trail),
    migration!(3, "0003_trail_bound", Part::Trail),
    migration!(100, "0100_grants", Part::Tables),
    migration!(110, "0110_rights", Part::Tables),
    migration!(115, "0115_rows_stay", Part::Tables),
    migration!(120, "0120_resource_tenant", Part::Trail),
    migration!(150, "0150_outbox", Part::Tables),
    migration!(200, "0200_prune", Part::Trail),
    migration!(210, "0210_sidecars", Part::Tables),
    migration!(211, "0211_user_standing", Part::Tables),
    migration!(220, "0220_decision_indexes", Part::Tables),
    migration!(230, "0230_trail_batches", Part::Trail),
];

/// Where it is noted what was applied.
const NOTED: Sql = Sql {
    sqlite: "CREATE TABLE IF NOT EXISTS chaperone_migration (version integer PRIMARY KEY, name text NOT NULL, \
             sha256 text NOT NULL, at text NOT NULL)",
    // Every role may see what was applied: a sidecar that may not write the tables still says what is missing.
    postgres: "CREATE TABLE IF NOT EXISTS chaperone_migration (version bigint PRIMARY KEY, name text NOT NULL, \
               sha256 text NOT NULL, at timestamptz NOT NULL); GRANT SELECT ON chaperone_migration TO PUBLIC",
};

const IS_NOTED: Sql = Sql {
    sqlite: "SELECT count(*) > 0 AS noted FROM sqlite_master WHERE type = 'table' AND name = 'chaperone_migration'",
    postgres: "SELECT to_regclass('chaperone_migration') IS NOT NULL AS noted",
};

/// One installer at a time, and longer than a question may take. SQLite's transaction is the only one by itself.
const LOCKS: [&str; 3] = [
    "SET LOCAL statement_timeout = '60s'",
    "SET LOCAL lock_timeout = '5s'",
    "SELECT pg_advisory_xact_lock(4850741, 1)",
];

impl Migration {
    /// All that belong to one of `parts`.
    pub fn of(parts: &[Part]) -> impl Iterator<Item = &'static Self> + use<'_> {
        MIGRATIONS.iter().filter(|migration| parts.contains(&migration.part))
    }

    /// The text in one dialect.
    pub const fn text(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sql.sqlite,
            Dialect::Postgres => self.sql.postgres,
        }
    }

    fn sha256(&self, dialect: Dialect) -> String {
        Sha256::digest(self.text(dialect)).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Store {
    /// Applies what is missing of `parts`, all of it or nothing, and returns it. Applied before: nothing is done.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] when an applied one had another text, [`StoreError::Migration`] when the database
    /// refused one; the store is as it was before.
    pub async fn install(&self, parts: &[Part], now: Timestamp) -> Result<Vec<&'static Migration>, StoreError> {
        if self.pending(parts).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin().await?;
        if self.dialect() == Dialect::Postgres {
            for text in LOCKS {
                transaction.raw(text).await?;
            }
        }
        transaction.raw(self.text(NOTED)).await?;
        // Behind the lock: another process may have been faster.
        let pending = self.unapplied(&mut transaction, parts).await?;
        for migration in &pending {
            transaction.raw(migration.text(self.dialect())).await.map_err(|error| self.failed(migration, error))?;
            let values = [
                Value::from(migration.version),
                Value::from(migration.name),
                Value::from(migration.sha256(self.dialect())),
                Value::from(now),
            ];
            let note = Sql::both("INSERT INTO chaperone_migration (version, name, sha256, at) VALUES ($1, $2, $3, $4)");
            transaction.run(note, &values).await?;
        }
        transaction.commit().await?;
        Ok(pending)
    }

    /// What is missing of `parts`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] when an applied one had another text, and when the store cannot be read.
    pub async fn pending(&self, parts: &[Part]) -> Result<Vec<&'static Migration>, StoreError> {
        if self.path().is_some_and(|path| self.options.create && !path.exists()) {
            return Ok(Migration::of(parts).collect());
        }
        let mut transaction = self.read().await?;
        let noted = transaction.row(IS_NOTED, &[]).await?;
        if !noted.map_or(Ok(None), |row| row.flag("noted"))?.unwrap_or(false) {
            return Ok(Migration::of(parts).collect());
        }
        self.unapplied(&mut transaction, parts).await
    }

    /// Whether this is a SQLite file of which nothing was made yet: it is there a moment before its tables are.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn is_bare(&self) -> Result<bool, StoreError> {
        if self.dialect() == Dialect::Postgres {
            return Ok(false);
        }
        let mut transaction = self.read().await?;
        let noted = transaction.row(IS_NOTED, &[]).await?;
        transaction.commit().await?;
        Ok(!noted.map_or(Ok(None), |row| row.flag("noted"))?.unwrap_or(false))
    }

    /// Whether `parts` are as this program needs them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unmigrated`] names what is missing.
    pub async fn check(&self, parts: &[Part]) -> Result<(), StoreError> {
        let missing: Vec<_> = self.pending(parts).await?.iter().map(|migration| migration.name).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(StoreError::Unmigrated { address: self.address.clone(), missing })
    }

    /// What [`install`](Self::install) would run for `pending`, as text for an owner's hands.
    pub fn script(&self, pending: &[&'static Migration]) -> Vec<String> {
        let mut script = Vec::new();
        if pending.is_empty() {
            return script;
        }
        let (begin, now) = match self.dialect() {
            Dialect::Sqlite => ("BEGIN IMMEDIATE", "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"),
            Dialect::Postgres => ("BEGIN", "now()"),
        };
        script.push(begin.to_owned());
        if self.dialect() == Dialect::Postgres {
            script.extend(LOCKS.map(str::to_owned));
        }
        script.push(self.text(NOTED).to_owned());
        for migration in pending {
            script.push(migration.text(self.dialect()).trim_end().trim_end_matches(';').to_owned());
            script.push(format!(
                "INSERT INTO chaperone_migration (version, name, sha256, at) VALUES ({}, '{}', '{}', {now})",
                migration.version,
                migration.name,
                migration.sha256(self.dialect()),
            ));
        }
        script.push("COMMIT".to_owned());
        script
    }

    const fn text(&self, sql: Sql) -> &'static str {
        match self.dialect() {
            Dialect::Sqlite => sql.sqlite,
            Dialect::Postgres => sql.postgres,
        }
    }

    /// A version that this program does not know is a newer program's: migrations only add, so both can go on.
    async fn unapplied(
        &self,
        transaction: &mut Transaction,
        parts: &[Part],
    ) -> Result<Vec<&'static Migration>, StoreError> {
        let rows = transaction.rows(Sql::both("SELECT version, sha256 FROM chaperone_migration"), &[]).await?;
        let mut applied = std::collections::BTreeMap::new();
        for row in rows {
            applied.insert(row.int("version")?.unwrap_or_default(), row.some_text("sha256")?);
        }
        let mut pending = Vec::new();
        for migration in Migration::of(parts) {
            match applied.get(&migration.version) {
                None => pending.push(migration),
                Some(sha256) if *sha256 == migration.sha256(self.dialect()) => {}
                Some(_) => {
                    let name = migration.name.to_owned();
                    return Err(StoreError::Changed { address: self.address.clone(), name });
                }
            }
        }
        Ok(pending)
    }

    fn failed(&self, migration: &Migration, error: RawError) -> StoreError {
        match error {
            RawError::Words(words) => {
                StoreError::Migration { address: self.address.clone(), name: migration.name, words }
            }
            RawError::Store(error) => error,
        }
    }
}

/// Why a text of the program's own failed. It has no values, so the database's words may be said.
enum RawError {
    Words(String),
    Store(StoreError),
}

impl From<RawError> for StoreError {
    fn from(error: RawError) -> Self {
        match error {
            RawError::Words(words) => {
                Self::Migration { address: "the store".to_owned(), name: "chaperone_migration", words }
            }
            RawError::Store(error) => error,
        }
    }
}

impl Transaction {
    /// Runs a text of one or more statements without values.
    async fn raw(&mut self, text: &'static str) -> Result<(), RawError> {
        let done = match &mut self.inner {
            Inner::Sqlite(transaction) => sqlx::raw_sql(text).execute(&mut **transaction).await.map(drop),
            Inner::Postgres(transaction) => sqlx::raw_sql(text).execute(&mut **transaction).await.map(drop),
        };
        done.map_err(|error| match (StoreError::of(&self.address, &error), &error) {
            (StoreError::Refused { .. }, sqlx::Error::Database(error)) => RawError::Words(error.message().to_owned()),
            (other, _) => RawError::Store(other),
        })
    }
}
