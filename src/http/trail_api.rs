//! Reading the trail over the operators' listener: pages of records, and whole exports. Each reading is a record too.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::{
    body::{Pieces, pieces},
    error::{ApiError, Code},
    layers::{self, Arrival},
    serve::Answer,
};
use crate::{
    audit::{
        Missing, Reading, ReadingKind, Trail,
        export::Format,
        query::{
            self, Cursor, CursorKey, PAGE_DEFAULT, PAGE_MAX, Page, Query, QueryError, QueryWordError, RecordRun,
            RecordSource,
        },
    },
    clock::Clock,
    domain::{RecordKind, Tier},
};

/// The longest wait for a page, its own record included.
const PAGE_WAIT: Duration = Duration::from_secs(20);
/// The longest query string.
const QUERY_BYTES_MAX: usize = 8 * 1024;
/// Readings at one time: they read the disk that records are written to.
const READINGS_MAX: usize = 2;
/// Records that one piece of an export is made of.
const PIECE_RECORDS: usize = 500;

/// Who reads: a person, the trail of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) id: String,
    pub(super) tenant: String,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Decisions,
    Export,
}

/// What a path asks of the trail.
pub(super) fn route(path: &str) -> Option<Route> {
    Route::ALL.into_iter().find(|route| route.path() == path)
}

impl Route {
    pub(super) const ALL: [Self; 2] = [Self::Decisions, Self::Export];

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Decisions => "/admin/v1/decisions",
            Self::Export => "/admin/v1/audit/export",
        }
    }

    /// What the policies are asked.
    pub(super) const fn action(self) -> &'static str {
        match self {
            Self::Decisions => "admin:decisions",
            Self::Export => "admin:audit",
        }
    }
}

/// Answers readings, and records them.
#[derive(Debug)]
pub struct TrailApi {
    source: Arc<dyn RecordSource>,
    trail: Arc<Trail>,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    key: CursorKey,
    readings: Arc<Semaphore>,
}

/// A query string, understood.
#[derive(Debug)]
struct Asked {
    query: Query,
    limit: usize,
    cursor: Option<String>,
    format: Option<Format>,
}

impl TrailApi {
    pub fn new(
        source: Arc<dyn RecordSource>,
        trail: Arc<Trail>,
        clock: Arc<dyn Clock>,
        tasks: TaskTracker,
        key: CursorKey,
    ) -> Self {
        Self { source, trail, clock, tasks, key, readings: Arc::new(Semaphore::new(READINGS_MAX)) }
    }

    pub(super) async fn answer(
        self: Arc<Self>,
        route: Route,
        reader: Reader,
        parts: &Parts,
        arrival: &Arrival,
    ) -> Result<Answer, ApiError> {
        let mut asked = understand(route, parts.uri.query().unwrap_or_default())?;
        narrow(&mut asked.query, &reader)?;
        let busy = || ApiError::new(Code::Overloaded, "the trail is being read by others");
        let permit = Arc::clone(&self.readings).try_acquire_owned().map_err(|_none_left| busy())?;
        let by = By {
            person: reader.id,
            tenant: reader.tenant,
            request_id: arrival.request_id.clone(),
            trace_id: arrival.trace_id.clone(),
        };
        let tasks = self.tasks.clone();
        match route {
            Route::Decisions => layers::within(PAGE_WAIT, &tasks, self.page(asked, by, permit)).await,
            Route::Export => layers::within(PAGE_WAIT, &tasks, self.export(asked, by, permit)).await,
        }
    }

    async fn page(self: Arc<Self>, asked: Asked, by: By, _permit: OwnedSemaphorePermit) -> Result<Answer, ApiError> {
        let Asked { query, limit, cursor, .. } = asked;
        let after = match cursor {
            None => None,
            Some(text) => Some(
                Cursor::decode(&text, &query, Some(&self.key))
                    .map_err(|error| ApiError::new(Code::Malformed, format!("cursor {error}")).at("/cursor"))?,
            ),
        };
        let page = query::page(&*self.source, query.clone(), after, limit).await?;
        let page = Page {
            records: page.records.iter().map(|found| found.shown_to(&by.tenant).into_owned()).collect(),
            ..page
        };
        // The record is there before the page leaves.
        let count = page.records.len();
        let recorded = self.record(page, ReadingKind::Query, &query, &by, Some(count), "json").await?;
        let page = recorded.value();
        let next = page.next.as_ref().map(|next| next.encode(&query, Some(&self.key)));
        Ok(layers::json_answer(page.to_json(next.as_deref())))
    }

    async fn export(self: Arc<Self>, asked: Asked, by: By, permit: OwnedSemaphorePermit) -> Result<Answer, ApiError> {
        let format = asked.format.unwrap_or(Format::Jsonl);
        let run = self.source.begin(asked.query.clone(), None).await?;
        if let Some(missing) = run.missing() {
            return Err(self.refuse_a_part(&missing, &asked.query, &by, format).await?);
        }
        let begun = ReadingKind::ExportBegun;
        let recorded = self.record(run, begun, &asked.query, &by, None, format.as_str()).await?;
        let (run, _) = recorded.into_parts();
        let (pieces, body) = pieces();
        let api = Arc::clone(&self);
        drop(self.tasks.spawn(async move {
            api.send_all(run, pieces, format, &asked.query, &by).await;
            drop(permit);
        }));
        let mut answer = Response::new(body);
        *answer.status_mut() = StatusCode::OK;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        Ok(answer)
    }

    /// What left the folder is known before the first row: nothing leaves, and the trail says that it was not the whole.
    async fn refuse_a_part(
        &self,
        missing: &Missing,
        query: &Query,
        by: &By,
        format: Format,
    ) -> Result<ApiError, ApiError> {
        let Missing { upto, whole_from } = missing;
        let ended = ReadingKind::ExportEnded { is_whole: false };
        drop(self.record((), ended, query, by, Some(0), format.as_str()).await?);
        let what = format!("the records of a writer up to {upto} left the folder, and no store is read beside it");
        let next = format!("export `from={whole_from}` on, or all of it with `chaperone audit export --store URL`");
        Ok(ApiError::new(Code::Conflict, format!("{what}: {next}")).at("/from"))
    }

    /// Sends the rows as they are read; at the end the trail says how many left, and whether these were all.
    async fn send_all(&self, mut run: Box<dyn RecordRun>, pieces: Pieces, format: Format, query: &Query, by: &By) {
        let mut records = 0;
        let sent = send_rows(&mut *run, &pieces, format, &by.tenant, &mut records).await;
        // What cannot be read is missing from the rows: a part must not pass for the whole.
        let is_whole = sent.is_ok() && run.lost().is_none();
        if let Err(why) = &sent {
            tracing::warn!(records, why, "an export broke off");
        }
        let ended = ReadingKind::ExportEnded { is_whole };
        let recorded = self.record((), ended, query, by, Some(records), format.as_str()).await;
        match recorded {
            Ok(_) if is_whole => {}
            Ok(_) => pieces.break_off().await,
            Err(error) => {
                tracing::error!(%error, "the end of an export could not be recorded");
                pieces.break_off().await;
            }
        }
    }

    async fn record<T>(
        &self,
        value: T,
        kind: ReadingKind,
        query: &Query,
        by: &By,
        records: Option<usize>,
        format: &str,
    ) -> Result<crate::audit::Recorded<T>, ApiError> {
        let trace_id = by.trace_id.as_deref();
        let reading =
            Reading { kind, query, person: &by.person, request_id: &by.request_id, trace_id, records, format };
        Ok(self.trail.append(value, reading.record(self.clock.now()), Tier::Disk).await?)
    }
}

/// Who asked, by which request.
#[derive(Debug)]
struct By {
    person: String,
    tenant: String,
    request_id: String,
    trace_id: Option<String>,
}

async fn send_rows(
    run: &mut dyn RecordRun,
    pieces: &Pieces,
    format: Format,
    tenant: &str,
    records: &mut usize,
) -> Result<(), String> {
    let gone = |_broken| "its reader went away or was too slow".to_owned();
    let head = format.head();
    if !head.is_empty() {
        pieces.send(Bytes::from(head)).await.map_err(gone)?;
    }
    loop {
        let found = run.next(PIECE_RECORDS).await.map_err(|error: QueryError| error.to_string())?;
        if found.is_empty() {
            return Ok(());
        }
        let mut piece = Vec::new();
        for found in &found {
            format.row(&found.shown_to(tenant), &mut piece).map_err(|error| error.to_string())?;
        }
        pieces.send(Bytes::from(piece)).await.map_err(gone)?;
        *records += found.len();
    }
}

/// A reader of one tenant asks about that one, whether it says so or not.
fn narrow(query: &mut Query, reader: &Reader) -> Result<(), ApiError> {
    let own = &reader.tenant;
    match &query.tenant {
        Some(asked) if asked != own => {
            let detail = "the trail of another organization than the session's was asked for: leave `tenant` out to read \
                          your own, or let somebody of that one ask";
            Err(ApiError::new(Code::Forbidden, detail).at("/tenant"))
        }
        Some(_) => Ok(()),
        None => {
            query.tenant = Some(own.clone());
            Ok(())
        }
    }
}

/// Reads a query string; nothing in it is passed over.
fn understand(route: Route, text: &str) -> Result<Asked, ApiError> {
    let wrong =
        |name: &str, what: String| ApiError::new(Code::Malformed, format!("{name} {what}")).at(format!("/{name}"));
    if text.len() > QUERY_BYTES_MAX {
        return Err(ApiError::new(Code::Malformed, format!("the query is longer than {QUERY_BYTES_MAX} bytes")));
    }
    let mut asked = Asked { query: Query::default(), limit: PAGE_DEFAULT, cursor: None, format: None };
    let mut seen = HashSet::new();
    let mut all_kinds = false;
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        if !seen.insert(name.to_string()) {
            return Err(wrong(&name, QueryWordError::Twice.to_string()));
        }
        match (&*name, route) {
            ("limit", Route::Decisions) => {
                let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                asked.limit = limit.ok_or_else(|| wrong("limit", format!("must be from 1 to {PAGE_MAX}")))?;
            }
            ("cursor", Route::Decisions) => asked.cursor = Some(value.into_owned()),
            ("format", Route::Export) => {
                asked.format = Some(value.parse().map_err(|error| wrong("format", format!("{error}")))?);
            }
            ("kind", _) if value == "all" => all_kinds = true,
            _ => asked.query.set(&name, &value).map_err(|error| wrong(&name, error.to_string()))?,
        }
    }
    // The path says what it gives.
    if route == Route::Decisions && !all_kinds && asked.query.kind.is_none() {
        asked.query.kind = Some(RecordKind::Decision);
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            (asked.query.client.as_deref(), asked.limit, asked.cursor.as_deref()),
            (Some("C/1"), 7, Some("abc"))
        );
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
        let config =
            || TrailConfig { segment_bytes: 16 * 1024, accept_ephemeral: true, ..TrailConfig::at(dir.to_owned()) };
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
        let by =
            || By { person: "pri".to_owned(), tenant: "T1".to_owned(), request_id: "r".to_owned(), trace_id: None };
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
}
