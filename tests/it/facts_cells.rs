//! Every kind of cell, as each database holds it.

use std::sync::Arc;

use chaperone::domain::{
    Cell, Timestamp,
    mapping::{Mapping, Source},
};

use crate::{
    facts::{asking, at, text, user},
    helpers::{
        mapping::{clinic, columns, plan, query, slice_plan, uid},
        world::World,
    },
};

fn kinds(sql: &str, wanted: &str) -> Mapping {
    let mut mapping = clinic();
    let clients = mapping.entities.get_mut("Client").unwrap();
    clients.query = Some(query(sql));
    clients.columns = columns(wanted);
    mapping
}

async fn cells(world: &World, id: &str, wanted: &str) -> Vec<Cell> {
    let mapping = kinds("SELECT * FROM kinds WHERE id = $1", wanted);
    let resource = uid("Client", id);
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
    let slice = world.facts().slice(&mapping, &plan, &asking(&user("ana"), &resource)).await.unwrap();
    slice.present(&resource).unwrap().row.cells.to_vec()
}

#[tokio::test]
async fn every_kind_of_cell_is_read_from_sqlite() {
    let world = World::sqlite().await;
    world
        .execute(
            Source::App,
            r#"CREATE TABLE kinds (id text PRIMARY KEY, b1, b2, i, big, t, at1, at2, at3, list);
               INSERT INTO kinds VALUES ('full', 1, 'false', -3, 9223372036854775807, 'näive', '2026-03-10T15:00:00Z', '2026-03-10T15:00:00.250Z', '2026-03-10', '["a","b"]'),
                 ('null', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"#,
        )
        .await;
    let wanted = "b1 bool, b2 bool, i int, big int, t text, at1 instant, at2 instant, at3 instant, list list";
    assert_eq!(
        cells(&world, "full", wanted).await,
        [
            Cell::Bool(true),
            Cell::Bool(false),
            Cell::Int(-3),
            Cell::Int(i64::MAX),
            text("näive"),
            at("2026-03-10T15:00:00Z"),
            at("2026-03-10T15:00:00.25Z"),
            at("2026-03-10T00:00:00Z"),
            Cell::List(["a".into(), "b".into()].into()),
        ]
    );
    assert_eq!(cells(&world, "null", wanted).await, vec![Cell::Null; 9]);
}

#[tokio::test]
async fn every_kind_of_cell_is_read_from_postgresql() {
    let world = World::postgres().await;
    world
        .execute(
            Source::App,
            r#"CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE DOMAIN short AS varchar(9);
               CREATE TABLE kinds (id text PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, v varchar(20), u uuid, m mood, c citext, d short,
                 at1 timestamptz, at2 timestamp, at3 date, at4 timestamptz, at5 timestamptz, l1 text[], l2 json, l3 jsonb, l4 text, l5 mood[], l6 varchar[]);
               INSERT INTO kinds VALUES ('full', true, -2, 4, 9223372036854775807, 'näive', '6F2A1C1E-0000-4000-8000-000000000001', 'sad', 'CiText', 'short',
                 '2026-03-10T11:00:00.25-04', '2026-03-10 15:00:00', '1999-12-31', 'infinity', '-infinity', '{a,"b,c"}', '["a"]', '["b", "c"]', '[]', '{sad,glad}', '{}');
               INSERT INTO kinds (id) VALUES ('null')"#,
        )
        .await;
    let wanted = "b bool, i2 int, i4 int, i8 int, v text, u text, m text, c text, d text, at1 instant, at2 instant, at3 instant, at4 instant, at5 instant, \
                  l1 list, l2 list, l3 list, l4 list, l5 list, l6 list";
    let list = |words: &[&str]| Cell::List(words.iter().map(|word| Arc::from(*word)).collect());
    assert_eq!(
        cells(&world, "full", wanted).await,
        [
            Cell::Bool(true),
            Cell::Int(-2),
            Cell::Int(4),
            Cell::Int(i64::MAX),
            text("näive"),
            text("6f2a1c1e-0000-4000-8000-000000000001"),
            text("sad"),
            text("CiText"),
            text("short"),
            at("2026-03-10T15:00:00.25Z"),
            at("2026-03-10T15:00:00Z"),
            at("1999-12-31T00:00:00Z"),
            Cell::Instant(Timestamp::MAX),
            Cell::Instant(Timestamp::MIN),
            list(&["a", "b,c"]),
            list(&["a"]),
            list(&["b", "c"]),
            list(&[]),
            list(&["sad", "glad"]),
            list(&[]),
        ]
    );
    assert_eq!(cells(&world, "null", wanted).await, vec![Cell::Null; 20]);
}

/// An id that was taken for granted would be that of whatever row a loose comparison finds.
#[tokio::test]
async fn an_own_row_without_an_id_that_can_be_read_is_refused() {
    for world in [World::sqlite().await, World::postgres().await] {
        let facts = world.facts();
        let ask = asking(&user("ana"), &uid("Client", "C1"));
        let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
        for id in ["", "NULL AS id, ", "1.5 AS id, ", "id AS other, "] {
            let sql = format!("SELECT {id}status FROM clients WHERE id = $1");
            let error = facts.slice(&kinds(&sql, "status text"), &plan, &ask).await.unwrap_err();
            assert_eq!(error.to_string(), "column `id` is not returned by entity `Client`", "{sql}");
        }
        let whole =
            facts.slice(&kinds("SELECT id, status FROM clients WHERE id = $1", "status text"), &plan, &ask).await;
        assert_eq!(*whole.unwrap().present(&uid("Client", "C1")).unwrap().row.cells, [text("active")]);
    }
}
