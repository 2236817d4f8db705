//! Databases that go away, hang, forbid and come back: an error each time, and facts again afterwards.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chaperone::{
    clock::SystemClock,
    domain::{SlicePlan, mapping::Source},
    entities::{Cause, Facts, FactsError, FactsOptions, PoolOptions, Problem},
};

use crate::{
    facts::asking,
    helpers::{
        mapping::{clinic, plan, query, slice_plan, uid},
        postgres::Postgres,
        world::World,
    },
};

fn some_plan() -> SlicePlan {
    slice_plan(plan(&["grants"], &[("tenant", plan(&[], &[]))]), plan(&["assignments"], &[("tenant", plan(&[], &[]))]))
}

fn impatient(world: &World) -> Facts {
    let pool = PoolOptions { connections: 3, statement_timeout: Duration::from_millis(300) };
    let options = FactsOptions {
        app_pool: pool,
        store_pool: pool,
        slice_timeout: Duration::from_millis(1_500),
        ..world.options()
    };
    Facts::connect(options, Arc::new(SystemClock)).unwrap()
}

async fn ask(facts: &Facts) -> Result<(), FactsError> {
    facts.slice(&clinic(), &some_plan(), &asking(&uid("User", "ana"), &uid("Client", "C1"))).await.map(drop)
}

fn own_server() -> (Postgres, World) {
    let server = Postgres::start();
    let (app, store) = server.demo();
    (server, World::Postgres { app, store })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgresql_is_an_error_until_it_is_back() {
    let (server, world) = own_server();
    let facts = impatient(&world);
    ask(&facts).await.unwrap();

    server.kill();
    let error = ask(&facts).await.unwrap_err();
    assert!(matches!(error, FactsError::Unavailable { .. }), "{error:?}");
    let problems = facts.check(&clinic()).await;
    assert!(matches!(&problems[..], [Problem::Unreachable { .. }, Problem::Unreachable { .. }]), "{problems:?}");

    server.restart();
    ask(&facts).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_broke_while_idle_cost_no_decision() {
    let (server, world) = own_server();
    let facts = impatient(&world);
    for _ in 0..5 {
        ask(&facts).await.unwrap();
    }
    server.stop();
    server.restart();
    ask(&facts).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_answering_is_an_error_in_time() {
    let (server, world) = own_server();
    let facts = impatient(&world);
    ask(&facts).await.unwrap();
    server.pause();
    let started = Instant::now();
    let error = ask(&facts).await.unwrap_err();
    assert!(
        matches!(
            error,
            FactsError::Unavailable { cause: Cause::Timeout | Cause::NoConnection, .. } | FactsError::Late { .. }
        ),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(3));
    server.resume();
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = ask(&facts).await {
        assert!(Instant::now() < deadline, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_not_read() {
    let (server, world) = own_server();
    server.stop();
    server.set_standby(true);
    server.restart();
    let facts = impatient(&world);
    assert!(matches!(ask(&facts).await, Err(FactsError::Unavailable { .. })));
    let problems = facts.check(&clinic()).await;
    assert!(matches!(&problems[..], [Problem::InRecovery { .. }, Problem::InRecovery { .. }]), "{problems:?}");
    assert!(problems[0].to_string().ends_with("is a standby in recovery: give the url of the primary"));
    server.stop();
    server.set_standby(false);
    server.restart();
    ask(&facts).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_ends_by_the_statement_timeout() {
    let world = World::postgres().await;
    let facts = impatient(&world);
    ask(&facts).await.unwrap();
    let url = world.url(Source::Store);
    let name = url
        .rsplit('/')
        .find_map(|part| part.split('?').next().filter(|part| part.starts_with("demo_store")))
        .unwrap()
        .to_owned();
    let held = Postgres::shared().hold(&name, "LOCK TABLE assignments");
    let error = ask(&facts).await.unwrap_err();
    // 57014: the server itself gave up.
    let FactsError::Unavailable { database: Source::Store, cause, place } = error else { panic!("{error:?}") };
    assert_eq!(
        (cause, place.to_string().as_str()),
        (Cause::Sqlstate("57014".to_owned()), "relation `assignments` of `Client`")
    );
    drop(held);
    ask(&facts).await.unwrap();
}

#[tokio::test]
async fn a_query_that_writes_is_refused_by_postgresql() {
    let world = World::postgres().await;
    world
        .execute(
            Source::App,
            "CREATE TABLE seen (id text); CREATE FUNCTION note_it(text) RETURNS bool LANGUAGE sql AS 'INSERT INTO public.seen VALUES ($1) RETURNING true'",
        )
        .await;
    let mut mapping = clinic();
    mapping.entities.get_mut("Client").unwrap().query = Some(query(
        "SELECT id, tenant_id, status, created_at, portal_user_id FROM clients WHERE id = $1 AND note_it(id)",
    ));
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
    let error =
        world.facts().slice(&mapping, &plan, &asking(&uid("User", "ana"), &uid("Client", "C1"))).await.unwrap_err();
    let FactsError::Unavailable { cause, .. } = error else { panic!("{error:?}") };
    assert_eq!(cause, Cause::Sqlstate("25006".to_owned()), "read only transaction");
}

#[tokio::test]
async fn what_is_not_one_select_is_refused() {
    for world in [World::sqlite().await, World::postgres().await] {
        let facts = world.facts();
        for sql in [
            "DELETE FROM clients WHERE id = $1 RETURNING *",
            "SELECT * FROM clients WHERE id = $1; DELETE FROM clients",
        ] {
            let mut mapping = clinic();
            mapping.entities.get_mut("Client").unwrap().query = Some(query(sql));
            let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
            let error =
                facts.slice(&mapping, &plan, &asking(&uid("User", "ana"), &uid("Client", "C1"))).await.unwrap_err();
            assert!(matches!(error, FactsError::Unavailable { .. }), "{error:?}");
        }
        ask(&facts).await.unwrap();
    }
}

#[tokio::test]
async fn a_sqlite_query_without_end_is_stopped() {
    let world = World::sqlite().await;
    let facts = impatient(&world);
    let mut mapping = clinic();
    mapping.entities.get_mut("Client").unwrap().query = Some(query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT c.id, c.tenant_id, c.status, c.created_at, c.portal_user_id FROM n, clients c WHERE c.id = $1 AND i < 0",
    ));
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
    for _ in 0..4 {
        let error = facts.slice(&mapping, &plan, &asking(&uid("User", "ana"), &uid("Client", "C1"))).await.unwrap_err();
        assert!(
            matches!(error, FactsError::Unavailable { cause: Cause::Timeout | Cause::NoConnection, .. }),
            "{error:?}"
        );
    }
    // All three connections were in such a query: they are free again only if it was stopped.
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = ask(&facts).await {
        assert!(Instant::now() < deadline, "{error:?}");
    }
}

#[tokio::test]
async fn a_replaced_sqlite_file_is_read_anew() {
    let World::Sqlite(sqlite) = World::sqlite().await else { unreachable!() };
    let restored = World::sqlite().await;
    restored.execute(Source::App, "DELETE FROM note_feedback; UPDATE users SET status = 'disabled'").await;
    let World::Sqlite(restored) = restored else { unreachable!() };
    let world = World::Sqlite(sqlite);
    let facts = world.facts();
    ask(&facts).await.unwrap();

    let World::Sqlite(sqlite) = &world else { unreachable!() };
    let beside = sqlite.folder().join("restored.db");
    tokio::fs::copy(restored.path("app"), &beside).await.unwrap();
    tokio::fs::rename(beside, sqlite.path("app")).await.unwrap();
    let ana = uid("User", "ana");
    let slice = facts.slice(&clinic(), &slice_plan(plan(&[], &[]), plan(&[], &[])), &asking(&ana, &ana)).await.unwrap();
    assert_eq!(slice.present(&ana).unwrap().row.cells[2], chaperone::domain::Cell::Text("disabled".into()));

    tokio::fs::remove_file(sqlite.path("app")).await.unwrap();
    let error = ask(&facts).await.unwrap_err();
    assert!(
        matches!(error, FactsError::Unavailable { cause: Cause::Io(std::io::ErrorKind::NotFound), .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slices_at_once_on_few_connections_all_come_through() {
    for world in [World::sqlite().await, World::postgres().await] {
        let pool = PoolOptions { connections: 2, statement_timeout: Duration::from_secs(10) };
        let facts =
            Facts::connect(FactsOptions { app_pool: pool, store_pool: pool, ..world.options() }, Arc::new(SystemClock))
                .unwrap();
        let slices = futures_util::future::join_all((0..64).map(|_| ask(&facts))).await;
        assert_eq!(slices.into_iter().filter_map(Result::err).collect::<Vec<_>>(), []);
    }
}
