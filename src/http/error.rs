//! What a caller is told when there is no answer: RFC 9457 problem documents, one shape for all.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::{body::Body, json::ReadError};
use crate::{
    audit::{AppendError, query::QueryError},
    authorize::{AuthorizeError, OutcomeError},
    domain::Reason,
};

/// What went wrong. The status follows from it and is stored nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Malformed,
    Unauthenticated,
    Forbidden,
    NotFound,
    /// Holds the methods that the path knows.
    MethodNotAllowed(&'static str),
    BodyTimeout,
    /// The state of the thing does not let it go on that way.
    Conflict,
    /// It was changed since the caller read it.
    Changed,
    /// The key of an earlier, different request.
    KeyUsed,
    TooLarge,
    Overloaded,
    DeadlinePassed,
    TrailFull,
    NotReady,
    Failed,
}

impl Code {
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Changed => StatusCode::PRECONDITION_FAILED,
            Self::KeyUsed => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Overloaded | Self::DeadlinePassed | Self::TrailFull | Self::NotReady => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The last part of the problem's `type`: a stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::BodyTimeout => "body_timeout",
            Self::Conflict => "conflict",
            Self::Changed => "changed",
            Self::KeyUsed => "key_used",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
            Self::DeadlinePassed => "deadline_passed",
            Self::TrailFull => "trail_full",
            Self::NotReady => "not_ready",
            Self::Failed => "failed",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request cannot be read",
            Self::Unauthenticated => "The caller is not known",
            Self::Forbidden => "The caller may not do this",
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed(_) => "The method does not fit the path",
            Self::BodyTimeout => "The body did not come in time",
            Self::Conflict => "Its state does not allow this",
            Self::Changed => "It was changed meanwhile",
            Self::KeyUsed => "The key belongs to another request",
            Self::TooLarge => "The request is too large",
            Self::Overloaded => "Too many requests at once",
            Self::DeadlinePassed => "No answer in time",
            Self::TrailFull => "The decision cannot be recorded",
            Self::NotReady => "Not ready to decide",
            Self::Failed => "The request failed",
        }
    }

    /// Whether trying again soon may help.
    const fn is_passing(self) -> bool {
        matches!(self, Self::Overloaded | Self::DeadlinePassed | Self::TrailFull | Self::NotReady)
    }
}

/// An error as it leaves: a code, words for the caller, and the cause, which stays here.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct ApiError {
    pub code: Code,
    pub detail: Cow<'static, str>,
    /// The JSON pointer of the member at fault.
    pub path: Option<String>,
    pub reason: Option<Reason>,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ApiError {
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), path: None, reason: None, source: None }
    }

    /// The same error, laid to the member at `path`.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The same error with the reason code that stands behind it.
    #[must_use]
    pub fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    pub(super) fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The answer's status, headers and body. `instance` is the path asked, `request_id` is echoed elsewhere.
    pub(super) fn into_response(self, instance: &str, request_id: &str) -> Response<Body> {
        let status = self.code.status();
        let problem = Problem {
            kind: format_args!("urn:chaperone:problem:{}", self.code.as_str()).to_string(),
            title: self.code.title(),
            status: status.as_u16(),
            detail: &self.detail,
            instance,
            request_id,
            path: self.path.as_deref(),
            reason: self.reason.as_ref().map(Reason::as_str),
        };
        let mut response = Response::new(Body::from(Bytes::from(serde_json::to_vec(&problem).unwrap_or_default())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"chaperone\""));
        }
        if let Code::MethodNotAllowed(methods) = self.code {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.code.is_passing() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::new(Code::Malformed, error.fault.to_string()).at(error.path)
    }
}

impl From<AuthorizeError> for ApiError {
    fn from(error: AuthorizeError) -> Self {
        match error {
            AuthorizeError::NoBundle => Self::new(Code::NotReady, "no policies are loaded yet").caused_by(error),
            AuthorizeError::Unrecorded(source) => source.into(),
            AuthorizeError::Unread(_) => Self::new(Code::NotReady, "the facts cannot be read now")
                .because(Reason::DATA_UNAVAILABLE)
                .caused_by(error),
        }
    }
}

impl From<OutcomeError> for ApiError {
    fn from(error: OutcomeError) -> Self {
        match error {
            OutcomeError::Unknown => {
                Self::new(Code::NotFound, "no decision of this caller has this id").at("/decision_id")
            }
            OutcomeError::Unrecorded(source) => source.into(),
            OutcomeError::Unreadable(source) => Self {
                source: Some(source),
                ..Self::new(Code::Failed, "the trail cannot be read; nothing was recorded")
            },
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Unfinished { .. } => {
                Self::new(Code::NotReady, format!("{error}; ask again, it goes on from there")).caused_by(error)
            }
            QueryError::CursorGone(_) | QueryError::TooMany(_) => Self::new(Code::Malformed, error.to_string()),
            QueryError::Sealed(_) => {
                Self::new(Code::Failed, "records are encrypted with a key that this process does not have")
                    .caused_by(error)
            }
            QueryError::Io { .. } | QueryError::Gone { .. } | QueryError::Source(_) => {
                Self::new(Code::Failed, "the trail cannot be read").caused_by(error)
            }
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => Self::new(
                Code::TrailFull,
                "the trail has no room: the queue, the disk or `audit.quota_bytes`; nothing was decided",
            )
            .caused_by(error),
            AppendError::StoreAway => {
                Self::new(Code::TrailFull, "the store of the trail does not answer, and this record must be in it")
                    .caused_by(error)
            }
            AppendError::Fatal | AppendError::Closed | AppendError::NoRemote | AppendError::Encode(_) => {
                Self::new(Code::Failed, "the trail cannot be written; nothing was decided").caused_by(error)
            }
            AppendError::TooLarge { .. } => {
                Self::new(Code::TooLarge, "the record of this request would be too long").caused_by(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn shown(error: ApiError) -> (Response<()>, String) {
        let (parts, body) = error.into_response("/access/v1/evaluation", "r-1").into_parts();
        let body = futures_util::FutureExt::now_or_never(body.collect()).unwrap().unwrap().to_bytes();
        (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn a_problem_names_the_path_at_fault() {
        let (parts, body) = shown(ApiError::new(Code::Malformed, "must be a string").at("/resource/id"));
        assert_eq!(parts.status(), 400);
        assert_eq!(parts.headers()["content-type"], "application/problem+json");
        assert_eq!(
            body,
            r#"{"type":"urn:chaperone:problem:malformed","title":"The request cannot be read","status":400,"detail":"must be a string","instance":"/access/v1/evaluation","request_id":"r-1","path":"/resource/id"}"#
        );
    }

    #[test]
    fn a_full_trail_and_an_overload_ask_to_come_again() {
        for error in [ApiError::from(AppendError::Full), ApiError::new(Code::Overloaded, "busy")] {
            let (parts, _) = shown(error);
            assert_eq!((parts.status().as_u16(), parts.headers()["retry-after"].to_str().unwrap()), (503, "1"));
        }
        let (parts, _) = shown(ApiError::from(AppendError::Fatal));
        assert_eq!((parts.status().as_u16(), parts.headers().get("retry-after")), (500, None));
    }

    #[test]
    fn causes_stay_inside() {
        let (_, body) = shown(ApiError::from(AuthorizeError::Unrecorded(AppendError::Fatal)));
        assert!(!body.contains("stopped"), "{body}");
    }
}
