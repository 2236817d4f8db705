//! Tests of `projection`.

use super::*;
use crate::domain::{
    Freshness, Skew,
    mapping::{Bound, CellKind, Column, ParentId, Part, Query, Scalar, Shape, Source, Tenancy, Window},
};

const NOW: &str = "2026-03-10T15:00:00Z";

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

fn text(word: &str) -> Cell {
    Cell::Text(word.into())
}

fn columns(names: &[&str]) -> Vec<Column> {
    names.iter().map(|name| Column { name: (*name).into(), kind: CellKind::Text }).collect()
}

fn query() -> Query {
    Query { sqlite: "SELECT $1".into(), postgres: "SELECT $1".into() }
}

fn relation(names: &[&str], window: Option<Window>) -> Relation {
    Relation {
        source: Source::App,
        query: query(),
        key: None,
        columns: columns(names),
        window,
        kind: Some("kind".into()),
        about: None,
        exceptional: false,
    }
}

fn ends(column: usize) -> Option<Window> {
    Some(Window {
        from: None,
        from_null_is_open: false,
        to: Some(Bound { column, plus: jiff::SignedDuration::ZERO, plus_years: None }),
        to_null_is_over: false,
        to_inclusive: false,
        revoked: None,
        revoked_if: None,
        open_if: None,
    })
}

fn selection(relation: &str, filter: Option<Filter>) -> Selection {
    Selection { relation: relation.into(), rows: Rows::Active, filter }
}

fn set(relation: &str, filter: Option<Filter>, shape: Shape) -> Attribute {
    Attribute::Set { from: vec![(selection(relation, filter), shape)], plus_self: false }
}

fn member(column: usize) -> Shape {
    Shape::Member(Part::Column(column, Scalar::Text))
}

fn equals(column: usize, operand: Operand) -> Option<Filter> {
    Some(Filter(vec![vec![(column, Test::Equals(operand))]]))
}

/// People with roles in tenants, and records with rows that name somebody or something.
fn mapping() -> Mapping {
    let entity = |names: &[&str]| EntityMapping {
        source: Source::App,
        query: Some(query()),
        columns: columns(names),
        attributes: BTreeMap::new(),
        parents: vec![],
        relations: BTreeMap::new(),
    };
    let mut user = entity(&["tenant_id"]);
    user.relations.insert("roles".into(), relation(&["tenant_id", "role", "to"], ends(2)));
    user.attributes.insert("tenant".into(), Attribute::ActingTenant);
    user.parents.push(Parent {
        kind: "Role".into(),
        id: ParentId::Column(1),
        from: Some(selection("roles", equals(0, Operand::Tenant))),
        filter: None,
    });
    let mut record = entity(&["tenant_id", "name", "created_at"]);
    record.relations.insert("rows".into(), relation(&["target", "list", "at", "to"], ends(3)));
    record.attributes.insert("itself".into(), Attribute::Itself);
    let name = Attribute::Column { column: 1, scalar: Scalar::Text, optional: true };
    record.attributes.insert("name".into(), name);
    for (attribute, operand) in [
        ("isPrincipal", Operand::PrincipalId),
        ("isTenant", Operand::Tenant),
        ("isRole", Operand::Roles),
        ("isOtherTenant", Operand::OtherTenants),
        ("isType", Operand::ResourceType),
        ("isId", Operand::ResourceId),
        ("isName", Operand::Resource("name".into())),
        ("isNothing", Operand::Resource("no_such_column".into())),
    ] {
        let any = Attribute::Any(vec![selection("rows", equals(0, operand))]);
        record.attributes.insert(attribute.into(), any);
    }
    let after = Filter(vec![vec![(2, Test::After(Operand::Resource("created_at".into())))]]);
    record.attributes.insert("later".into(), Attribute::Any(vec![selection("rows", Some(after))]));
    record.attributes.insert("targets".into(), set("rows", None, member(0)));
    let each = Part::Each { column: 1, scalar: Scalar::Text, when_empty: Arc::new(["all".into(), "of it".into()]) };
    let pairs = BTreeMap::from([("target".into(), Part::Column(0, Scalar::Text)), ("word".into(), each)]);
    record.attributes.insert("pairs".into(), set("rows", None, Shape::Record(pairs)));
    Mapping {
        entities: [("User", user), ("Record", record), ("Role", entity(&[])), ("Tenant", entity(&[]))]
            .map(|(kind, mapping)| (kind.into(), mapping))
            .into(),
        tenancy: Some(Tenancy {
            principal_type: "User".into(),
            tenant_type: "Tenant".into(),
            attribute: "tenant".into(),
            home_column: Some(0),
            relation: "roles".into(),
            relation_column: 0,
        }),
        digest: 0,
    }
}

fn id(kind: &str, id: &str) -> EntityUid {
    uid(&kind.into(), id).unwrap()
}

fn rows(rows: Vec<Vec<Cell>>) -> Arc<[Row]> {
    rows.into_iter().enumerate().map(|(n, cells)| Row { id: format!("r{n}").into(), cells: cells.into() }).collect()
}

/// `ana` of T1, nurse there and doctor in T2, before one record with these rows.
fn slice(about: Vec<Vec<Cell>>) -> Slice {
    let entity = |cells: Vec<Cell>, relation: &str, about: Vec<Vec<Cell>>| {
        Loaded::Present(FactEntity {
            row: Row { id: "own".into(), cells: cells.into() },
            relations: BTreeMap::from([(relation.into(), rows(about))]),
        })
    };
    let roles = vec![
        vec![text("T1"), text("nurse"), Cell::Null],
        vec![text("T2"), text("doctor"), Cell::Null],
        vec![text("T3"), text("owner"), Cell::Instant(at(NOW))],
    ];
    let own = vec![text("T1"), text("spleen"), Cell::Instant(at("2026-01-01T00:00:00Z"))];
    Slice {
        principal: id("User", "ana"),
        resource: id("Record", "R1"),
        entities: BTreeMap::from([
            (id("User", "ana"), entity(vec![text("T1")], "roles", roles)),
            (id("Record", "R1"), entity(own, "rows", about)),
        ])
        .into(),
        asserted: BTreeMap::new(),
        freshness: Freshness { revision: String::new(), age_ms: 0 },
        skew: Skew::default(),
    }
}

fn naming(word: &str) -> Vec<Cell> {
    vec![text(word), Cell::List(Arc::new([])), Cell::Null, Cell::Null]
}

fn record(slice: &Slice, said: Option<&str>) -> BTreeMap<Arc<str>, Value> {
    let mapping = mapping();
    let projected = View::new(&mapping, slice, at(NOW), said).project().unwrap();
    projected.entities[&slice.resource].attributes.clone()
}

#[test]
fn a_filter_compares_with_facts_of_the_question() {
    for (word, attribute) in [
        ("ana", "isPrincipal"),
        ("T1", "isTenant"),
        ("nurse", "isRole"),
        ("T2", "isOtherTenant"),
        ("Record", "isType"),
        ("R1", "isId"),
        ("spleen", "isName"),
    ] {
        let attributes = record(&slice(vec![naming(word)]), Some("T1"));
        let holding: Vec<&str> =
            attributes.iter().filter(|(_, value)| **value == Value::Bool(true)).map(|(name, _)| &**name).collect();
        assert_eq!(holding, [attribute], "{word}");
    }
    for word in ["doctor", "owner", "T3", "ANA", ""] {
        let attributes = record(&slice(vec![naming(word)]), Some("T1"));
        assert!(attributes.values().all(|value| *value != Value::Bool(true)), "{word}: {attributes:?}");
    }
}

#[test]
fn an_instant_is_compared_with_the_records_own() {
    let row = |instant: &str| vec![vec![Cell::Null, Cell::List(Arc::new([])), Cell::Instant(at(instant)), Cell::Null]];
    let later = |instant: &str| record(&slice(row(instant)), Some("T1"))["later"].clone();
    assert_eq!(later("2026-01-01T00:00:00Z"), Value::Bool(false));
    assert_eq!(later("2026-01-01T00:00:00.000000001Z"), Value::Bool(true));
}

fn pair(target: &str, word: &str) -> Value {
    let fields = [("target", target), ("word", word)];
    Value::Record(fields.map(|(name, value)| (name.into(), Value::Text(value.into()))).into())
}

#[test]
fn each_word_of_a_list_is_a_member_and_an_empty_or_unknown_one_stands_for_all() {
    let (mut known, mut unknown) = (naming("x"), naming("z"));
    known[1] = Cell::List(Arc::new(["all".into()]));
    unknown[1] = Cell::List(Arc::new(["all".into(), "nobody knows this".into()]));
    let rows = slice(vec![known, naming("y"), unknown]);
    let Value::Set(members) = record(&rows, None)["pairs"].clone() else { panic!() };
    let all = [("x", "all"), ("y", "all"), ("y", "of it"), ("z", "all"), ("z", "of it")];
    assert_eq!(members, all.map(|(target, word)| pair(target, word)));
}

#[test]
fn a_null_contributes_nothing_and_another_kind_of_cell_is_an_error() {
    let mut row = naming("x");
    row[0] = Cell::Null;
    assert_eq!(record(&slice(vec![row.clone()]), None)["targets"], Value::Set(vec![]));
    row[0] = Cell::Bool(true);
    let (mapping, slice) = (mapping(), slice(vec![row]));
    let error = View::new(&mapping, &slice, at(NOW), None).project().unwrap_err();
    assert!(matches!(error, ProjectError::Kind { .. }), "{error:?}");
}

#[test]
fn a_set_that_was_not_loaded_is_absent_and_never_empty() {
    let mut slice = slice(vec![naming("x")]);
    let resource = slice.resource.clone();
    let Some(Loaded::Present(entity)) = slice.entities.get_mut(&resource) else { panic!() };
    entity.relations.clear();
    let attributes = record(&slice, Some("T1"));
    assert_eq!(attributes.keys().map(|name| &**name).collect::<Vec<_>>(), ["itself", "name"]);
}

#[test]
fn parents_that_were_not_loaded_are_an_error_and_never_none() {
    let mut slice = slice(vec![]);
    let principal = slice.principal.clone();
    let Some(Loaded::Present(entity)) = slice.entities.get_mut(&principal) else { panic!() };
    entity.relations.clear();
    let mapping = mapping();
    let error = View::new(&mapping, &slice, at(NOW), Some("T1")).project().unwrap_err();
    assert_eq!(error, ProjectError::Missing { kind: "User".into(), relation: "roles".into() });
}

fn acting(said: Option<&str>, home: Cell, now: &str) -> (Vec<String>, Option<String>) {
    let mut slice = slice(vec![]);
    let principal = slice.principal.clone();
    let Some(Loaded::Present(entity)) = slice.entities.get_mut(&principal) else { panic!() };
    entity.row.cells = Arc::new([home]);
    let (all, acting) = acting_tenant(&mapping(), entity, at(now), said);
    (all.iter().map(ToString::to_string).collect(), acting.map(|tenant| tenant.to_string()))
}

#[test]
fn somebody_of_several_tenants_acts_in_the_one_said_or_in_none() {
    let all = vec!["T1".to_owned(), "T2".to_owned()];
    assert_eq!(acting(None, text("T1"), NOW), (all.clone(), None));
    assert_eq!(acting(Some("T2"), text("T1"), NOW), (all.clone(), Some("T2".into())));
    assert_eq!(acting(Some("T3"), text("T1"), NOW), (all.clone(), None), "a role that ended makes no member");
    assert_eq!(acting(Some(""), Cell::Null, NOW), (all, None));
    let before = "2026-03-10T14:59:59Z";
    assert_eq!(acting(Some("T3"), text("T1"), before).1, Some("T3".into()), "the instant before, it does");
}

#[test]
fn roles_count_in_the_acting_tenant_alone() {
    let mapping = mapping();
    let slice = slice(vec![]);
    let roles = |said| View::new(&mapping, &slice, at(NOW), said).project().unwrap().roles;
    assert_eq!(roles(Some("T1")), ["nurse".into()]);
    assert_eq!(roles(Some("T2")), ["doctor".into()]);
    assert_eq!(roles(None), Vec::<Arc<str>>::new());
}

#[test]
fn the_acting_tenant_stands_on_the_principal_alone() {
    let mapping = mapping();
    let mut slice = slice(vec![]);
    let colleague = id("User", "ben");
    let ana = slice.entities[&slice.principal].clone();
    slice.entities.insert(colleague.clone(), ana);
    let projected = View::new(&mapping, &slice, at(NOW), Some("T2")).project().unwrap();
    let tenant = |uid: &EntityUid| projected.entities[uid].attributes.get("tenant").cloned();
    assert_eq!(tenant(&slice.principal), Some(Value::Entity(id("Tenant", "T2"))));
    assert_eq!(tenant(&colleague), None);
}

#[test]
fn boundaries_are_the_instants_after_now_and_up_to_the_limit_in_order() {
    let ending = |instant: &str| {
        let mut row = naming("x");
        row[3] = Cell::Instant(at(instant));
        row
    };
    let instants =
        ["2026-03-10T15:00:30Z", NOW, "2026-03-10T15:00:10Z", "2026-03-10T15:00:10Z", "2026-03-10T15:00:31Z"];
    let (mapping, slice) = (mapping(), slice(instants.map(ending).into()));
    let view = View::new(&mapping, &slice, at(NOW), None);
    let found = view.boundaries(at(NOW), at("2026-03-10T15:00:30Z"));
    assert_eq!(found, [at("2026-03-10T15:00:10Z"), at("2026-03-10T15:00:30Z")]);
}

#[test]
fn a_row_that_contributed_is_found_again_and_others_are_not() {
    let mapping = mapping();
    let slice = slice(vec![naming("x"), naming("y")]);
    let view = View::new(&mapping, &slice, at(NOW), Some("T1"));
    let named = |member: &str| -> Vec<&str> {
        let found = view.contributions(&slice.resource, "targets", &Value::Text(member.into()));
        found.iter().map(|contribution| &*contribution.row.id).collect()
    };
    assert_eq!((named("x"), named("y"), named("z")), (vec!["r0"], vec!["r1"], vec![]));
    let parents = view.parent_contributions(&slice.principal, &id("Role", "nurse"));
    assert_eq!(parents.iter().map(|contribution| &*contribution.row.id).collect::<Vec<_>>(), ["r0"]);
    assert!(view.parent_contributions(&slice.principal, &id("Role", "doctor")).is_empty());
}

#[test]
fn what_did_not_change_is_taken_over_and_nothing_that_looks_at_a_change_is() {
    let mapping = mapping();
    let mut earlier = slice(vec![naming("x")]);
    let other = id("Record", "R2");
    let like_the_resource = earlier.entities[&earlier.resource].clone();
    earlier.entities.insert(other.clone(), like_the_resource);
    let seen = View::new(&mapping, &earlier, at(NOW), Some("T1")).project().unwrap();
    let after = |later: &Slice, said: &str| {
        let view = View::new(&mapping, later, at(NOW), Some(said));
        let again = view.project_after(&earlier, &seen).unwrap();
        if let Some(again) = &again {
            assert_eq!(again.entities, view.project().unwrap().entities, "as if nothing had been seen before");
        }
        again
    };
    let with = |uid: &EntityUid, change: &dyn Fn(&mut FactEntity)| {
        let mut later = earlier.clone();
        let Some(Loaded::Present(entity)) = later.entities.get_mut(uid) else { panic!("{uid} is there") };
        change(entity);
        later
    };
    let more_rows = |entity: &mut FactEntity| {
        entity.relations.insert("rows".into(), rows(vec![naming("x"), naming("ana")]));
    };
    let is_shared = |again: &Projected, uid: &EntityUid| Arc::ptr_eq(&again.entities[uid], &seen.entities[uid]);

    let again = after(&with(&other, &more_rows), "T1").unwrap();
    assert!(
        is_shared(&again, &earlier.resource) && is_shared(&again, &earlier.principal) && !is_shared(&again, &other)
    );
    let names: Vec<_> = again.names_that_differ(&seen).unwrap().into_iter().collect();
    assert!(!names.is_empty() && names.iter().all(|name| seen.entities[&other].attributes.contains_key(name)));
    assert!(seen.names_that_differ(&seen).unwrap().is_empty());
    let again = after(&with(&earlier.resource, &more_rows), "T1").unwrap();
    assert!(!is_shared(&again, &earlier.resource) && is_shared(&again, &other));
    let mut gone = earlier.clone();
    gone.entities.remove(&other);
    let again = after(&gone, "T1").unwrap();
    assert!(!again.entities.contains_key(&other) && again.names_that_differ(&seen).is_none(), "one is gone");

    // Filters look at these from every entity.
    let of_roles = |entity: &mut FactEntity| {
        entity.relations.insert("roles".into(), rows(vec![vec![text("T1"), text("doctor"), Cell::Null]]));
    };
    assert!(after(&with(&earlier.principal, &of_roles), "T1").is_none());
    let renamed = |entity: &mut FactEntity| {
        entity.row.cells = vec![text("T1"), text("liver"), Cell::Instant(at("2026-01-01T00:00:00Z"))].into();
    };
    assert!(after(&with(&earlier.resource, &renamed), "T1").is_none());
    let mut asserting = earlier.clone();
    asserting.asserted.insert(other.clone(), BTreeMap::from([("name".into(), Value::Bool(true))]));
    assert!(after(&asserting, "T1").is_none());
    let mut about_another = earlier.clone();
    about_another.resource = other.clone();
    assert!(after(&about_another, "T1").is_none());
    assert!(after(&earlier, "T2").is_none(), "in another tenant");
}
