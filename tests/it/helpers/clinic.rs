//! The shipped bundle over the demo world: questions by plain words, slices through real facts.

use std::{path::PathBuf, sync::Arc};

use chaperone::{
    domain::{Api, EntityRef, Evaluation, Mode, Request, Slice, Timestamp, request::Caller},
    engine::{Bundle, load::BundlePaths, question::Question},
    entities::{Asking, Facts, FactsError, Gathered, Trust},
};
use serde_json::{Map, Value as Json, json};
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{sqlite::Sqlite, world::World};

pub(crate) const NOW: &str = "2026-03-10T15:00:00Z";

/// One user of the demo world with the tenants it may act in.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) tenants: Vec<String>,
    pub(crate) is_vendor: bool,
}

/// One record of the demo world; `tenants` are several for people only.
#[derive(Clone, Debug)]
pub(crate) struct Thing {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) tenants: Vec<String>,
}

pub(crate) struct Clinic {
    pub(crate) bundle: Bundle,
    pub(crate) facts: Facts,
    world: World,
}

pub(crate) fn paths() -> BundlePaths {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    BundlePaths { policies: root.join("policies"), schemas: root.join("schemas"), cache: None }
}

pub(crate) fn shipped() -> Bundle {
    Bundle::load(&paths()).unwrap_or_else(|problems| panic!("{problems}")).0
}

pub(crate) fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

/// A session that nothing is wrong with.
pub(crate) fn fresh(tenant: &str) -> Json {
    json!({ "mfa": true, "idle_seconds": 1, "age_seconds": 1, "device_managed": true, "tenant": tenant })
}

pub(crate) fn request(user: &str, action: &str, kind: &str, id: &str) -> Request {
    Request {
        subject: EntityRef { kind: "User".into(), id: user.into() },
        subject_properties: Map::new(),
        action: action.into(),
        fields: None,
        mode: None,
        action_properties: Map::new(),
        resource: EntityRef { kind: kind.into(), id: id.into() },
        resource_properties: Map::new(),
        context: Map::new(),
        caller: Arc::new(Caller::default()),
        request_id: "r".into(),
        trace_id: None,
        decision_id: "d".into(),
        api: Api::Evaluation,
    }
}

/// Lets a request be written as a sentence.
pub(crate) trait Said: Sized {
    fn fields(self, fields: &[&str]) -> Self;
    fn mode(self, mode: Mode) -> Self;
    fn context(self, key: &str, value: Json) -> Self;
}

impl Said for Request {
    fn fields(mut self, fields: &[&str]) -> Self {
        self.fields = Some(fields.iter().map(|field| (*field).to_owned()).collect());
        self
    }

    fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    fn context(mut self, key: &str, value: Json) -> Self {
        self.context.insert(key.into(), value);
        self
    }
}

impl Clinic {
    pub(crate) async fn demo() -> Self {
        Self::with(shipped()).await
    }

    pub(crate) async fn with(bundle: Bundle) -> Self {
        let world = World::sqlite().await;
        let facts = world.facts();
        Self { bundle, facts, world }
    }

    pub(crate) fn question(&self, request: &Request) -> Question {
        self.bundle.question(request).unwrap()
    }

    /// What `question` is decided by, from facts of somebody's own.
    pub(crate) async fn gathered(
        &self,
        facts: &Facts,
        question: &Question,
        now: Timestamp,
        trust: Trust,
    ) -> Result<Gathered, FactsError> {
        let asking = Asking {
            principal: question.principal.clone(),
            resource: question.resource.clone(),
            now,
            said_tenant: question.said_tenant.as_deref().map(str::to_owned),
            asserted: question.asserted.clone(),
        };
        facts.gathered(&self.bundle.mapping, &self.bundle.plan(question), &asking, trust).await
    }

    /// Facts of the same databases that have kept nothing yet.
    pub(crate) fn new_facts(&self) -> Facts {
        self.world.facts()
    }

    pub(crate) fn sqlite(&self) -> &Sqlite {
        let World::Sqlite(sqlite) = &self.world else { panic!("the clinic of these tests is in SQLite") };
        sqlite
    }

    pub(crate) async fn slice(&self, question: &Question, now: Timestamp) -> Slice {
        let mut slice = self.gathered(&self.facts, question, now, Trust::Feed).await.unwrap().slice;
        slice.freshness.age_ms = 0;
        slice
    }

    pub(crate) async fn ask(&self, request: &Request, now: Timestamp) -> Evaluation {
        let question = self.question(request);
        let slice = self.slice(&question, now).await;
        self.bundle.evaluate(&question, &slice, now)
    }

    /// Changes a database as the application would.
    pub(crate) async fn write(&self, name: &str, sql: String) {
        let mut connection = self.sqlite().open(name).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }

    async fn rows(&self, sql: &'static str) -> Vec<SqliteRow> {
        let mut connection = self.sqlite().open("app").await;
        sqlx::query(sql).fetch_all(&mut connection).await.unwrap()
    }

    pub(crate) async fn people(&self) -> Vec<Person> {
        let belongs = self
            .rows("SELECT user_id, tenant_id FROM user_roles UNION SELECT id, tenant_id FROM users WHERE tenant_id IS NOT NULL ORDER BY 1, 2")
            .await;
        let users = self.rows("SELECT id, is_vendor FROM users ORDER BY id").await;
        users
            .iter()
            .map(|row| {
                let id: String = row.get(0);
                let tenants =
                    belongs.iter().filter(|row| row.get::<String, _>(0) == id).map(|row| row.get(1)).collect();
                Person { id, tenants, is_vendor: row.get(1) }
            })
            .collect()
    }

    pub(crate) async fn things(&self) -> Vec<Thing> {
        let mut things = Vec::new();
        for (kind, sql) in [
            ("Tenant", "SELECT id, id FROM tenants ORDER BY id"),
            ("Client", "SELECT id, tenant_id FROM clients ORDER BY id"),
            ("Appointment", "SELECT id, tenant_id FROM appointments ORDER BY id"),
            ("Note", "SELECT id, tenant_id FROM notes ORDER BY id"),
            ("Document", "SELECT id, tenant_id FROM documents ORDER BY id"),
            ("Recording", "SELECT id, tenant_id FROM recordings ORDER BY id"),
            ("Invoice", "SELECT id, tenant_id FROM invoices ORDER BY id"),
            ("Thread", "SELECT id, tenant_id FROM threads ORDER BY id"),
            ("Lead", "SELECT id, tenant_id FROM leads ORDER BY id"),
            ("Channel", "SELECT id, tenant_id FROM channels ORDER BY id"),
        ] {
            let rows = self.rows(sql).await;
            things.extend(rows.iter().map(|row| Thing { kind, id: row.get(0), tenants: vec![row.get(1)] }));
        }
        let people = self.people().await;
        things.extend(people.into_iter().map(|person| Thing { kind: "User", id: person.id, tenants: person.tenants }));
        things
    }
}
