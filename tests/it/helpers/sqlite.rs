//! The demo world in SQLite files of a temporary folder, written by connections of their own.

use std::path::{Path, PathBuf};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

const APP: [&str; 2] =
    [include_str!("../../../schemas/demo/app.schema.sql"), include_str!("../../../schemas/demo/app.fixtures.sql")];
const STORE: [&str; 2] =
    [include_str!("../../../schemas/demo/store.schema.sql"), include_str!("../../../schemas/demo/store.fixtures.sql")];

/// `app.db` and `store.db`; they go away with it.
pub(crate) struct Sqlite {
    folder: tempfile::TempDir,
}

impl Sqlite {
    pub(crate) async fn demo() -> Self {
        let sqlite = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        for (name, scripts) in [("app", APP), ("store", STORE)] {
            let mut connection = sqlite.open(name).await;
            for script in scripts {
                sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
            }
            connection.close().await.unwrap();
        }
        sqlite
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.db"))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("sqlite://{}", self.path(name).display())
    }

    /// A connection that may write, as another process would.
    pub(crate) async fn open(&self, name: &str) -> SqliteConnection {
        let options = SqliteConnectOptions::new()
            .filename(self.path(name))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        options.connect().await.unwrap()
    }

    pub(crate) async fn execute(&self, name: &str, sql: &'static str) {
        let mut connection = self.open(name).await;
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}
