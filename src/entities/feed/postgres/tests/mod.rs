//! The feed against a real PostgreSQL.

mod derived;
mod polled;
mod servers;
mod stands;

use std::{collections::BTreeMap, str::FromStr, sync::Arc, time::Duration};

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{
    FeedDatabase, FeedTask, InstallError, Installed, Listener, Mode, Notify, PostgresConnect, PostgresFeed,
    PostgresOptions, Watched, Watching, install, sql::statement,
};
use crate::{
    clock::SystemClock,
    domain::mapping::{EntityMapping, Mapping, Query, Relation, Source},
    entities::{
        feed::{Connect as _, Feed as _, FeedError},
        fresh::{Changed, ChangedFact},
    },
    postgres_server::Postgres,
};

const STALENESS: Duration = Duration::from_secs(8);

/// A database of its own, and a mapping over it.
struct Stage {
    url: String,
    mapping: Mapping,
    /// The application's session.
    app: PgConnection,
}

/// The care team of the tests: two tables, one of them with partitions.
const TABLES: &str = "
  CREATE TABLE member (user_id text, client_id text, note text, PRIMARY KEY (user_id, client_id));
  CREATE TABLE visit (client_id text, day int, note text) PARTITION BY LIST (day);
  CREATE TABLE visit_1 PARTITION OF visit FOR VALUES IN (1);
  CREATE TABLE visit_2 PARTITION OF visit FOR VALUES IN (2)";

const QUERIES: [(&str, &str); 2] = [
    ("Client.team", "SELECT user_id AS id FROM member WHERE client_id = $1"),
    ("Client.visits", "SELECT day AS id FROM visit WHERE client_id = $1"),
];

impl Stage {
    async fn new() -> Self {
        Self::with(TABLES, &QUERIES).await
    }

    async fn with(tables: &str, queries: &[(&str, &str)]) -> Self {
        Self::on(Postgres::shared(), tables, queries).await
    }

    async fn on(server: &Postgres, tables: &str, queries: &[(&str, &str)]) -> Self {
        let (url, _) = server.demo();
        let mut app = session(&url).await;
        sqlx::raw_sql(statement(tables.to_owned())).execute(&mut app).await.unwrap();
        Self { url, mapping: mapping(queries), app }
    }

    /// With the feed installed.
    async fn installed() -> Self {
        let stage = Self::new().await;
        stage.install().await.unwrap();
        stage
    }

    async fn install(&self) -> Result<Installed, InstallError> {
        self.install_as(&self.url, None, Notify::Yes, Mode::Install).await
    }

    async fn install_as(
        &self,
        url: &str,
        owner: Option<&str>,
        notify: Notify,
        mode: Mode,
    ) -> Result<Installed, InstallError> {
        let database = FeedDatabase { source: Source::App, url: url.to_owned(), owner_url: owner.map(str::to_owned) };
        let databases = [database];
        let task = FeedTask {
            mapping: &self.mapping,
            databases: &databases,
            meant: &[Source::App],
            limit: Duration::from_secs(20),
        };
        install(&task, notify, mode).await.map(|mut done| done.remove(0))
    }

    async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(statement(sql.to_owned())).execute(&mut self.app).await.unwrap();
    }

    async fn one(&mut self, sql: &str) -> i64 {
        sqlx::query_scalar(statement(sql.to_owned())).fetch_one(&mut self.app).await.unwrap()
    }

    fn watching(&self) -> Arc<Watching> {
        Arc::new(Watching::new(self.mapping.digest, Watched::of(&self.mapping, Source::App)))
    }

    fn connect(&self, watching: Arc<Watching>, poll: Duration) -> (PostgresConnect, Listener) {
        let (connect, listener) = PostgresConnect::new(self.options(watching, poll));
        (connect, listener.unwrap())
    }

    fn options(&self, watching: Arc<Watching>, poll: Duration) -> PostgresOptions {
        PostgresOptions {
            connect: PgConnectOptions::from_str(&self.url).unwrap(),
            staleness: STALENESS,
            poll,
            hint: true,
            clock: Arc::new(SystemClock),
            on_connect: Arc::new(|| {}),
            watching,
        }
    }

    /// A connected feed that has found everything whole.
    async fn feed(&self) -> PostgresFeed {
        let mut feed = self.connect(self.watching(), Duration::from_secs(1)).0.connect().await.unwrap();
        feed.inspect().await.unwrap();
        feed
    }

    /// One that has taken its position too.
    async fn started(&self) -> PostgresFeed {
        let mut feed = self.feed().await;
        feed.start().await.unwrap();
        feed
    }

    /// What is wrong, as the feed says it.
    async fn problems(&self) -> Vec<String> {
        let mut feed = self.connect(self.watching(), STALENESS).0.connect().await.unwrap();
        match feed.inspect().await {
            Ok(_mapping) => Vec::new(),
            Err(FeedError::NotWhole { problems }) => problems,
            Err(other) => panic!("{other:?}"),
        }
    }
}

async fn session(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// A mapping of these queries: `Type` or `Type.relation`, and SQL.
fn mapping(queries: &[(&str, &str)]) -> Mapping {
    let mut mapping = Mapping::default();
    for (name, sql) in queries {
        let query = Query { sqlite: "".into(), postgres: (*sql).into() };
        let (kind, relation) = name.split_once('.').map_or((*name, None), |(kind, relation)| (kind, Some(relation)));
        let entity = mapping.entities.entry(kind.into()).or_insert_with(|| EntityMapping {
            source: Source::App,
            query: None,
            columns: Vec::new(),
            attributes: BTreeMap::new(),
            parents: Vec::new(),
            relations: BTreeMap::new(),
        });
        let Some(relation) = relation else {
            entity.query = Some(query);
            continue;
        };
        // `Type.relation.column` goes by another column than the id.
        let (relation, key) = relation.split_once('.').map_or((relation, None), |(relation, _)| (relation, Some(0)));
        let relation_mapping = Relation {
            source: Source::App,
            query,
            key,
            columns: Vec::new(),
            window: None,
            kind: None,
            about: None,
            exceptional: false,
        };
        entity.relations.insert(relation.into(), relation_mapping);
    }
    mapping
}

/// What a poll told, as `Type.relation key`, sorted; `everything` for everything.
async fn told(feed: &mut PostgresFeed) -> Vec<String> {
    match feed.poll().await.unwrap().changed {
        Changed::Everything => vec!["everything".to_owned()],
        Changed::These(facts) => {
            let mut told: Vec<String> = facts.iter().map(words).collect();
            told.sort();
            told
        }
    }
}

fn words(fact: &ChangedFact) -> String {
    let relation = fact.relation.as_ref().map(|relation| format!(".{relation}")).unwrap_or_default();
    format!("{}{relation} {}", fact.kind, fact.id.as_deref().map_or("(any)".to_owned(), |id| format!("`{id}`")))
}
