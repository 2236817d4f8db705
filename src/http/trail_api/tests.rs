//! What leaves the trail over the listener, and what is said where it is not the whole.

use http_body_util::BodyExt;

use super::*;
use crate::{
    audit::{TrailConfig, query::FolderRecords},
    clock::FrozenClock,
    domain::Record,
};

fn refused(route: Route, text: &str) -> (Option<String>, String) {
    let error = understand(route, text).unwrap_err();
    (error.path, error.detail.into_owned())
}

#[test]
fn a_query_string_is_understood_whole_or_refused_by_name() {
    let asked = understand(Route::Decisions, "client=C%2F1&resource=Note%2FN1&limit=7&cursor=abc").unwrap();
    assert_eq!((asked.query.client.as_deref(), asked.limit, asked.cursor.as_deref()), (Some("C/1"), 7, Some("abc")));
    assert_eq!(asked.query.kind, Some(RecordKind::Decision), "the path's own");
    assert_eq!(understand(Route::Decisions, "kind=all").unwrap().query.kind, None);
    assert_eq!(understand(Route::Decisions, "kind=admin").unwrap().query.kind, Some(RecordKind::Admin));
    let export = understand(Route::Export, "format=csv&tenant=T1").unwrap();
    assert_eq!((export.format, export.query.kind), (Some(Format::Csv), None));
    for (route, text, path) in [
        (Route::Decisions, "clinet=C1", "/clinet"),
        (Route::Decisions, "client=C1&client=C2", "/client"),
        (Route::Decisions, "client=", "/client"),
        (Route::Decisions, "limit=0", "/limit"),
        (Route::Decisions, "limit=1001", "/limit"),
        (Route::Decisions, "format=csv", "/format"),
        (Route::Export, "limit=3", "/limit"),
        (Route::Export, "format=xml", "/format"),
        (Route::Export, "from=yesterday", "/from"),
    ] {
        assert_eq!(refused(route, text).0.as_deref(), Some(path), "{text}");
    }
    assert!(understand(Route::Export, &"x".repeat(QUERY_BYTES_MAX + 1)).is_err());
}

/// A sidecar whose oldest segment was shipped and taken away, with nothing else to read.
async fn swept(dir: &std::path::Path) -> (Arc<TrailApi>, Arc<Trail>) {
    let clock = || Arc::new(FrozenClock::at("2026-03-10T15:00:00Z".parse().unwrap()));
    let config = || TrailConfig { segment_bytes: 16 * 1024, accept_ephemeral: true, ..TrailConfig::at(dir.to_owned()) };
    let trail = Trail::open(config(), clock()).unwrap();
    for _ in 0..60 {
        let mut record = Record::new(RecordKind::Decision, clock().now());
        (record.tenant, record.user_agent) = (Some("T1".into()), Some("x".repeat(600)));
        drop(trail.append((), record, Tier::Process).await.unwrap());
    }
    trail.close().await.unwrap();
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "trail")).collect();
    segments.sort();
    assert!(segments.len() > 2, "{segments:?}");
    std::fs::remove_file(&segments[0]).unwrap();
    let trail = Arc::new(Trail::open(config(), clock()).unwrap());
    let source = Arc::new(FolderRecords::lasting(dir, clock(), PAGE_WAIT));
    let tasks = TaskTracker::new();
    (Arc::new(TrailApi::new(source, Arc::clone(&trail), clock(), tasks, CursorKey::new([7; 32]))), trail)
}

fn ends_of_exports(dir: &std::path::Path) -> Vec<(serde_json::Value, serde_json::Value)> {
    let records = crate::audit::records(dir, crate::audit::Filter::default()).unwrap().map(Result::unwrap);
    let lines = records.map(|stored| serde_json::from_slice::<serde_json::Value>(&stored.line).unwrap());
    let ended = lines.filter(|line| line["detail"]["event"] == "ended");
    ended.map(|line| (line["detail"]["whole"].clone(), line["detail"]["records"].clone())).collect()
}

#[tokio::test]
async fn what_left_the_folder_is_named_and_the_rest_does_not_pass_for_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (api, trail) = swept(dir.path()).await;
    let by = || By { person: "pri".to_owned(), tenant: "T1".to_owned(), request_id: "r".to_owned(), trace_id: None };
    let permit = || Arc::clone(&api.readings).try_acquire_owned().unwrap();
    let page = |text: &str| {
        let asked = understand(Route::Decisions, text).unwrap();
        let answer = Arc::clone(&api).page(asked, by(), permit());
        async {
            let body = answer.await.unwrap().into_body().collect().await.unwrap().to_bytes();
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()
        }
    };
    let some = page("limit=1").await;
    assert_eq!(some["records"].as_array().unwrap().len(), 1);
    let (upto, whole_from) = (some["missing_upto"].as_str().unwrap(), some["whole_from"].as_str().unwrap());
    assert_eq!((upto.contains('/'), whole_from), (true, "2026-03-10T16:00:00Z"));
    let later = format!("from={whole_from}");
    assert_eq!(page(&later).await.get("missing_upto"), None, "none of them is as young");

    let export = |text: &str| Arc::clone(&api).export(understand(Route::Export, text).unwrap(), by(), permit());
    let refused = export("").await.unwrap_err();
    assert_eq!((refused.code, refused.path.as_deref()), (Code::Conflict, Some("/from")));
    assert!(refused.detail.contains(upto) && refused.detail.contains(whole_from), "{}", refused.detail);
    assert_eq!(ends_of_exports(dir.path()), [(false.into(), 0.into())]);
    drop(export(&later).await.unwrap().into_body().collect().await.unwrap());
    trail.close().await.unwrap();
    assert_eq!(ends_of_exports(dir.path()), [(false.into(), 0.into()), (true.into(), 0.into())]);
}

/// Of a store that is pruned after its only record was read.
#[derive(Debug)]
struct Pruned;

struct PrunedRun(Vec<query::Found>);

impl RecordSource for Pruned {
    fn begin(&self, _query: Query, _after: Option<Cursor>) -> query::Reading<'_, Box<dyn RecordRun>> {
        let record = Record::new(RecordKind::Decision, "2018-03-10T15:00:00Z".parse().unwrap());
        let line = serde_json::to_vec(&record).unwrap();
        let found = query::Found { at: record.at, writer: "w".into(), seq: 1, line };
        Box::pin(async move { Ok(Box::new(PrunedRun(vec![found])) as Box<dyn RecordRun>) })
    }
}

impl RecordRun for PrunedRun {
    fn next(&mut self, _most: usize) -> query::Reading<'_, Vec<query::Found>> {
        Box::pin(async { Ok(std::mem::take(&mut self.0)) })
    }

    fn until(&self) -> Option<query::Until> {
        None
    }

    fn lost(&self) -> Option<String> {
        None
    }

    fn missing(&mut self) -> query::Reading<'_, Option<Missing>> {
        let whole_from = "2019-01-01T00:00:00Z".parse().unwrap();
        let missing = self.0.is_empty().then(|| Missing { upto: "w/9".to_owned(), whole_from });
        Box::pin(async move { Ok(missing) })
    }
}

#[tokio::test]
async fn an_export_of_a_store_that_is_pruned_meanwhile_breaks_off_and_the_trail_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let clock = || Arc::new(FrozenClock::at("2026-03-10T15:00:00Z".parse().unwrap()));
    let config = TrailConfig { accept_ephemeral: true, ..TrailConfig::at(dir.path()) };
    let trail = Arc::new(Trail::open(config, clock()).unwrap());
    let key = CursorKey::new([7; 32]);
    let api = Arc::new(TrailApi::new(Arc::new(Pruned), Arc::clone(&trail), clock(), TaskTracker::new(), key));
    let by = By { person: "pri".to_owned(), tenant: "T1".to_owned(), request_id: "r".to_owned(), trace_id: None };
    let permit = Arc::clone(&api.readings).try_acquire_owned().unwrap();
    let answer = api.export(understand(Route::Export, "").unwrap(), by, permit).await.unwrap();
    assert!(answer.into_body().collect().await.is_err(), "its reader must not take it for the whole");
    trail.close().await.unwrap();
    assert_eq!(ends_of_exports(dir.path()), [(false.into(), 1.into())]);
}

#[test]
fn a_reader_of_one_tenant_reads_that_one() {
    let reader = Reader { id: "sid".to_owned(), tenant: "T1".to_owned() };
    let mut query = Query::default();
    narrow(&mut query, &reader).unwrap();
    assert_eq!(query.tenant.as_deref(), Some("T1"));
    narrow(&mut query, &reader).unwrap();
    query.tenant = Some("T2".to_owned());
    assert_eq!(narrow(&mut query, &reader).unwrap_err().code, Code::Forbidden);
}
