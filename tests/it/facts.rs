//! From a slice plan to a complete slice, on SQLite and on PostgreSQL.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use cedar_policy::EntityUid;
use chaperone::{
    clock::{Clock, SystemClock},
    domain::{
        Cell, Loaded, Row, Slice, Timestamp, Value,
        mapping::{Parent, ParentId, Source},
    },
    entities::{Asking, Facts, FactsError, FactsOptions},
};

use crate::{
    helpers::{
        mapping::{clinic, columns, named, plan, query, relation, slice_plan, uid},
        world::World,
    },
    on_both,
};

on_both!(
    a_slice_holds_the_rows_of_its_plan,
    a_plan_is_followed_to_its_depth,
    an_unknown_principal_and_resource_are_absent,
    an_entity_that_does_not_exist_but_is_referred_to_is_an_error,
    an_id_is_compared_letter_by_letter,
    one_home_tenant_is_the_acting_one,
    of_several_tenants_the_session_names_the_acting_one,
    a_tenant_that_is_not_the_principals_own_is_not_acted_in,
    a_principal_that_is_the_resource_is_loaded_once_with_both_plans,
    an_entity_reached_twice_has_the_relations_of_both_ways,
    a_relation_that_no_plan_names_is_never_read,
    a_relation_goes_by_a_column_and_a_null_means_no_rows,
    an_asserted_attribute_is_followed_instead_of_the_stored_one,
    parents_with_parents_are_loaded,
    a_table_that_is_gone_makes_its_source_unavailable,
    a_slice_over_its_limit_is_an_error_and_one_at_it_is_not,
    two_rows_for_one_id_are_an_error,
    an_unmapped_type_is_an_error,
    a_plan_beyond_the_mapping_is_an_error,
    a_cell_of_another_kind_is_an_error_that_hides_the_value,
    the_time_spent_on_each_source_is_told,
    ids_that_no_row_can_have_are_absent,
);

pub(crate) fn asking(principal: &EntityUid, resource: &EntityUid) -> Asking {
    Asking {
        principal: principal.clone(),
        resource: resource.clone(),
        now: "2026-03-10T15:00:00Z".parse().unwrap(),
        said_tenant: None,
        asserted: BTreeMap::new(),
    }
}

pub(crate) fn user(id: &str) -> EntityUid {
    uid("User", id)
}

fn keys(slice: &Slice) -> BTreeSet<String> {
    slice.entities.keys().map(ToString::to_string).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn ids(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| &*row.id).collect()
}

fn rows<'a>(slice: &'a Slice, uid: &EntityUid, relation: &str) -> &'a [Row] {
    &slice.present(uid).expect("the entity is present").relations[relation]
}

pub(crate) fn text(text: &str) -> Cell {
    Cell::Text(text.into())
}

pub(crate) fn at(text: &str) -> Cell {
    Cell::Instant(text.parse().unwrap())
}

async fn a_slice_holds_the_rows_of_its_plan(world: World) {
    let plan = slice_plan(plan(&["roles"], &[]), plan(&["assignments"], &[]));
    let (ana, c1) = (user("ana"), uid("Client", "C1"));
    let slice = world.facts().slice(&clinic(), &plan, &asking(&ana, &c1)).await.unwrap();

    assert_eq!(keys(&slice), names(&[r#"User::"ana""#, r#"Client::"C1""#]));
    assert_eq!(*slice.present(&ana).unwrap().row.cells, [text("ana"), text("T1"), text("active"), Cell::Bool(false)]);
    assert_eq!(
        *slice.present(&c1).unwrap().row.cells,
        [text("C1"), text("T1"), text("active"), at("2025-01-05T00:00:00Z"), text("pat")]
    );
    let assignments = rows(&slice, &c1, "assignments");
    assert_eq!(ids(assignments), ["A1", "A10", "A2", "A6"]);
    assert_eq!(*assignments[0].cells, [text("A1"), text("ana"), text("full"), Cell::List(["97155".into()].into())]);
    assert_eq!(assignments[1].cells[3], Cell::List([].into()));
    let position = if matches!(world, World::Postgres { .. }) { "direct" } else { "1" };
    assert_eq!(slice.freshness.revision, format!("app:{position},store:{position}"));
    assert!(slice.freshness.age_ms < 20_000);
}

async fn a_plan_is_followed_to_its_depth(world: World) {
    let facts = world.facts();
    let (ana, note) = (user("ana"), uid("Note", "N2"));
    let shallow = slice_plan(plan(&[], &[]), plan(&[], &[]));
    let slice = facts.slice(&clinic(), &shallow, &asking(&ana, &note)).await.unwrap();
    assert_eq!(keys(&slice), names(&[r#"User::"ana""#, r#"Note::"N2""#]));

    let tenant = plan(&["lockdowns"], &[]);
    let client = plan(
        &["assignments"],
        &[("client", plan(&["restrictions"], &[])), ("tenant", tenant), ("portalUser", plan(&[], &[]))],
    );
    let deep = slice_plan(plan(&[], &[]), plan(&[], &[("client", client)]));
    let slice = facts.slice(&clinic(), &deep, &asking(&ana, &note)).await.unwrap();
    assert_eq!(keys(&slice), names(&[r#"User::"ana""#, r#"Note::"N2""#, r#"Client::"C2""#, r#"Tenant::"T1""#]));
    let c2 = slice.present(&uid("Client", "C2")).unwrap();
    assert_eq!(c2.row.cells[4], Cell::Null, "an optional attribute that is null leads nowhere");
    assert_eq!(
        c2.relations.keys().map(|name| &**name).collect::<Vec<_>>(),
        ["assignments", "restrictions"],
        "itself is no second entity"
    );
    assert!(rows(&slice, &uid("Tenant", "T1"), "lockdowns").is_empty());
}

async fn an_unknown_principal_and_resource_are_absent(world: World) {
    let plan = slice_plan(
        plan(&["grants"], &[("tenant", plan(&[], &[]))]),
        plan(&["assignments"], &[("tenant", plan(&[], &[]))]),
    );
    let (nobody, nothing) = (user("nobody"), uid("Client", "nothing"));
    let slice = world.facts().slice(&clinic(), &plan, &asking(&nobody, &nothing)).await.unwrap();
    assert_eq!(slice.entities, [(nothing, Loaded::Absent), (nobody, Loaded::Absent)].into());
}

async fn an_entity_that_does_not_exist_but_is_referred_to_is_an_error(world: World) {
    let mut mapping = clinic();
    let tenants = mapping.entities.get_mut("Tenant").unwrap();
    tenants.query = Some(query("SELECT * FROM tenants WHERE id = $1 AND id <> 'T1'"));
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[("tenant", plan(&[], &[]))]));
    let error = world.facts().slice(&mapping, &plan, &asking(&user("ana"), &uid("Note", "N1"))).await.unwrap_err();
    assert_eq!(error, FactsError::Dangling { kind: "Note".into(), attribute: "tenant".into() });
}

async fn an_id_is_compared_letter_by_letter(world: World) {
    let mut mapping = clinic();
    mapping.entities.get_mut("User").unwrap().query =
        Some(query("SELECT id, tenant_id, status, is_vendor FROM users WHERE lower(id) = lower($1)"));
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
    let facts = world.facts();
    let slice = facts.slice(&mapping, &plan, &asking(&user("BEN"), &uid("Client", "C1"))).await.unwrap();
    assert_eq!(slice.entities[&user("BEN")], Loaded::Absent);
    let slice = facts.slice(&mapping, &plan, &asking(&user("ben"), &uid("Client", "C1"))).await.unwrap();
    assert!(slice.present(&user("ben")).is_some());
}

async fn one_home_tenant_is_the_acting_one(world: World) {
    let plan = slice_plan(plan(&[], &[("tenant", plan(&[], &[]))]), plan(&[], &[]));
    let facts = world.facts();
    let slice = facts.slice(&clinic(), &plan, &asking(&user("ana"), &uid("Client", "Z1"))).await.unwrap();
    assert!(slice.present(&uid("Tenant", "T1")).is_some());
    assert!(!rows(&slice, &user("ana"), "roles").is_empty(), "the tenancy relation is loaded unasked");

    let slice = facts.slice(&clinic(), &plan, &asking(&user("nob"), &uid("Client", "Z1"))).await.unwrap();
    assert_eq!(keys(&slice), names(&[r#"User::"nob""#, r#"Client::"Z1""#]), "who belongs nowhere acts nowhere");
}

async fn of_several_tenants_the_session_names_the_acting_one(world: World) {
    let plan = slice_plan(plan(&[], &[("tenant", plan(&[], &[]))]), plan(&[], &[]));
    let facts = world.facts();
    let mut ask = asking(&user("mo"), &uid("Client", "C1"));
    let slice = facts.slice(&clinic(), &plan, &ask).await.unwrap();
    assert_eq!(keys(&slice), names(&[r#"User::"mo""#, r#"Client::"C1""#]), "of two none is chosen");
    ask.said_tenant = Some("T2".to_owned());
    let slice = facts.slice(&clinic(), &plan, &ask).await.unwrap();
    assert_eq!(keys(&slice), names(&[r#"User::"mo""#, r#"Client::"C1""#, r#"Tenant::"T2""#]));
}

async fn a_tenant_that_is_not_the_principals_own_is_not_acted_in(world: World) {
    let plan = slice_plan(plan(&[], &[("tenant", plan(&[], &[]))]), plan(&[], &[]));
    let mut ask = asking(&user("ana"), &uid("Client", "C1"));
    ask.said_tenant = Some("T2".to_owned());
    let slice = world.facts().slice(&clinic(), &plan, &ask).await.unwrap();
    assert_eq!(keys(&slice), names(&[r#"User::"ana""#, r#"Client::"C1""#]));
}

async fn a_principal_that_is_the_resource_is_loaded_once_with_both_plans(world: World) {
    let plan = slice_plan(plan(&["grants"], &[]), plan(&["colleagues"], &[]));
    let ben = user("ben");
    let slice = world.facts().slice(&clinic(), &plan, &asking(&ben, &ben)).await.unwrap();
    assert_eq!(slice.entities.len(), 1);
    assert_eq!(ids(rows(&slice, &ben, "grants")), ["BG1"]);
    assert!(ids(rows(&slice, &ben, "colleagues")).contains(&"ana"));
}

async fn an_entity_reached_twice_has_the_relations_of_both_ways(world: World) {
    let mut mapping = clinic();
    let grants = relation(Source::Store, "SELECT id FROM grants WHERE tenant_id = $1 ORDER BY id", "id text");
    mapping.entities.get_mut("Tenant").unwrap().relations.extend([named(("grants", grants))]);
    let client = plan(&[], &[("tenant", plan(&["grants"], &[]))]);
    let resource = plan(&[], &[("tenant", plan(&["lockdowns"], &[])), ("client", client)]);
    let slice = world
        .facts()
        .slice(&mapping, &slice_plan(plan(&[], &[]), resource), &asking(&user("ana"), &uid("Note", "N1")))
        .await
        .unwrap();
    let t1 = uid("Tenant", "T1");
    assert!(rows(&slice, &t1, "lockdowns").is_empty());
    assert_eq!(ids(rows(&slice, &t1, "grants")), ["BG0", "BG1", "BG3"]);
}

/// For each subset of the relations of a client in the plan: what is loaded is exactly that, although reading any
/// other one would fail.
async fn a_relation_that_no_plan_names_is_never_read(world: World) {
    let all = ["assignments", "restrictions", "grants"];
    let mut mapping = clinic();
    let grants = relation(Source::Store, "SELECT id FROM grants WHERE client_id = $1", "id text");
    mapping.entities.get_mut("Client").unwrap().relations.extend([named(("grants", grants))]);
    let facts = world.facts();
    for subset in 0..8_usize {
        let chosen: Vec<&str> =
            all.iter().enumerate().filter(|(bit, _)| subset & (1 << bit) != 0).map(|(_, name)| *name).collect();
        let mut mapping = mapping.clone();
        for (name, relation) in &mut mapping.entities.get_mut("Client").unwrap().relations {
            if !chosen.contains(&&**name) {
                relation.query = query("SELECT id FROM no_such_table WHERE id = $1");
            }
        }
        let c1 = uid("Client", "C1");
        let plan = slice_plan(plan(&[], &[]), plan(&chosen, &[]));
        let slice = facts.slice(&mapping, &plan, &asking(&user("ana"), &c1)).await.unwrap();
        let loaded: BTreeSet<&str> = slice.present(&c1).unwrap().relations.keys().map(|name| &**name).collect();
        assert_eq!(loaded, chosen.into_iter().collect());
    }
}

async fn a_relation_goes_by_a_column_and_a_null_means_no_rows(world: World) {
    let plan = slice_plan(plan(&["colleagues"], &[]), plan(&[], &[]));
    let facts = world.facts();
    let slice = facts.slice(&clinic(), &plan, &asking(&user("zoe"), &uid("Client", "Z1"))).await.unwrap();
    let colleagues: BTreeSet<&str> = ids(rows(&slice, &user("zoe"), "colleagues")).into_iter().collect();
    assert!(colleagues.contains("yan") && !colleagues.contains("ana"));
    let slice = facts.slice(&clinic(), &plan, &asking(&user("nob"), &uid("Client", "Z1"))).await.unwrap();
    assert!(rows(&slice, &user("nob"), "colleagues").is_empty());
}

async fn an_asserted_attribute_is_followed_instead_of_the_stored_one(world: World) {
    let note = uid("Note", "N1");
    let resource = plan(&[], &[("client", plan(&[], &[]))]);
    let mut ask = asking(&user("ana"), &note);
    ask.asserted.insert(note.clone(), [named(("client", Value::Entity(uid("Client", "C2"))))].into());
    let slice = world.facts().slice(&clinic(), &slice_plan(plan(&[], &[]), resource), &ask).await.unwrap();
    assert_eq!(keys(&slice), names(&[r#"User::"ana""#, r#"Note::"N1""#, r#"Client::"C2""#]));
    assert_eq!(slice.asserted, ask.asserted);
}

async fn parents_with_parents_are_loaded(world: World) {
    let mut mapping = clinic();
    let parent = |kind: &str, id| Parent { kind: kind.into(), id, from: None, filter: None };
    mapping.entities.get_mut("Note").unwrap().parents = vec![parent("Client", ParentId::Column(2))];
    mapping.entities.get_mut("Client").unwrap().parents = vec![parent("Tenant", ParentId::Column(1))];
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
    let slice = world.facts().slice(&mapping, &plan, &asking(&user("ana"), &uid("Note", "N1"))).await.unwrap();
    // A tenant has no parents here: as a parent it needs no row.
    assert_eq!(keys(&slice), names(&[r#"User::"ana""#, r#"Note::"N1""#, r#"Client::"C1""#]));
}

async fn a_table_that_is_gone_makes_its_source_unavailable(world: World) {
    let facts = world.facts();
    let plan = slice_plan(plan(&[], &[]), plan(&["assignments"], &[]));
    let ask = asking(&user("ana"), &uid("Client", "C1"));
    facts.slice(&clinic(), &plan, &ask).await.unwrap();
    world.execute(Source::Store, "ALTER TABLE assignments RENAME TO assignments_gone").await;
    let error = facts.slice(&clinic(), &plan, &ask).await.unwrap_err();
    assert!(matches!(&error, FactsError::Unavailable { database: Source::Store, .. }), "{error:?}");
    assert_eq!(error.to_string(), "cannot read relation `assignments` of `Client` from source `store`");
    world.execute(Source::Store, "ALTER TABLE assignments_gone RENAME TO assignments").await;
    facts.slice(&clinic(), &plan, &ask).await.unwrap();
}

async fn a_slice_over_its_limit_is_an_error_and_one_at_it_is_not(world: World) {
    let plan = slice_plan(plan(&[], &[]), plan(&["assignments"], &[]));
    let ask = asking(&user("ana"), &uid("Client", "C1"));
    let whole = world.facts().slice(&clinic(), &plan, &ask).await.unwrap();
    let rows_held = whole.entities.len()
        + rows(&whole, &ask.principal, "roles").len()
        + rows(&whole, &ask.resource, "assignments").len();
    for (rows_max, fits) in [(rows_held, true), (rows_held - 1, false), (3, false)] {
        let facts = Facts::connect(FactsOptions { rows_max, ..world.options() }, Arc::new(SystemClock)).unwrap();
        let slice = facts.slice(&clinic(), &plan, &ask).await;
        match slice {
            Ok(slice) => assert!(fits && slice.entities == whole.entities),
            Err(error) => assert!(!fits && error == FactsError::TooLarge { rows_max }, "{error:?}"),
        }
    }
}

async fn two_rows_for_one_id_are_an_error(world: World) {
    let mut mapping = clinic();
    mapping.entities.get_mut("Client").unwrap().query = Some(query(
        "SELECT c.id, c.tenant_id, c.status, c.created_at, c.portal_user_id FROM clients c JOIN notes n ON n.client_id = c.id WHERE c.id = $1",
    ));
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
    let error = world.facts().slice(&mapping, &plan, &asking(&user("ana"), &uid("Client", "C1"))).await.unwrap_err();
    assert_eq!(error.to_string(), "entity `Client` returned more than one row for one id");
}

async fn an_unmapped_type_is_an_error(world: World) {
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
    let error = world.facts().slice(&clinic(), &plan, &asking(&user("ana"), &uid("Spaceship", "1"))).await.unwrap_err();
    assert_eq!(error, FactsError::Unmapped { kind: "Spaceship".into() });
}

async fn a_plan_beyond_the_mapping_is_an_error(world: World) {
    let facts = world.facts();
    let ask = asking(&user("ana"), &uid("Client", "C1"));
    for (resource, words) in [
        (
            plan(&["cousins"], &[]),
            "the slice plan names relation `cousins` of `Client`, which the mapping does not have",
        ),
        (
            plan(&[], &[("cousin", plan(&[], &[]))]),
            "the slice plan names an entity in `cousin` of `Client`, which the mapping does not have",
        ),
        (
            plan(&[], &[("status", plan(&[], &[]))]),
            "the slice plan names an entity in `status` of `Client`, which the mapping does not have",
        ),
    ] {
        let error = facts.slice(&clinic(), &slice_plan(plan(&[], &[]), resource), &ask).await.unwrap_err();
        assert_eq!(error.to_string(), words);
    }
}

async fn a_cell_of_another_kind_is_an_error_that_hides_the_value(world: World) {
    let facts = world.facts();
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
    for wrong in ["bool", "int", "instant", "list"] {
        let mut mapping = clinic();
        let clients = mapping.entities.get_mut("Client").unwrap();
        clients.query = Some(query("SELECT id, pseudonym FROM clients WHERE id = $1"));
        clients.columns = columns(&format!("id text, pseudonym {wrong}"));
        let error = facts.slice(&mapping, &plan, &asking(&user("ana"), &uid("Client", "C1"))).await.unwrap_err();
        let FactsError::Decode { place, column, .. } = &error else { panic!("{error:?}") };
        assert_eq!((place.to_string().as_str(), &**column), ("entity `Client`", "pseudonym"));
        let words = format!("{error} {error:?}");
        assert!(!words.contains("psn-7f3a") && !words.contains("C1"), "{words}");
    }
}

async fn the_time_spent_on_each_source_is_told(world: World) {
    let told: Arc<Mutex<Vec<(Source, Duration)>>> = Arc::default();
    let on_load = {
        let told = told.clone();
        Arc::new(move |source, spent| told.lock().unwrap().push((source, spent)))
    };
    let facts =
        Facts::connect(FactsOptions { on_load: Some(on_load), ..world.options() }, Arc::new(SystemClock)).unwrap();
    let mut ask = asking(&user("ana"), &uid("Client", "C1"));
    facts.slice(&clinic(), &slice_plan(plan(&["grants"], &[]), plan(&[], &[])), &ask).await.unwrap();
    ask.principal = uid("Role", "anything");
    ask.resource = uid("Role", "else");
    let slice = facts.slice(&clinic(), &slice_plan(plan(&[], &[]), plan(&[], &[])), &ask).await.unwrap();
    assert!(slice.present(&ask.principal).is_some(), "every id of a type without rows exists");
    assert_eq!(slice.freshness.revision, "none");
    let told = told.lock().unwrap();
    assert_eq!(told.iter().map(|(source, _)| *source).collect::<Vec<_>>(), [Source::App, Source::Store]);
    assert!(told.iter().all(|(_, spent)| *spent > Duration::ZERO));
}

async fn ids_that_no_row_can_have_are_absent(world: World) {
    let mut mapping = clinic();
    let notes = mapping.entities.get_mut("Note").unwrap();
    let postgres = "SELECT u.id, n.tenant_id, n.client_id, n.author_id, n.part2, n.sensitivity, n.created_at FROM notes n, (VALUES ('6f2a1c1e-0000-4000-8000-000000000001'::uuid)) u(id) WHERE n.id = 'N1' AND u.id = $1::uuid";
    let sqlite = "SELECT '6f2a1c1e-0000-4000-8000-000000000001' AS id, tenant_id, client_id, author_id, part2, sensitivity, created_at FROM notes WHERE id = 'N1' AND $1 = '6f2a1c1e-0000-4000-8000-000000000001'";
    notes.query = Some(chaperone::domain::mapping::Query { sqlite: sqlite.into(), postgres: postgres.into() });
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[]));
    let facts = world.facts();
    for (id, is_present) in [
        ("6f2a1c1e-0000-4000-8000-000000000001", true),
        ("6F2A1C1E-0000-4000-8000-000000000001", false),
        ("no uuid at all", false),
        ("zero\0byte", false),
        ("", false),
        ("'; DROP TABLE notes; --", false),
    ] {
        let note = uid("Note", id);
        let slice = facts.slice(&mapping, &plan, &asking(&user("ana"), &note)).await.unwrap();
        assert_eq!(slice.present(&note).is_some(), is_present, "{id:?}");
    }
}

/// A wall clock whose elapsed time is read between the loads of a slice: the place to change the database from.
#[derive(Debug)]
struct Between {
    reads: Mutex<u32>,
    change_at: u32,
    path: std::path::PathBuf,
}

impl Clock for Between {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn elapsed(&self) -> Duration {
        let mut reads = self.reads.lock().unwrap();
        *reads += 1;
        if *reads == self.change_at {
            let path = self.path.clone();
            let change = async move {
                use sqlx::{ConnectOptions, Connection};
                let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
                let both = "BEGIN; UPDATE tenants SET plan = 'starter'; UPDATE notes SET author_id = 'ben'; COMMIT";
                sqlx::raw_sql(both).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            };
            let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            std::thread::spawn(move || runtime().block_on(change)).join().unwrap();
        }
        SystemClock.elapsed()
    }
}

/// Whatever instant the change falls on, and whatever is kept: note and tenant are both from before it, or both from after.
#[tokio::test]
async fn all_facts_of_a_sqlite_source_are_of_one_instant() {
    let plan = slice_plan(plan(&[], &[]), plan(&[], &[("tenant", plan(&[], &[]))]));
    let (note, t1) = (uid("Note", "N1"), uid("Tenant", "T1"));
    let ask = asking(&user("ana"), &note);
    let mut befores = 0;
    for change_at in 1..30 {
        for is_warm in [false, true] {
            let world = World::sqlite().await;
            let World::Sqlite(sqlite) = &world else { unreachable!() };
            let clock = Arc::new(Between { reads: Mutex::new(100), change_at, path: sqlite.path("app") });
            let facts = Facts::connect(world.options(), clock.clone()).unwrap();
            if is_warm {
                facts.slice(&clinic(), &plan, &ask).await.unwrap();
            }
            *clock.reads.lock().unwrap() = 0;
            let slice = facts.slice(&clinic(), &plan, &ask).await.unwrap();
            let is_changed = |uid: &EntityUid, word: &str| slice.present(uid).unwrap().row.cells.contains(&text(word));
            assert_eq!(is_changed(&note, "ben"), is_changed(&t1, "starter"), "change at reading {change_at}");
            befores += u32::from(!is_changed(&t1, "starter"));
            *clock.reads.lock().unwrap() = 100;
            if is_changed(&t1, "starter") {
                let slice = facts.slice(&clinic(), &plan, &ask).await.unwrap();
                assert_eq!(slice.present(&t1).unwrap().row.cells[1], text("starter"), "what is committed stays seen");
            }
        }
    }
    assert!((1..58).contains(&befores), "the change fell before, within and after: {befores}");
}
