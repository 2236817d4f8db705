//! The shipped bundle over the demo world in SQLite, for benches.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use chaperone::{
    clock::SystemClock,
    domain::{Api, EntityRef, Request, Slice, Timestamp, request::Caller},
    engine::{Bundle, load::BundlePaths, question::Question},
    entities::{Asking, Facts, FactsOptions, Trust},
};
use serde_json::{Map, json};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use tokio::runtime::Runtime;

const APP: [&str; 2] =
    [include_str!("../../schemas/demo/app.schema.sql"), include_str!("../../schemas/demo/app.fixtures.sql")];
const STORE: [&str; 2] =
    [include_str!("../../schemas/demo/store.schema.sql"), include_str!("../../schemas/demo/store.fixtures.sql")];

/// One question in plain words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) user: &'a str,
    pub(crate) action: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    pub(crate) fields: Option<&'a [&'a str]>,
}

pub(crate) struct Clinic {
    pub(crate) bundle: Bundle,
    pub(crate) facts: Facts,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

pub(crate) fn paths() -> BundlePaths {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    BundlePaths { policies: root.join("policies"), schemas: root.join("schemas"), cache: None }
}

pub(crate) fn at() -> Timestamp {
    "2026-03-10T15:00:00Z".parse().unwrap()
}

impl Clinic {
    /// The demo with more rows in its databases, by SQL for each.
    pub(crate) fn with(more: &[String; 2], options: FactsOptions) -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
        for ((name, scripts), more) in [("app.db", APP), ("store.db", STORE)].into_iter().zip(more) {
            let options = SqliteConnectOptions::new().filename(folder.path().join(name)).create_if_missing(true);
            runtime.block_on(async {
                let mut connection = options.connect().await.unwrap();
                for script in scripts {
                    sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
                }
                run(&mut connection, format!("BEGIN; {more} COMMIT;")).await;
                connection.close().await.unwrap();
            });
        }
        let options = FactsOptions { app: Some(url("app.db")), store: Some(url("store.db")), ..options };
        let facts = {
            let _context = runtime.enter();
            Facts::connect(options, Arc::new(SystemClock)).unwrap()
        };
        let bundle = Bundle::load(&paths()).unwrap_or_else(|problems| panic!("{problems}")).0;
        Self { bundle, facts, runtime, _folder: folder }
    }

    pub(crate) fn request(&self, asked: &Asked<'_>) -> Request {
        let session = json!({ "mfa": true, "idle_seconds": 1, "age_seconds": 1 });
        Request {
            subject: EntityRef { kind: "User".into(), id: asked.user.into() },
            subject_properties: Map::new(),
            action: asked.action.into(),
            fields: asked.fields.map(|fields| fields.iter().map(|field| (*field).to_owned()).collect()),
            mode: None,
            action_properties: Map::new(),
            resource: EntityRef { kind: asked.kind.into(), id: asked.id.into() },
            resource_properties: Map::new(),
            context: Map::from_iter([("session".to_owned(), session)]),
            caller: Arc::new(Caller::default()),
            request_id: "r".into(),
            trace_id: None,
            decision_id: "d".into(),
            api: Api::Evaluation,
        }
    }

    pub(crate) fn question(&self, asked: &Asked<'_>) -> Question {
        self.bundle.question(&self.request(asked)).unwrap()
    }

    /// The facts as the service asks for them: in whole slices that are used again.
    pub(crate) fn slice(&self, question: &Question) -> Slice {
        let asking = Asking {
            principal: question.principal.clone(),
            resource: question.resource.clone(),
            now: at(),
            said_tenant: None,
            asserted: BTreeMap::new(),
        };
        let plan = self.bundle.plan(question);
        let gathered = self.facts.gathered(&self.bundle.mapping, &plan, &asking, Trust::Feed);
        self.runtime.block_on(gathered).unwrap().slice
    }
}

async fn run(connection: &mut sqlx::SqliteConnection, sql: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.unwrap();
}
