//! The demo world on one of the two databases, so that one test body runs on both.

use std::{sync::Arc, time::Duration};

use chaperone::{
    clock::SystemClock,
    domain::mapping::Source,
    entities::{Facts, FactsOptions, PoolOptions},
};

use super::{postgres::Postgres, sqlite::Sqlite};

pub(crate) enum World {
    Sqlite(Sqlite),
    Postgres { app: String, store: String },
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        Self::Sqlite(Sqlite::demo().await)
    }

    pub(crate) async fn postgres() -> Self {
        let (app, store) = tokio::task::spawn_blocking(|| Postgres::shared().demo()).await.unwrap();
        Self::Postgres { app, store }
    }

    pub(crate) fn url(&self, source: Source) -> String {
        match (self, source) {
            (Self::Sqlite(sqlite), source) => sqlite.url(source.as_str()),
            (Self::Postgres { app, .. }, Source::App) => app.clone(),
            (Self::Postgres { store, .. }, Source::Store) => store.clone(),
        }
    }

    /// Changes the database as the application would.
    pub(crate) async fn execute(&self, source: Source, sql: &'static str) {
        match self {
            Self::Sqlite(sqlite) => sqlite.execute(source.as_str(), sql).await,
            Self::Postgres { .. } => {
                use sqlx::Connection;
                let mut connection = sqlx::PgConnection::connect(&self.url(source)).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    pub(crate) fn options(&self) -> FactsOptions {
        let pool = PoolOptions { connections: 4, statement_timeout: Duration::from_secs(5) };
        FactsOptions {
            app: Some(self.url(Source::App)),
            store: Some(self.url(Source::Store)),
            app_pool: pool,
            store_pool: pool,
            slice_timeout: Duration::from_secs(20),
            ..FactsOptions::default()
        }
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts::connect(self.options(), Arc::new(SystemClock)).unwrap()
    }
}

/// Runs one async test body on the demo world in SQLite, and once more in PostgreSQL.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::helpers::world::World::sqlite().await).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::helpers::world::World::postgres().await).await;
            })+
        }
    };
}
