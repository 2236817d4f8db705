//! Facts of one file are of one instant, whoever writes it meanwhile.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
};

use cedar_policy::EntityUid;
use sqlx::{ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio_util::task::TaskTracker;

use crate::{
    clock::SystemClock,
    domain::{
        Cell,
        mapping::{CellKind, Column, EntityMapping, Mapping, Query, Source},
    },
    entities::{Asking, Facts, FactsOptions, Gathered, Trust},
};

const CALLERS: u32 = 4;
/// Each is a chance for a commit to fall between a kept fact and one that is read.
const QUESTIONS: u32 = 1_500;

async fn written(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut writer = options.connect().await.unwrap();
    sqlx::raw_sql("PRAGMA journal_mode = WAL; CREATE TABLE one (version integer); INSERT INTO one VALUES (0)")
        .execute(&mut writer)
        .await
        .unwrap();
    writer
}

/// Any id exists, and all of them hold the one row's version.
fn mapping() -> Mapping {
    let sql: Arc<str> = "SELECT $1 AS id, version FROM one".into();
    let entity = EntityMapping {
        source: Source::App,
        query: Some(Query { sqlite: sql.clone(), postgres: sql }),
        columns: vec![Column { name: "version".into(), kind: CellKind::Int }],
        attributes: BTreeMap::new(),
        parents: Vec::new(),
        relations: BTreeMap::new(),
    };
    Mapping { entities: BTreeMap::from([("Thing".into(), entity)]), ..Mapping::default() }
}

fn thing(id: &str) -> EntityUid {
    format!("Thing::{id:?}").parse().unwrap()
}

async fn asked(facts: &Facts, mapping: &Mapping, resource: &str) -> (Gathered, [Cell; 2]) {
    let asking = Asking {
        principal: thing("kept"),
        resource: thing(resource),
        now: "2026-03-10T15:00:00Z".parse().unwrap(),
        said_tenant: None,
        asserted: BTreeMap::new(),
    };
    let gathered = facts.gathered(mapping, &std::sync::Arc::default(), &asking, Trust::Feed).await.unwrap();
    let version = |uid| gathered.slice.present(uid).unwrap().row.cells[0].clone();
    let versions = [version(&asking.principal), version(&asking.resource)];
    (gathered, versions)
}

/// One of the two is mostly kept, the other one was never asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kept_fact_and_one_that_is_read_are_of_one_instant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let mut writer = written(&path).await;
    let options = FactsOptions { app: Some(format!("sqlite://{}", path.display())), ..FactsOptions::default() };
    let facts = Arc::new(Facts::connect(options, Arc::new(SystemClock)).unwrap());
    let (is_over, mixed, tasks) = (AtomicBool::new(false), Arc::new(AtomicU32::new(0)), TaskTracker::new());
    let call = |caller| {
        let (facts, mixed) = (Arc::clone(&facts), Arc::clone(&mixed));
        tasks.spawn(async move {
            let mapping = mapping();
            for question in 0..QUESTIONS {
                let (gathered, [kept, read]) = asked(&facts, &mapping, &format!("{caller} {question}")).await;
                assert_eq!(kept, read, "of one instant");
                mixed.fetch_add(u32::from(gathered.kept == 1 && gathered.loaded == 1), SeqCst);
            }
        })
    };
    let callers: Vec<_> = (0..CALLERS).map(call).collect();
    let mut commits = 0;
    let write = async {
        while !is_over.load(SeqCst) {
            sqlx::query("UPDATE one SET version = version + 1").execute(&mut writer).await.unwrap();
            commits += 1;
            tokio::time::sleep(std::time::Duration::from_millis(commits % 4)).await;
        }
    };
    let wait = async {
        for caller in callers {
            caller.await.unwrap();
        }
        is_over.store(true, SeqCst);
    };
    tokio::join!(write, wait);
    let mixed = mixed.load(SeqCst);
    assert!(mixed > 100 && commits > 100, "{mixed} questions of both kinds, {commits} commits");
}
