//! The databases behind cases: made once, copied for each case that changes rows.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use super::file;
use crate::{
    app::demo::DemoFolder,
    cli::{exit::Exit, failure::Failure, simulate},
    entities::{Facts, FactsOptions},
};

/// A folder with both databases as the cases find them. Dropping it removes the folder.
#[derive(Debug)]
pub(in crate::cli) struct World {
    folder: PathBuf,
    copies: AtomicU64,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!(%error, folder = %self.folder.display(), "a folder of test databases stays");
        }
    }
}

impl World {
    /// The clinic of the demo.
    pub(in crate::cli) async fn demo() -> Result<Self, Failure> {
        let folder = DemoFolder::temporary()?;
        let world = Self { folder: folder.path().to_path_buf(), copies: AtomicU64::new(0) };
        folder.databases().await?;
        Ok(world)
    }

    /// What SQL scripts beside a case file make.
    pub(in crate::cli) async fn of_scripts(beside: &Path, app: &[PathBuf], store: &[PathBuf]) -> Result<Self, Failure> {
        let world = Self { folder: DemoFolder::temporary()?.path().to_path_buf(), copies: AtomicU64::new(0) };
        for (database, scripts) in [("app.db", app), ("store.db", store)] {
            for script in scripts {
                let path = beside.parent().unwrap_or(Path::new(".")).join(script);
                let sql = fs::read_to_string(&path).map_err(|error| {
                    Failure::of(Exit::CannotRun, &error)
                        .because("a script of the world cannot be read")
                        .at(path.display().to_string())
                })?;
                run(&world.folder.join(database), &sql)
                    .await
                    .map_err(|failure| failure.at(path.display().to_string()))?;
            }
        }
        Ok(world)
    }

    /// Facts over the databases as they are.
    pub(in crate::cli) fn facts(&self) -> Result<Facts, Failure> {
        facts_in(&self.folder)
    }

    /// Facts over copies in which `setup` ran.
    pub(in crate::cli) async fn facts_after(&self, setup: &file::Setup) -> Result<Facts, Failure> {
        let copy = self.folder.join(format!("case-{}", self.copies.fetch_add(1, Ordering::Relaxed)));
        let made = |error: std::io::Error| Failure::of(Exit::CannotRun, &error).because("a database cannot be copied");
        fs::create_dir(&copy).map_err(made)?;
        for (database, sql) in [("app.db", &setup.app), ("store.db", &setup.store)] {
            if self.folder.join(database).exists() {
                fs::copy(self.folder.join(database), copy.join(database)).map_err(made)?;
            }
            run(&copy.join(database), sql).await?;
        }
        facts_in(&copy)
    }
}

fn facts_in(folder: &Path) -> Result<Facts, Failure> {
    let url = |database: &str| {
        let path = folder.join(database);
        path.exists().then(|| format!("sqlite://{}", path.display()))
    };
    simulate::connect(FactsOptions { app: url("app.db"), store: url("store.db"), ..FactsOptions::default() })
}

/// Runs a script on a database file of ours.
/// The SQL is a case's own, on a throw-away copy of invented rows.
async fn run(database: &Path, sql: &str) -> Result<(), Failure> {
    if sql.trim().is_empty() {
        return Ok(());
    }
    let refused = |error: sqlx::Error| Failure::of(Exit::CannotRun, &error).because("SQL of the case was refused");
    let options = SqliteConnectOptions::from_str(&format!("sqlite://{}", database.display())).map_err(refused)?;
    let mut connection = options.create_if_missing(true).connect().await.map_err(refused)?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.map_err(refused)?;
    connection.close().await.map_err(refused)
}
