//! What stands around every request: its id, its permits, its body's limits, its deadline and its one line in the log.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::{
    Limits,
    body::Body,
    error::{ApiError, Code},
    serve::Answer,
};
use crate::clock::{self, Clock};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const X_DECISION_ID: HeaderName = HeaderName::from_static("x-decision-id");

/// The longest part of a caller's request id that is recorded and logged; the echo is whole.
const REQUEST_ID_CHARS_MAX: usize = 256;

/// What is known of a request before anything is read from it.
pub(super) struct Arrival {
    pub(super) method: Method,
    pub(super) path: String,
    /// As it goes back, byte for byte.
    echo: HeaderValue,
    pub(super) request_id: String,
    pub(super) trace_id: Option<String>,
    at: Duration,
}

/// What the log says of a request beside its arrival: a route and ids, never who or what was asked about.
#[derive(Default)]
pub(super) struct Trace {
    pub(super) route: &'static str,
    pub(super) caller: Option<String>,
    pub(super) decision_id: Option<String>,
}

impl Arrival {
    pub(super) fn new(parts: &http::request::Parts, clock: &dyn Clock) -> Self {
        let (echo, request_id) = match parts.headers.get(&X_REQUEST_ID) {
            Some(given) => {
                let text = String::from_utf8_lossy(given.as_bytes());
                (given.clone(), text.chars().take(REQUEST_ID_CHARS_MAX).collect())
            }
            None => {
                let made = clock::new_id(clock).to_string();
                (HeaderValue::from_str(&made).unwrap_or(HeaderValue::from_static("")), made)
            }
        };
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            echo,
            request_id,
            trace_id: trace_id(&parts.headers),
            at: clock.elapsed(),
        }
    }

    pub(super) fn span(&self) -> tracing::Span {
        tracing::info_span!(
            "request",
            otel.kind = "server",
            http.request.method = %self.method,
            http.route = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
        )
    }

    /// Makes the answer of `result`, and the request's line in the log.
    pub(super) fn finish(self, result: Result<Answer, ApiError>, trace: &Trace, clock: &dyn Clock) -> Answer {
        let mut code = "";
        let mut answer = result.unwrap_or_else(|error| {
            code = error.code.as_str();
            if error.code.status().is_server_error() {
                // The cause is for the operator alone; none of them quotes a request.
                let cause = error.source.as_deref().map(tracing::field::display);
                tracing::warn!(code, cause, detail = %error.detail, "a request got no answer");
            }
            error.into_response(&self.path, &self.request_id)
        });
        let status = answer.status().as_u16();
        let headers = answer.headers_mut();
        headers.insert(X_REQUEST_ID, self.echo);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(id) = trace.decision_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(X_DECISION_ID, id);
        }
        let span = tracing::Span::current();
        span.record("http.route", trace.route).record("http.response.status_code", status);
        let duration_us = u64::try_from(clock.elapsed().saturating_sub(self.at).as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "chaperone::http",
            method = %self.method,
            route = trace.route,
            status,
            code,
            request_id = self.request_id,
            decision_id = trace.decision_id,
            caller = trace.caller,
            duration_us,
            "answered"
        );
        answer
    }
}

/// The trace id of a valid W3C `traceparent`.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_valid = is_hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && trace.bytes().any(|byte| byte != b'0')
        && parent.bytes().any(|byte| byte != b'0');
    is_valid.then(|| trace.to_owned())
}

/// How many requests may be under way: in all, and of each caller.
#[derive(Debug)]
pub(super) struct Gate {
    all: Arc<Semaphore>,
    shares: Vec<Arc<Semaphore>>,
}

/// The right to be answered; held until the request is finished, also without its caller.
pub(super) struct Permit {
    _all: OwnedSemaphorePermit,
    _share: OwnedSemaphorePermit,
}

impl Gate {
    pub(super) fn new(callers: usize, limits: &Limits) -> Self {
        let shares = (0..callers).map(|_| Arc::new(Semaphore::new(limits.caller_share_max))).collect();
        Self { all: Arc::new(Semaphore::new(limits.in_flight_max)), shares }
    }

    /// A permit for the caller at `index`, waited for no longer than `queue_wait`.
    pub(super) async fn enter(&self, index: usize, limits: &Limits) -> Result<Permit, ApiError> {
        let overloaded = || ApiError::new(Code::Overloaded, "too many requests are under way");
        let share = self.shares.get(index).ok_or_else(overloaded)?;
        // One after the other: a caller that waits for its share must not hold a place of all.
        let permits = async {
            let share = Arc::clone(share).acquire_owned().await.ok()?;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Permit { _all: all, _share: share })
        };
        match tokio::time::timeout(limits.queue_wait, permits).await {
            Ok(Some(permit)) => Ok(permit),
            Ok(None) | Err(_) => Err(overloaded()),
        }
    }
}

/// Reads a JSON body of at most `bytes_max` bytes, in time.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: &mut Incoming,
    bytes_max: usize,
    limits: &Limits,
) -> Result<Bytes, ApiError> {
    check_content(headers)?;
    read_bytes(body, bytes_max, limits).await
}

/// The same, whatever it is.
pub(super) async fn read_bytes(body: &mut Incoming, bytes_max: usize, limits: &Limits) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(Code::TooLarge, format!("the body is longer than {bytes_max} bytes"));
    if body.size_hint().lower() > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    match tokio::time::timeout(limits.body, collect(body, bytes_max)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::new(Code::Malformed, format!("the body could not be read: {error}"))),
        Err(_) => Err(ApiError::new(Code::BodyTimeout, "the body did not come in time")),
    }
}

/// How much of a refused body is let in and forgotten, and for how long.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
const DRAIN_WAIT: Duration = Duration::from_millis(500);

/// Lets in the rest of a body that nobody wants. A connection closed while its caller still writes would lose the
/// answer, and with it the reason of the refusal.
pub(super) async fn drain(body: &mut Incoming) {
    if body.is_end_stream() {
        return;
    }
    let drained = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(length);
            if left == 0 {
                return;
            }
        }
    };
    // A caller slower than that loses its answer.
    tokio::time::timeout(DRAIN_WAIT, drained).await.unwrap_or_default();
}

/// The whole body, or `None` if it is too long.
async fn collect(body: &mut Incoming, bytes_max: usize) -> Result<Option<Bytes>, hyper::Error> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > bytes_max {
            return Ok(None);
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(Some(first));
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(Some(whole.freeze()))
}

fn check_content(headers: &HeaderMap) -> Result<(), ApiError> {
    let refuse = |detail: &'static str| Err(ApiError::new(Code::Malformed, detail));
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(given), None) = (types.next().and_then(|given| given.to_str().ok()), types.next()) else {
        return refuse("the content type must be `application/json`");
    };
    let mut parts = given.split(';');
    if !parts.next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return refuse("the content type must be `application/json`");
    }
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        if is_charset && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8") {
            return refuse("the charset must be UTF-8");
        }
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return refuse("encoded bodies are not read");
    }
    Ok(())
}

/// An answer of 200 with `body` as JSON.
pub(super) fn json_answer(body: impl Into<Bytes>) -> Answer {
    answer(StatusCode::OK, "application/json", body)
}

pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Serializes what cannot fail to serialize; if it does, that is an error and never half an answer.
pub(super) fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(value).map_err(|error| {
        let mut failed = ApiError::new(Code::Failed, Cow::Borrowed("the answer could not be written"));
        failed.source = Some(Box::new(error));
        failed
    })
}

/// A future that runs to its end even if nobody waits for it any more.
///
/// It is polled where it stands, without a hop to another thread; dropped unfinished, it moves to `tasks`.
pub(super) struct Detached<F: Future<Output: Send> + Send + 'static> {
    future: Option<Pin<Box<F>>>,
    tasks: TaskTracker,
}

impl<F: Future<Output: Send> + Send + 'static> Detached<F> {
    pub(super) fn new(future: F, tasks: &TaskTracker) -> Self {
        Self { future: Some(Box::pin(future)), tasks: tasks.clone() }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Detached<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out while it runs: one that panicked must not be polled again.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Detached<F> {
    fn drop(&mut self) {
        if let (Some(future), Ok(runtime)) = (self.future.take(), tokio::runtime::Handle::try_current()) {
            drop(self.tasks.spawn_on(future, &runtime));
        }
    }
}

/// Runs `future` to its end, and waits for it no longer than `deadline`.
pub(super) async fn within<F, T>(deadline: Duration, tasks: &TaskTracker, future: F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>> + Send + 'static,
    T: Send + 'static,
{
    match tokio::time::timeout(deadline, Detached::new(future, tasks)).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::new(Code::DeadlinePassed, "the answer was not ready in time")),
    }
}

#[cfg(test)]
mod tests;
