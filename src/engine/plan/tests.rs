//! Tests of `plan`.

use std::{collections::BTreeMap, fs, path::PathBuf};

use cedar_policy::{Context, Entities, EntityUid, PolicySet, Request, Schema};
use proptest::prelude::*;

use super::*;
use crate::{
    domain::{
        Cell, FactEntity, Freshness, Loaded, Row, Skew, Slice, Timestamp,
        mapping::{Attribute, CellKind, Column},
        projection::{View, uid},
    },
    engine::{
        index::PolicyIndex,
        mapping_file,
        reasons::{Deadline, Refinement},
        schema_shape::Type,
        source::Sources,
    },
};

/// The shipped schema with one action for every type of resource.
struct Shipped {
    actions: Arc<Actions>,
    types: SchemaShape,
    mapping: Mapping,
    reasons: Reasons,
    taxonomy: Taxonomy,
}

impl Shipped {
    fn new() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let text = fs::read_to_string(folder.join("clinic.cedarschema")).unwrap();
        let types = SchemaShape::from_text(&text).unwrap();
        let resources: Vec<_> = types.entities.keys().map(|kind| &**kind).collect();
        let text = format!(
            "{text}\naction look, touch in [any] appliesTo {{ principal: User, resource: [{}], context: RequestContext }};\naction any;",
            resources.join(", ")
        );
        let (schema, _) = Schema::from_cedarschema_str(&text).unwrap();
        let actions = Arc::new(Actions::of(&schema).unwrap());
        let types = SchemaShape::from_text(&text).unwrap();
        let taxonomy = Taxonomy::default();
        let file = folder.join("clinic.entities.yaml");
        let mapping =
            mapping_file::read(&file, &fs::read_to_string(&file).unwrap(), &types, &taxonomy).unwrap().mapping;
        Self { actions, types, mapping, reasons: Reasons::default(), taxonomy }
    }

    fn plans(&self, policies: &str) -> Plans {
        let policies: PolicySet = policies.parse().unwrap_or_else(|error| panic!("{policies}: {error}"));
        let Self { actions, types, mapping, reasons, taxonomy } = self;
        plans(&policies, Bodies::of(&policies).unwrap(), Known { actions, types, mapping, reasons, taxonomy })
    }

    fn plan(&self, policies: &str, resource: &str) -> SlicePlan {
        self.merged(&self.plans(policies), resource, &[look()])
    }

    fn merged(&self, plans: &Plans, resource: &str, actions: &[EntityUid]) -> SlicePlan {
        plans.merged(&self.actions.environments, &"User".parse().unwrap(), &resource.parse().unwrap(), actions)
    }
}

fn look() -> EntityUid {
    r#"Action::"look""#.parse().unwrap()
}

fn names(relations: &[Arc<str>]) -> Vec<&str> {
    relations.iter().map(|name| &**name).collect()
}

fn when(body: &str) -> String {
    format!("permit(principal, action, resource) when {{ {body} }};")
}

#[test]
fn reading_any_attribute_plans_every_relation_that_fills_it() {
    let shipped = Shipped::new();
    for (kind, entity) in &shipped.mapping.entities {
        for (name, attribute) in &entity.attributes {
            let wanted: Vec<_> = match attribute {
                Attribute::Set { from, .. } => from.iter().map(|(selection, _)| selection.relation.clone()).collect(),
                Attribute::Any(from) => from.iter().map(|selection| selection.relation.clone()).collect(),
                Attribute::ActingTenant => vec!["roles".into()],
                _ => Vec::new(),
            };
            for body in [format!("resource.{name} == 1"), format!("resource has {name}")] {
                let plan = shipped.plan(&when(&body), kind);
                assert!(wanted.iter().all(|relation| plan.resource.relations.contains(relation)), "{kind}.{name}");
            }
        }
    }
}

#[test]
fn a_policy_reaches_the_same_with_its_text_and_without() {
    let shipped = Shipped::new();
    let world = World { types: &shipped.types, mapping: &shipped.mapping };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let sources = Sources::read(&folder.join("policies"), &folder.join("schemas")).unwrap();
    let mut compared = 0;
    for policy in sources
        .policies
        .iter()
        .flat_map(|file| file.text.parse::<PolicySet>().unwrap().policies().cloned().collect::<Vec<_>>())
    {
        for resource in shipped.mapping.entities.keys() {
            let plan = |policy: &Policy| {
                let mut reach = Reach::new(world, &"User".into(), resource);
                bodies(policy).unwrap().iter().for_each(|body| reach.read(body));
                reach.into_plan()
            };
            assert_eq!(plan(&policy), plan(&without_text(&policy)), "{policy}");
            compared += 1;
        }
    }
    assert!(compared > 1_000, "{compared}");
}

#[test]
fn roles_and_tenancy_of_the_principal_are_always_planned() {
    let plan = Shipped::new().plan("", "Note");
    assert_eq!(names(&plan.principal.relations), ["roles"]);
    assert_eq!(plan.resource, EntityPlan::default());
}

#[test]
fn an_entity_that_is_looked_into_is_followed() {
    let shipped = Shipped::new();
    let plan = shipped.plan(&when("principal in resource.client.team && principal.tenant.active"), "Note");
    assert_eq!(names(&plan.resource.follow["client"].relations), ["assignments"]);
    assert!(plan.principal.follow.contains_key("tenant"));
    // Compared, not looked into.
    let plan = shipped.plan(&when("resource.client == resource.client"), "Note");
    assert!(plan.resource.follow.is_empty());
}

#[test]
fn an_entity_that_names_itself_is_not_followed() {
    let plan = Shipped::new().plan(&when("resource.client.client.held"), "Client");
    assert_eq!(names(&plan.resource.relations), ["holds"]);
    assert!(plan.resource.follow.is_empty());
}

#[test]
fn a_membership_test_loads_the_parents_of_its_left_side() {
    let plan = Shipped::new().plan(&when(r#"resource.author in Role::"therapist""#), "Note");
    assert_eq!(names(&plan.resource.follow["author"].relations), ["roles"]);
}

#[test]
fn branches_records_and_chains_of_has_are_seen_through() {
    let shipped = Shipped::new();
    for body in [
        "(if 1 == 2 then resource.client else resource.client).held",
        "{ a: { b: resource.client } }.a.b.held",
        "resource has client.held",
        "resource has client && resource[\"client\"][\"held\"]",
        "resource.client.held || [resource.client.held].contains(true)",
    ] {
        let plan = shipped.plan(&when(body), "Note");
        assert_eq!(names(&plan.resource.follow["client"].relations), ["holds"], "{body}");
    }
}

#[test]
fn an_expression_that_is_not_understood_loads_everything() {
    let shipped = Shipped::new();
    let plan = shipped.plan(&when(r#"resource.client.hasTag("x")"#), "Note");
    let all = |kind: &str| shipped.mapping.entity(kind).unwrap().relations.len();
    assert_eq!(plan.resource.follow["client"].relations.len(), all("Client"));
    assert_eq!(plan.resource.relations.len(), all("Note"));
    assert_eq!(plan.principal.relations.len(), all("User"));
}

#[test]
fn only_policies_whose_scope_may_hold_count() {
    let shipped = Shipped::new();
    let policies = r#"
        permit(principal is Tenant, action, resource) when { resource.held };
        permit(principal, action == Action::"touch", resource) when { resource.held };
        permit(principal, action in Action::"any", resource is Note) when { resource.held };
    "#;
    assert!(shipped.plan(policies, "Client").resource.relations.is_empty());
    let touch: EntityUid = r#"Action::"touch""#.parse().unwrap();
    let plans = shipped.plans(policies);
    let touched = shipped.merged(&plans, "Client", std::slice::from_ref(&touch));
    assert_eq!(names(&touched.resource.relations), ["holds"]);
    assert_eq!(shipped.merged(&plans, "Client", &[look(), touch]).resource.relations.len(), 1);
}

#[test]
fn limits_and_lapsed_facts_are_planned_beside_the_policies() {
    let mut shipped = Shipped::new();
    shipped.reasons.deadlines = vec![Deadline {
        counts: "session.age_seconds".into(),
        limits: vec!["resource.tenant.sessionMax".into()],
        otherwise: Vec::new(),
    }];
    let refinement: Refinement =
        serde_json::from_str(r#"{ "lapsed": { "grant": { "expired": "grant_expired" } } }"#).unwrap();
    shipped.reasons.refine.insert(Reason::from("no_assignment"), refinement);
    let permit = format!(r#"@otherwise("- no_assignment") {}"#, when("principal in resource.client.team"));
    let plan = shipped.plan(&permit, "Note");
    assert!(plan.resource.follow.contains_key("tenant"));
    assert_eq!(names(&plan.resource.follow["client"].relations), ["assignments", "grants"]);
}

/// Every path of attributes up to three steps from a root, with its type.
fn paths(types: &SchemaShape, from: &str, kind: &str, steps: usize, found: &mut Vec<(String, Type)>) {
    for (name, field) in &types.entities[kind].attributes {
        let path = format!("{from}.{name}");
        if let (Type::Entity(kind), 1..) = (&field.kind, steps) {
            paths(types, &path, kind, steps - 1, found);
        }
        found.push((path, field.kind.clone()));
    }
}

fn cells(columns: &[Column]) -> Arc<[Cell]> {
    let cell = |column: &Column| match column.kind {
        CellKind::Bool => Cell::Bool(true),
        CellKind::Int => Cell::Int(1),
        CellKind::Text => Cell::Text("x".into()),
        CellKind::Instant => Cell::Instant(Timestamp::UNIX_EPOCH),
        CellKind::List => Cell::List(["x".into()].into()),
    };
    columns.iter().map(cell).collect()
}

/// Loads exactly what a plan names: one row of everything, every id `x`.
fn load(shipped: &Shipped, kind: &Arc<str>, plan: &EntityPlan, entities: &mut BTreeMap<EntityUid, Loaded>) {
    let mapping = shipped.mapping.entity(kind).unwrap();
    let row = |columns: &[Column]| Row { id: "x".into(), cells: cells(columns) };
    let loaded = entities
        .entry(uid(kind, "x").unwrap())
        .or_insert_with(|| Loaded::Present(FactEntity { row: row(&mapping.columns), relations: BTreeMap::new() }));
    let Loaded::Present(fact) = loaded else { panic!() };
    for name in &plan.relations {
        fact.relations.insert(name.clone(), [row(&mapping.relations[name].columns)].into());
    }
    for (attribute, plan) in &plan.follow {
        let Type::Entity(kind) = &shipped.types.entities[kind].attributes[attribute].kind else { panic!() };
        load(shipped, kind, plan, entities);
    }
}

static SHIPPED: std::sync::LazyLock<Shipped> = std::sync::LazyLock::new(Shipped::new);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_policy_never_misses_what_its_plan_loads(
        resource in proptest::sample::select(&["Client", "Note", "Document", "Recording", "Thread", "Channel", "User", "Tenant"]),
        picks in proptest::collection::vec((any::<proptest::sample::Index>(), 0..7_usize, any::<bool>()), 1..5),
    ) {
        let shipped = &*SHIPPED;
        let mut all = Vec::new();
        paths(&shipped.types, "principal", "User", 3, &mut all);
        paths(&shipped.types, "resource", resource, 3, &mut all);
        // Nobody but the principal acts in a tenant.
        all.retain(|(path, _)| resource != "User" || !path.starts_with("resource.tenant"));
        all.retain(|(path, _)| !["author.tenant", "User.tenant", "user.tenant"].iter().any(|of| path.contains(of)));
        let bodies: Vec<String> = picks.iter().map(|(index, form, negated)| {
            let (path, kind) = index.get(&all);
            let body = match (form, kind) {
                (0, Type::Bool) => path.clone(),
                (1, _) => format!("[{path}].contains({path})"),
                (2, _) => format!("(if {path} == {path} then {path} else 1) == {path}"),
                (3, _) => {
                    let (before, last) = path.rsplit_once('.').unwrap();
                    format!("{{ k: {before} }}.k.{last} == {path}")
                }
                (4, _) => path.rsplit_once('.').map(|(before, last)| format!("{before} has {last}")).unwrap(),
                (5, Type::Entity(_)) => format!(r#"principal in {path} || {path} in Role::"therapist""#),
                _ => format!("{path} == {path}"),
            };
            if *negated { format!("!({body})") } else { body }
        }).collect();
        let text: String = bodies.iter().map(|body| when(body)).collect();
        let plan = shipped.plan(&text, resource);

        let mut entities = BTreeMap::new();
        load(shipped, &"User".into(), &plan.principal, &mut entities);
        load(shipped, &resource.into(), &plan.resource, &mut entities);
        let slice = Slice {
            principal: uid(&"User".into(), "x").unwrap(),
            resource: uid(&resource.into(), "x").unwrap(),
            entities: entities.into(),
            asserted: BTreeMap::new(),
            freshness: Freshness { revision: String::new(), age_ms: 0 },
            skew: Skew::default(),
        };
        let view = View::new(&shipped.mapping, &slice, Timestamp::UNIX_EPOCH, None);
        let present = Entities::from_entities(view.project().unwrap().to_cedar().unwrap(), None).unwrap();
        let index = PolicyIndex::build(&text.parse().unwrap(), &shipped.actions).unwrap();
        let request = Request::new(slice.principal, look(), slice.resource, Context::empty(), None).unwrap();
        let merged = index.evaluate(&request, &present);
        prop_assert!(merged.errors.is_empty(), "{:?} for {}", merged.errors, text);
    }
}
