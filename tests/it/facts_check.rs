//! A mapping compared with the databases as they are: all problems at once, each with its place.

use std::sync::Arc;

use chaperone::{
    clock::SystemClock,
    domain::mapping::Source,
    entities::{Facts, FactsOptions, Problem},
    store::{Part, Store, StoreOptions},
};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::{
    helpers::{
        authorizer::shipped,
        mapping::{clinic, columns, named, query, relation},
        world::World,
    },
    on_both,
};

on_both!(
    a_mapping_that_fits_has_no_problem,
    every_column_that_is_missing_or_of_another_type_is_named_at_once,
    a_source_that_is_not_configured_is_named_with_what_needs_it,
);

async fn a_mapping_that_fits_has_no_problem(world: World) {
    assert_eq!(world.facts().check(&clinic()).await, []);
}

async fn every_column_that_is_missing_or_of_another_type_is_named_at_once(world: World) {
    world.execute(Source::App, "CREATE TABLE odd (id text PRIMARY KEY, photo real, name text)").await;
    let mut mapping = clinic();
    let users = mapping.entities.get_mut("User").unwrap();
    users.columns.extend(columns("shoe_size int"));
    users.relations.extend([
        named((
            "odd",
            relation(Source::App, "SELECT id, photo, name FROM odd WHERE id = $1", "id text, photo text, name int"),
        )),
        named((
            "twice",
            relation(Source::App, "SELECT a.id, b.id, a.name FROM odd a, odd b WHERE a.id = $1", "id text, name text"),
        )),
        named(("everybody", relation(Source::App, "SELECT id FROM odd", "id text"))),
    ]);
    mapping.entities.get_mut("Tenant").unwrap().relations.get_mut("lockdowns").unwrap().query =
        query("SELECT * FROM lockdown WHERE id = $1");
    let problems: Vec<String> = world.facts().check(&mapping).await.iter().map(ToString::to_string).collect();

    let (real, text) = match world {
        World::Sqlite(_) => ("REAL", "TEXT"),
        World::Postgres { .. } => ("FLOAT4", "TEXT"),
    };
    let gone = match world {
        World::Sqlite(_) => "no such table: lockdown",
        World::Postgres { .. } => "relation \"lockdown\" does not exist",
    };
    assert_eq!(
        problems,
        [
            "column `shoe_size` is not returned by the query of entity `User` on source `app`; it returns `id`, `tenant_id`, `status`, `is_vendor`".to_owned(),
            "the query of relation `everybody` of `User` on source `app` has 0 parameters: it must use `$1` and no other".to_owned(),
            format!("column `photo` of relation `odd` of `User` on source `app` must hold text and is of type {real}: cast it in the query"),
            format!("column `name` of relation `odd` of `User` on source `app` must hold an integer and is of type {text}: cast it in the query"),
            "column `id` is returned more than once by the query of relation `twice` of `User` on source `app`: name each once".to_owned(),
            format!("the query of relation `lockdowns` of `Tenant` is not accepted by source `store`: {gone}"),
        ]
    );
}

async fn a_source_that_is_not_configured_is_named_with_what_needs_it(world: World) {
    let facts = Facts::connect(FactsOptions { store: None, ..world.options() }, Arc::new(SystemClock)).unwrap();
    let problems: Vec<String> = facts.check(&clinic()).await.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert_eq!(
        problems[0],
        "relation `assignments` of `Client` comes from source `store`, which is not configured: set `sources.store`"
    );
}

#[tokio::test]
async fn a_key_of_another_type_needs_a_cast_on_postgresql() {
    let world = World::postgres().await;
    world.execute(Source::App, "CREATE TABLE devices (id uuid PRIMARY KEY)").await;
    let mut mapping = clinic();
    mapping.entities.get_mut("Client").unwrap().relations = [
        named(("bare", relation(Source::App, "SELECT id FROM devices WHERE id = $1", "id text"))),
        named(("cast", relation(Source::App, "SELECT id FROM devices WHERE id = $1::uuid", "id text"))),
    ]
    .into();
    let problems: Vec<String> = world.facts().check(&mapping).await.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "the query of relation `bare` of `Client` is not accepted by source `app`: operator does not exist: uuid = text"
        ]
    );
}

#[tokio::test]
async fn a_database_that_is_away_is_one_problem_without_its_password() {
    for url in ["postgres://clinic:s3cret@127.0.0.1:1/ehr?sslmode=disable", "sqlite:///no/such/folder/app.db"] {
        let options =
            FactsOptions { app: Some(url.to_owned()), store: Some(url.to_owned()), ..FactsOptions::default() };
        assert!(!format!("{options:?}").contains("s3cret"));
        let facts = Facts::connect(options, Arc::new(SystemClock)).unwrap();
        let problems = facts.check(&clinic()).await;
        assert!(
            matches!(
                &problems[..],
                [
                    Problem::Unreachable { database: Source::App, .. },
                    Problem::Unreachable { database: Source::Store, .. }
                ]
            ),
            "{problems:?}"
        );
        for words in [problems[0].to_string(), format!("{problems:?}"), format!("{facts:?}")] {
            assert!(!words.contains("s3cret") && !words.contains("clinic:"), "{words}");
        }
    }
    let facts = Facts::connect(
        FactsOptions { app: Some("postgres://clinic:s3cret@127.0.0.1:1/ehr".to_owned()), ..FactsOptions::default() },
        Arc::new(SystemClock),
    )
    .unwrap();
    assert_eq!(
        facts.check(&clinic()).await[0].to_string(),
        "source `app` (postgres://127.0.0.1:1/ehr) cannot be reached: the connection failed: connection refused; what it feeds is denied until it answers: start it, or mend `sources.app`"
    );
}

#[test]
fn a_url_that_no_database_understands_is_refused_without_repeating_it() {
    for url in ["mysql://root:s3cret@localhost/x", "s3cret", "postgres://u:s3cret@host:notaport/x"] {
        let error = Facts::connect(
            FactsOptions { app: Some(url.to_owned()), ..FactsOptions::default() },
            Arc::new(SystemClock),
        )
        .unwrap_err();
        let words = format!("{error} {error:?}");
        assert!(words.contains("app") || words.contains("App"));
        assert!(!words.contains("s3cret"), "{words}");
    }
}

/// The store's tables have an index for each question of the shipped mapping: no decision reads all rows of a table.
#[tokio::test]
async fn no_question_of_the_shipped_mapping_reads_a_whole_table_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    let mut connection = SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
    let store = Store::open(&url, StoreOptions::default()).unwrap();
    store.install(&[Part::Tables], jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    let bundle = shipped().current().unwrap();
    let relations = bundle.mapping.entities.values().flat_map(|entity| entity.relations.values());
    let mut asked = 0;
    for relation in relations.filter(|relation| relation.source == Source::Store) {
        let sql = format!("EXPLAIN QUERY PLAN {}", relation.query.sqlite);
        let plan = sqlx::query(sqlx::AssertSqlSafe(sql)).bind("X").fetch_all(&mut connection).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
        // `json_each` and its like are scanned: they hold what one row says.
        let is_of_a_row = |step: &String| step.contains("VIRTUAL TABLE");
        let scanned: Vec<_> = steps.iter().filter(|step| step.starts_with("SCAN") && !is_of_a_row(step)).collect();
        assert!(scanned.is_empty(), "{}\n{steps:#?}", relation.query.sqlite);
        asked += 1;
    }
    assert!(asked > 10, "{asked} relations");
}
