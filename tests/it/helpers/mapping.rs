//! A small mapping over the demo world, written in code.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::{EntityId, EntityTypeName, EntityUid};
use chaperone::domain::{
    EntityPlan, SlicePlan, Value,
    mapping::{
        Attribute, Bound, CellKind, Column, EntityMapping, Mapping, Parent, ParentId, Part, Query, Relation, Rows,
        Scalar, Selection, Shape, Source, Tenancy, Window,
    },
};

/// Users with roles in tenants, clients with a care team in the store, notes of clients, roles without rows.
pub(crate) fn clinic() -> Mapping {
    let entities = [("Role", role()), ("Tenant", tenant()), ("User", user()), ("Client", client()), ("Note", note())];
    Mapping {
        entities: entities.into_iter().map(|(kind, entity)| (kind.into(), entity)).collect(),
        tenancy: Some(Tenancy {
            principal_type: "User".into(),
            tenant_type: "Tenant".into(),
            attribute: "tenant".into(),
            home_column: Some(1),
            relation: "roles".into(),
            relation_column: 1,
        }),
        digest: 0,
    }
}

fn role() -> EntityMapping {
    EntityMapping {
        source: Source::App,
        query: None,
        columns: vec![],
        attributes: BTreeMap::new(),
        parents: vec![],
        relations: BTreeMap::new(),
    }
}

fn tenant() -> EntityMapping {
    let columns = columns("id text, plan text, hipaa_enabled bool, idle_limit_s int, baa_signed_at instant");
    let suspensions = relation(
        Source::Store,
        "SELECT * FROM lockdowns WHERE tenant_id = $1",
        "id text, client_id text, started_at instant",
    );
    EntityMapping {
        source: Source::App,
        query: Some(query("SELECT id, plan, hipaa_enabled, idle_limit_s, baa_signed_at FROM tenants WHERE id = $1")),
        attributes: [("plan", attribute(1, Scalar::Text)), ("hipaa", attribute(2, Scalar::Bool))].map(named).into(),
        columns,
        parents: vec![],
        relations: [("lockdowns", suspensions)].map(named).into(),
    }
}

fn user() -> EntityMapping {
    let roles = Relation {
        window: Some(Window {
            from: Some(Bound { column: 3, plus: jiff::SignedDuration::ZERO, plus_years: None }),
            from_null_is_open: false,
            to: Some(Bound { column: 4, plus: jiff::SignedDuration::ZERO, plus_years: None }),
            to_null_is_over: false,
            to_inclusive: false,
            revoked: Some(5),
            revoked_if: None,
            open_if: None,
        }),
        ..relation(
            Source::App,
            "SELECT id, tenant_id, role, valid_from, valid_to, revoked_at FROM user_roles WHERE user_id = $1",
            "id text, tenant_id text, role text, valid_from instant, valid_to instant, revoked_at instant",
        )
    };
    let grants = relation(
        Source::Store,
        "SELECT id, client_id, state FROM grants WHERE user_id = $1;",
        "id text, client_id text, state text",
    );
    let colleagues = Relation {
        key: Some(1),
        ..relation(
            Source::App,
            "SELECT id, status FROM users WHERE tenant_id = $1 -- the same home",
            "id text, status text",
        )
    };
    let active = Selection { relation: "roles".into(), rows: Rows::Active, filter: None };
    EntityMapping {
        source: Source::App,
        query: Some(query("SELECT id, tenant_id, status, is_vendor FROM users WHERE id = $1")),
        columns: columns("id text, tenant_id text, status text, is_vendor bool"),
        attributes: [
            ("tenant", Attribute::ActingTenant),
            ("status", attribute(2, Scalar::Text)),
            ("vendor", attribute(3, Scalar::Bool)),
        ]
        .map(named)
        .into(),
        parents: vec![Parent { kind: "Role".into(), id: ParentId::Column(2), from: Some(active), filter: None }],
        relations: [("roles", roles), ("grants", grants), ("colleagues", colleagues)].map(named).into(),
    }
}

fn client() -> EntityMapping {
    let assignments = relation(
        Source::Store,
        "SELECT id, user_id, scope, service_codes FROM assignments WHERE client_id = $1 ORDER BY id",
        "id text, user_id text, scope text, service_codes list",
    );
    let restrictions = relation(
        Source::Store,
        "SELECT id, kind, field_groups FROM restrictions WHERE client_id = $1",
        "kind text, field_groups list",
    );
    let team = Selection { relation: "assignments".into(), rows: Rows::Every, filter: None };
    EntityMapping {
        source: Source::App,
        query: Some(query("SELECT id, tenant_id, status, created_at, portal_user_id FROM clients WHERE id = $1")),
        columns: columns("id text, tenant_id text, status text, created_at instant, portal_user_id text"),
        attributes: [
            ("client", Attribute::Itself),
            ("tenant", attribute(1, Scalar::Entity("Tenant".into()))),
            ("portalUser", Attribute::Column { column: 4, scalar: Scalar::Entity("User".into()), optional: true }),
            ("status", attribute(2, Scalar::Text)),
            ("clinic", Attribute::Constant(Value::Entity(uid("Tenant", "T1")))),
            (
                "careTeam",
                Attribute::Set {
                    from: vec![(team, Shape::Member(Part::Column(1, Scalar::Entity("User".into()))))],
                    plus_self: false,
                },
            ),
        ]
        .map(named)
        .into(),
        parents: vec![],
        relations: [("assignments", assignments), ("restrictions", restrictions)].map(named).into(),
    }
}

fn note() -> EntityMapping {
    EntityMapping {
        source: Source::App,
        query: Some(query(
            "SELECT id, tenant_id, client_id, author_id, part2, sensitivity, created_at FROM notes WHERE id = $1",
        )),
        columns: columns(
            "id text, tenant_id text, client_id text, author_id text, part2 bool, sensitivity list, created_at instant",
        ),
        attributes: [
            ("client", attribute(2, Scalar::Entity("Client".into()))),
            ("author", attribute(3, Scalar::Entity("User".into()))),
            ("tenant", attribute(1, Scalar::Entity("Tenant".into()))),
        ]
        .map(named)
        .into(),
        parents: vec![],
        relations: BTreeMap::new(),
    }
}

pub(crate) fn relation(source: Source, sql: &str, columns: &str) -> Relation {
    Relation {
        source,
        query: query(sql),
        key: None,
        columns: self::columns(columns),
        window: None,
        kind: None,
        about: None,
        exceptional: false,
    }
}

/// The same SQL for both databases.
pub(crate) fn query(sql: &str) -> Query {
    Query { sqlite: sql.into(), postgres: sql.into() }
}

/// `name kind, name kind`.
pub(crate) fn columns(text: &str) -> Vec<Column> {
    let column = |word: &str| {
        let (name, kind) = word.trim().split_once(' ').expect("a name and a kind");
        let kind = match kind {
            "bool" => CellKind::Bool,
            "int" => CellKind::Int,
            "text" => CellKind::Text,
            "instant" => CellKind::Instant,
            "list" => CellKind::List,
            other => panic!("{other} is no kind of cell"),
        };
        Column { name: name.into(), kind }
    };
    text.split(',').map(column).collect()
}

fn attribute(column: usize, scalar: Scalar) -> Attribute {
    Attribute::Column { column, scalar, optional: false }
}

pub(crate) fn named<T>((name, value): (&str, T)) -> (Arc<str>, T) {
    (name.into(), value)
}

pub(crate) fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.parse::<EntityTypeName>().unwrap(), EntityId::new(id))
}

/// `relation relation attribute(…)`, as an entity's plan.
pub(crate) fn plan(relations: &[&str], follow: &[(&str, EntityPlan)]) -> EntityPlan {
    EntityPlan {
        relations: relations.iter().map(|name| Arc::from(*name)).collect(),
        follow: follow.iter().cloned().map(named).collect(),
    }
}

pub(crate) fn slice_plan(principal: EntityPlan, resource: EntityPlan) -> SlicePlan {
    SlicePlan { principal, resource }
}
