//! Reading the trail over the operators' listener: pages of records, and whole exports. Each reading is a record too.

#[cfg(test)]
mod tests;

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
        let mut run = self.source.begin(asked.query.clone(), None).await?;
        if let Some(missing) = run.missing().await? {
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
        let sent = match send_rows(&mut *run, &pieces, format, &by.tenant, &mut records).await {
            Ok(()) => whole(&mut *run).await,
            Err(why) => Err(why),
        };
        let is_whole = sent.is_ok();
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

/// A part must not pass for the whole: what cannot be read is missing from the rows, and what was pruned while they were read.
async fn whole(run: &mut dyn RecordRun) -> Result<(), String> {
    if let Some(lost) = run.lost() {
        return Err(format!("record {lost} is damaged or missing"));
    }
    match run.missing().await.map_err(|error| error.to_string())? {
        None => Ok(()),
        Some(Missing { upto, .. }) => Err(format!("the records of a writer up to {upto} went while it was made")),
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
