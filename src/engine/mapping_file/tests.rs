//! Tests of `mapping_file`.

use std::{fs, path::PathBuf};

use super::*;
use crate::{
    domain::{
        Cell, Value,
        mapping::{Attribute, CellKind, Operand, ParentId, Part, Rows, Scalar, Shape, Source, Test},
    },
    engine::taxonomy::Group,
};

fn shipped() -> (String, SchemaShape, Taxonomy) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let text = fs::read_to_string(folder.join("clinic.entities.yaml")).unwrap();
    let schema = fs::read_to_string(folder.join("clinic.cedarschema")).unwrap();
    (text, SchemaShape::from_text(&schema).unwrap(), groups(&["clin.note", "contact"]))
}

fn groups(names: &[&str]) -> Taxonomy {
    let group =
        |name: &&str| (Arc::from(*name), Group { label: 'N', masked_as: None, governs: false, governing: false });
    Taxonomy { groups: names.iter().map(group).collect(), ..Taxonomy::default() }
}

fn shipped_mapping() -> Mapping {
    let (text, types, taxonomy) = shipped();
    read(Path::new("clinic.entities.yaml"), &text, &types, &taxonomy)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .mapping
}

const SCHEMA: &str = r#"
    entity Role;
    entity User in [Role] { name?: String, active: Bool, friends: Set<User>, barred: Bool };
    entity Box { owner: User, size: Long, opens: Set<{ user: User, group: String }> };
    action see appliesTo { principal: User, resource: Box, context: { session: { mfa?: Bool } } };
"#;

const MAPPING: &str = "\
version: 1
context: { caller: [session.mfa] }
entities:
  Role: {}
  User:
    source: app
    query: SELECT id, name, active FROM users WHERE id = $1
    attributes: { name: name, active: active }
    parents: [{ type: Role, constant: staff, where: { active: true } }]
    relations:
      friends:
        query: SELECT id, friend_id, since, until FROM friends WHERE user_id = $1
        window: { from: since, to: until }
        kind: friendship
        sets: { friends: { member: friend_id, plus_self: true } }
      bars:
        query: SELECT id FROM bars WHERE user_id = $1
        flags: { barred: {} }
  Box:
    source: app
    query: SELECT id, owner_id, size FROM boxes WHERE id = $1
    attributes: { owner: owner_id, size: size }
    relations:
      keys:
        source: store
        query: { sqlite: SELECT 1 WHERE $1, postgres: SELECT 2 WHERE $1 }
        sets:
          opens: { record: { user: user_id, group: { each: words, when_empty: all_groups } }, where: { user_id: $principal } }
";

fn read_text(text: &str) -> Result<MappingFile, Problems> {
    read(Path::new("box.entities.yaml"), text, &SchemaShape::from_text(SCHEMA).unwrap(), &groups(&["a", "b"]))
}

/// The messages of a mapping in which `from` was replaced.
fn problems_with(from: &str, to: &str) -> Vec<Problem> {
    assert!(MAPPING.contains(from), "the test replaces `{from}`");
    read_text(&MAPPING.replacen(from, to, 1)).unwrap_err().0
}

use crate::engine::problem::Problem;

#[track_caller]
fn assert_problem(from: &str, to: &str, line: usize, message: &str) {
    let problems = problems_with(from, to);
    let Some(problem) = problems.iter().find(|problem| problem.message.contains(message)) else {
        panic!("`{message}` is not among {problems:#?}")
    };
    assert_eq!(problem.line, Some(line), "{problem}");
    assert!(problem.source_line.is_some());
}

#[test]
fn the_shipped_mapping_fits_the_shipped_schema() {
    let mapping = shipped_mapping();
    assert_eq!(mapping.entities.len(), shipped().1.entities.len());
    let tenancy = mapping.tenancy.as_ref().unwrap();
    let user = mapping.entity("User").unwrap();
    assert_eq!(&*user.columns[tenancy.home_column.unwrap()].name, "tenant_id");
    assert_eq!(&*user.relations["roles"].columns[tenancy.relation_column].name, "tenant_id");
    assert_eq!(user.attributes["tenant"], Attribute::ActingTenant);
}

#[test]
fn an_alias_inside_a_flow_map_stands_for_its_anchor() {
    let mapping = shipped_mapping();
    let client = mapping.entity("Client").unwrap();
    let Attribute::Set { from, .. } = &client.attributes["restrictionsOnPrincipal"] else { panic!() };
    let relations: Vec<_> = from.iter().map(|(selection, _)| &*selection.relation).collect();
    assert_eq!(relations, ["restrictions", "terminated_restrictions"]);
    // Both alternatives of three and five, written out; the terminated ones ask for one thing more.
    let lengths = |at: usize| {
        let filter: &(crate::domain::mapping::Selection, Shape) = &from[at];
        let alternatives = &filter.0.filter.as_ref().unwrap().0;
        (alternatives.len(), alternatives.iter().map(Vec::len).sum::<usize>())
    };
    assert_eq!(lengths(0), (15, 5 * (3 * 2) + 3 * (1 + 2 + 2 + 2 + 2)));
    assert_eq!(lengths(1), (15, 5 * (3 * 2) + 3 * (1 + 2 + 2 + 2 + 2) + 15));
    let Shape::Record(parts) = &from[1].1 else { panic!() };
    let Part::Each { when_empty, .. } = &parts["group"] else { panic!() };
    assert_eq!(when_empty.len(), 2);
}

#[test]
fn a_shared_relation_is_copied_with_its_words_in_place() {
    let mapping = shipped_mapping();
    let tickets = &mapping.entity("Recording").unwrap().relations["tickets"];
    assert!(tickets.query.sqlite.contains("resource_type = 'Recording'"));
    assert_eq!(tickets.source, Source::Store);
    assert!(tickets.window.as_ref().unwrap().open_if.is_some());
}

#[test]
fn bounds_move_by_days_and_by_years_of_another_column() {
    let mapping = shipped_mapping();
    let window = mapping.entity("Client").unwrap().relations["appointments"].window.clone().unwrap();
    assert_eq!(window.from.unwrap().plus, jiff::SignedDuration::from_hours(-30 * 24));
    assert!(window.to_inclusive);
    let Attribute::Within(retention) = &mapping.entity("Document").unwrap().attributes["retentionOver"] else {
        panic!()
    };
    let document = mapping.entity("Document").unwrap();
    let years = retention.from.as_ref().unwrap().plus_years.unwrap();
    assert_eq!((&*document.columns[years].name, document.columns[years].kind), ("retention_years", CellKind::Int));
}

#[test]
fn everything_of_a_small_mapping_is_typed() {
    let read = read_text(MAPPING).unwrap();
    let user = read.mapping.entity("User").unwrap();
    let text = Attribute::Column { column: 0, scalar: Scalar::Text, optional: true };
    assert_eq!(user.attributes["name"], text);
    assert_eq!(user.parents[0].id, ParentId::Constant("staff".into()));
    let Attribute::Set { from, plus_self: true } = &user.attributes["friends"] else { panic!() };
    assert_eq!(from[0].0.rows, Rows::Active);
    assert_eq!(from[0].1, Shape::Member(Part::Column(2, Scalar::Entity("User".into()))));
    assert!(matches!(&user.attributes["barred"], Attribute::Any(of) if of.len() == 1));
    let keys = &read.mapping.entity("Box").unwrap().relations["keys"];
    assert_eq!((&*keys.query.sqlite, &*keys.query.postgres), ("SELECT 1 WHERE $1", "SELECT 2 WHERE $1"));
    let kinds: Vec<_> = keys.columns.iter().map(|column| (&*column.name, column.kind)).collect();
    assert_eq!(kinds, [("user_id", CellKind::Text), ("words", CellKind::List)]);
    assert!(read.caller_context.contains("session.mfa"));
}

#[test]
fn a_filter_compares_with_literals_nulls_lists_and_facts() {
    let to = "where: { user_id: $principal, kind: [a, b], gone: null, size: { not: 3 } }";
    let text = MAPPING.replace("where: { user_id: $principal }", to);
    let read = read_text(&text.replace(
        "        sets:\n          opens",
        "        columns: { gone: instant }\n        sets:\n          opens",
    ))
    .unwrap();
    let Attribute::Set { from, .. } = &read.mapping.entity("Box").unwrap().attributes["opens"] else { panic!() };
    let tests: Vec<_> = from[0].0.filter.as_ref().unwrap().0[0].iter().map(|(_, test)| test.clone()).collect();
    let words = vec![Cell::Text("a".into()), Cell::Text("b".into())];
    assert_eq!(
        tests,
        [Test::Equals(Operand::PrincipalId), Test::OneOf(words), Test::Is(Cell::Null), Test::IsNot(Cell::Int(3))]
    );
}

#[test]
fn constants_are_typed_by_the_schema() {
    let read = read_text(&MAPPING.replace("size: size }", "size: { constant: 7 } }")).unwrap();
    assert_eq!(read.mapping.entity("Box").unwrap().attributes["size"], Attribute::Constant(Value::Long(7)));
    assert_problem("size: size }", "size: { constant: x } }", 22, "must be of kind int, not `x`");
}

#[test]
fn every_slip_is_told_with_its_line() {
    assert_problem("kind: friendship", "kynd: friendship", 14, "the relation `friends` has no key `kynd`");
    assert_problem("name: name, ", "", 4 + 1, "nothing fills the attribute `name` of `User`");
    assert_problem("size: size }", "size: size, weight: size }", 22, "no attribute `weight`");
    assert_problem("  Role: {}\n", "", 4, "nothing maps the entity type `Role`");
    assert_problem("  Role: {}\n", "  Role: {}\n  Rolle: {}\n", 5, "no entity type `Rolle`");
    assert_problem("type: Role,", "type: User,", 9, "`User` cannot be in `User`");
    assert_problem("flags: { barred: {} }", "flags: { name: {} }", 18, "`name` is String in the schema");
    assert_problem("owner: owner_id", "owner: { itself: true }", 22, "cannot come from the entity itself");
    assert_problem("size: size", "size: owner_id", 22, "column `owner_id` is used as int here and as text before");
    assert_problem(
        "group: { each: words, when_empty: all_groups }",
        "group: { each: words, when_empty: none }",
        28,
        "`when_empty`",
    );
    assert_problem(", group: { each: words, when_empty: all_groups }", "", 28, "need the field `group`");
    assert_problem("user_id: $principal }", "user_id: $principle }", 28, "`$principle` is no fact");
    assert_problem(
        "user_id: $principal }",
        "user_id: $resource.colour }",
        28,
        "no entity type has the column `colour`",
    );
    assert_problem("user_id: $principal }", "at: { after: $tenant } }", 28, "is no instant");
    assert_problem("session.mfa", "session.mfaa", 2, "takes `session.mfaa`");
    assert_problem("WHERE user_id = $1\n        window", "\n        window", 12, "must ask for one id");
    assert_problem("version: 1", "version: 2", 1, "version 1");
    assert_problem("member: friend_id, plus_self", "plus_self", 15, "either `member` or `record`");
    assert_problem("from: since", "from: since, open_if: { friend_id: $principal }", 13, "judged by the row alone");
    assert_problem("  Role: {}", "  Role: {}\n  Role: {}", 5, "duplicate");
    assert_problem(
        "flags: { barred: {} }",
        "flags: { barred: { where: { x: null } } }",
        18,
        "what kind of column `x` is",
    );
}

#[test]
fn the_nearest_name_is_the_hint() {
    let problems = problems_with("kind: friendship", "knid: friendship");
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `kind`?"));
    let problems = problems_with("owner: owner_id", "ovner: owner_id");
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `owner`?"));
}

#[test]
fn all_problems_are_told_at_once() {
    let text = MAPPING
        .replace("kind: friendship", "kynd: x")
        .replace("size: size", "sise: size")
        .replace("source: store", "source: shop");
    let problems = read_text(&text).unwrap_err();
    let messages: Vec<_> = problems.0.iter().map(|problem| (problem.line.unwrap(), &*problem.message)).collect();
    assert_eq!(
        messages,
        [
            (14, "the relation `friends` has no key `kynd`"),
            (22, "the schema gives `Box` no attribute `sise`"),
            (25, "a source is `app` or `store`, not `shop`"),
            (19, "nothing fills the attribute `size` of `Box`"),
        ]
    );
}
