//! Tests of `probes`.

use std::path::Path as FilePath;

use super::*;
use crate::{
    domain::{
        Cell, FactEntity, Freshness, Loaded, Row, Skew, Slice, Timestamp,
        mapping::{CellKind, Mapping},
        projection::uid,
    },
    engine::{mapping_file, schema_shape::SchemaShape, taxonomy::Taxonomy},
};

const SCHEMA: &str = "
    entity Role;
    entity User in [Role] { standsFor: Set<User>, kind: String };
    entity Client { client: Client, team: Set<User>, grants: Set<{ user: User, group: String }>, held: Bool };
    entity Note { client: Client };
";

const MAPPING: &str = "\
version: 1
entities:
  Role: {}
  User:
    source: app
    query: SELECT $1
    attributes: { kind: kind }
    relations:
      roles: { query: SELECT $1, kind: role, window: { to: over }, parents: [{ type: Role, id: role }] }
      coverage: { query: SELECT $1, kind: coverage, sets: { standsFor: { member: covered, plus_self: true } } }
  Client:
    source: app
    query: SELECT $1
    attributes: { client: { itself: true } }
    relations:
      assignments: { query: SELECT $1, kind: assignment, window: { to: over }, sets: { team: { member: user_id } } }
      grants: { query: SELECT $1, kind: grant, sets: { grants: { record: { user: user_id, group: { each: groups } } } } }
      holds: { query: SELECT $1, kind: hold, flags: { held: {} } }
  Note: { source: app, query: SELECT $1, attributes: { client: client_id } }
";

fn mapping() -> Mapping {
    let types = SchemaShape::from_text(SCHEMA).unwrap();
    mapping_file::read(FilePath::new("m.yaml"), MAPPING, &types, &Taxonomy::default())
        .unwrap_or_else(|problems| panic!("{problems}"))
        .mapping
}

type RowOf<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// One entity: its own cells by column, and rows of relations as (relation, row id, cells by column).
fn fact(mapping: &Mapping, kind: &str, id: &str, own: &[(&str, &str)], rows: &[RowOf<'_>]) -> (EntityUid, Loaded) {
    let cells = |columns: &[crate::domain::mapping::Column], said: &[(&str, &str)]| -> Arc<[Cell]> {
        let cell = |column: &crate::domain::mapping::Column| {
            let word = said.iter().find(|(name, _)| *name == &*column.name).map(|(_, word)| *word);
            match (column.kind, word) {
                (_, None) => Cell::Null,
                (CellKind::Instant, Some(word)) => Cell::Instant(word.parse().unwrap()),
                (CellKind::List, Some(word)) => Cell::List(word.split(' ').map(Arc::from).collect()),
                (_, Some(word)) => Cell::Text(word.into()),
            }
        };
        columns.iter().map(cell).collect()
    };
    let entity = mapping.entity(kind).unwrap();
    let relations = entity.relations.iter().map(|(name, relation)| {
        let of = rows.iter().filter(|row| row.0 == &**name);
        let of = of.map(|(_, id, said)| Row { id: (*id).into(), cells: cells(&relation.columns, said) });
        (name.clone(), of.collect())
    });
    let fact =
        FactEntity { row: Row { id: id.into(), cells: cells(&entity.columns, own) }, relations: relations.collect() };
    (uid(&kind.into(), id).unwrap(), Loaded::Present(fact))
}

/// The evidence of one permit, when Ann wants a note of Cy, as `kind:id`.
fn evidence(policy: &str) -> Vec<String> {
    let mapping = mapping();
    let slice = Slice {
        principal: uid(&"User".into(), "ann").unwrap(),
        resource: uid(&"Note".into(), "n").unwrap(),
        entities: [
            fact(
                &mapping,
                "User",
                "ann",
                &[("kind", "human")],
                &[("roles", "r1", &[("role", "nurse")]), ("coverage", "c1", &[("covered", "bob")])],
            ),
            fact(
                &mapping,
                "Client",
                "cy",
                &[],
                &[
                    ("assignments", "a1", &[("user_id", "ann"), ("over", "2030-01-01T00:00:00Z")]),
                    ("assignments", "a2", &[("user_id", "bob")]),
                    ("assignments", "a3", &[("user_id", "ann"), ("over", "1970-01-01T00:00:00Z")]),
                    ("grants", "g1", &[("user_id", "ann"), ("groups", "plan note")]),
                    ("holds", "h1", &[]),
                ],
            ),
            fact(&mapping, "Note", "n", &[("client_id", "cy")], &[]),
        ]
        .into(),
        asserted: BTreeMap::new(),
        freshness: Freshness { revision: String::new(), age_ms: 0 },
        skew: Skew::default(),
    };
    let now: Timestamp = "2026-03-10T15:00:00Z".parse().unwrap();
    let view = View::new(&mapping, &slice, now, None);
    let projected = view.project().unwrap();
    let policies: PolicySet = policy.parse().unwrap_or_else(|error| panic!("{policy}: {error}"));
    let probes = Probes::of(&policies);
    let context: BTreeMap<Arc<str>, Value> =
        [("group".into(), Value::Text("note".into())), ("session.mfa".into(), Value::Bool(true))].into();
    let question = Question { principal: &slice.principal, resource: &slice.resource, context: &context };
    let ids: Vec<_> = policies.policies().map(|policy| policy.id().clone()).collect();
    let found = probes.witnesses(&ids, &view, &projected, question);
    found
        .into_iter()
        .map(|row| format!("{}:{}{}", row.kind, row.id, if row.until.is_some() { " until" } else { "" }))
        .collect()
}

fn when(body: &str) -> Vec<String> {
    evidence(&format!("permit(principal, action, resource) when {{ {body} }};"))
}

#[test]
fn a_member_is_witnessed_by_its_active_row() {
    assert_eq!(when("resource.client.team.contains(principal)"), ["assignment:a1 until"]);
    assert_eq!(when(r#"resource.client.client.team.contains(User::"bob")"#), ["assignment:a2"]);
}

#[test]
fn a_record_of_paths_literals_and_context_is_looked_up() {
    assert_eq!(when("resource.client.grants.contains({ user: principal, group: context.group })"), ["grant:g1"]);
    assert_eq!(when(r#"resource.client.grants.contains({ user: User::"ann", group: "plan" })"#), ["grant:g1"]);
    assert!(when(r#"resource.client.grants.contains({ user: principal, group: "sud" })"#).is_empty());
}

#[test]
fn both_sides_of_an_overlap_are_witnesses() {
    let rows = when("resource.client.team.containsAny(principal.standsFor)");
    assert_eq!(rows, ["assignment:a1 until", "assignment:a2", "coverage:c1"]);
}

#[test]
fn a_role_is_witnessed_from_the_scope_and_from_the_body() {
    assert_eq!(evidence(r#"permit(principal in Role::"nurse", action, resource);"#), ["role:r1"]);
    assert_eq!(when(r#"principal in Role::"nurse""#), ["role:r1"]);
    assert_eq!(when(r#"principal in [Role::"nurse", Role::"doctor"]"#), ["role:r1"]);
    assert_eq!(when("principal in resource.client.team"), ["assignment:a1 until"]);
}

#[test]
fn a_flag_is_witnessed_by_the_rows_that_raise_it() {
    assert_eq!(when("resource.client.held"), ["hold:h1"]);
}

#[test]
fn what_is_negated_has_no_witness() {
    assert!(when(r#"!(resource.client.team.contains(User::"cat"))"#).is_empty());
    assert!(when(r#"!(!resource.client.held)"#).is_empty());
    assert!(evidence("permit(principal, action, resource) unless { resource.client.held };").is_empty());
}

#[test]
fn only_what_is_true_counts_in_an_alternative() {
    let team = "resource.client.team.contains(principal)";
    assert_eq!(when(&format!(r#"resource.client.team.contains(User::"cat") || {team}"#)), ["assignment:a1 until"]);
    // True by itself, but not part of an alternative that holds.
    assert_eq!(when(&format!(r#"({team} && principal.kind == "ai") || resource.client.held"#)), ["hold:h1"]);
    assert_eq!(when(&format!("if context.session.mfa then {team} else resource.client.held")), ["assignment:a1 until"]);
}

#[test]
fn what_is_not_understood_hides_nothing_that_is() {
    let rows = when(r#"principal.kind like "h*" && resource.client.team.contains(principal)"#);
    assert_eq!(rows, ["assignment:a1 until"]);
}
