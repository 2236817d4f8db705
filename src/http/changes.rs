//! What every call that changes something has in common: the key that makes it repeatable, the state that it rests on, its
//! answer, and what its refusals look like.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Limits,
    error::{ApiError, Code},
    layers,
    serve::Answer,
};
use crate::{
    admin::{AdminError, Done, Once, Version},
    domain::Reason,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// As long as a UUID in quotes, several times over.
const KEY_BYTES_MAX: usize = 255;

/// The call's idempotency key, with what it came with.
pub(super) fn once(headers: &HeaderMap, actor: &str, route: &str, body: &[u8]) -> Result<Option<Once>, ApiError> {
    let mut given = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let (first, second) = (given.next(), given.next());
    let Some(key) = first else { return Ok(None) };
    let refuse = || ApiError::new(Code::Malformed, "`Idempotency-Key` must be one text of 1 to 255 visible characters");
    let key = key.to_str().map_err(|_unprintable| refuse())?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX || second.is_some() {
        return Err(refuse());
    }
    let mut digest = Sha256::new();
    digest.update(route.as_bytes());
    digest.update([0]);
    digest.update(body);
    let digest = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(Once { actor: actor.to_owned(), key: key.to_owned(), digest }))
}

/// The same where a key must be given.
pub(super) fn once_at_least(headers: &HeaderMap, actor: &str, route: &str, body: &[u8]) -> Result<Once, ApiError> {
    let missing = "`Idempotency-Key` is required: any text that this change alone has, as a UUID";
    once(headers, actor, route, body)?.ok_or_else(|| ApiError::new(Code::Malformed, missing))
}

/// The state that the caller read, where it says which. `*` is any.
pub(super) fn expected(headers: &HeaderMap) -> Result<Option<Version>, ApiError> {
    let Some(given) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = given.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(version) if !version.contains('"') => Ok(Some(Version::given(version))),
        Some(_) | None => {
            Err(ApiError::new(Code::Malformed, "`If-Match` must be one `ETag` that an answer gave, or `*`"))
        }
    }
}

/// A body that may be left out: then it is an empty object.
pub(super) async fn body_or_nothing(
    headers: &HeaderMap,
    body: &mut Incoming,
    limits: &Limits,
) -> Result<Bytes, ApiError> {
    if body.is_end_stream() && !headers.contains_key(header::CONTENT_TYPE) {
        return Ok(Bytes::from_static(b"{}"));
    }
    layers::read_body(headers, body, limits.body_bytes_max, limits).await
}

/// An answer with its state as `ETag`.
pub(super) fn answer(status: StatusCode, view: &impl Serialize, version: &str) -> Result<Answer, ApiError> {
    let mut answer = layers::answer(status, "application/json", layers::to_json(view)?);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    Ok(answer)
}

/// The answer of a change, marked where it is that of an earlier call.
pub(super) fn changed<A: Serialize>(status: StatusCode, done: &Done<A>, version: &str) -> Result<Answer, ApiError> {
    let mut answer = answer(status, &done.answer, version)?;
    if done.is_repeated {
        let name = HeaderName::from_static("idempotency-replayed");
        answer.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        let away = |detail: &'static str, error| {
            Self::new(Code::NotReady, detail).because(Reason::DATA_UNAVAILABLE).caused_by(error)
        };
        match error {
            AdminError::Refused { reason, text } => refused(reason, text),
            AdminError::Malformed { path, ref expected } => {
                let detail = format!("{} {expected}", path.trim_start_matches('/').replace('/', "."));
                Self::new(Code::Malformed, detail).at(path)
            }
            AdminError::Unknown(what) => Self::new(Code::NotFound, format!("there is no such {what}")),
            AdminError::Illegal(illegal) => Self::new(Code::Conflict, illegal.to_string()),
            AdminError::NotNow(why) => Self::new(Code::Conflict, why.to_string()),
            AdminError::Twin { what, id } => Self::new(
                Code::Conflict,
                format!("the {what} `{id}` says the same already: end that one first, if this is to stand instead"),
            ),
            AdminError::Elsewhere { what, owner } => {
                Self::new(Code::Conflict, format!("{what} are not kept here: {owner}"))
            }
            AdminError::Unreviewable(step) => Self::new(Code::Conflict, step.to_string()),
            AdminError::Changed => Self::new(
                Code::Changed,
                "a change of the state that `If-Match` names was asked for, and it was changed since. Read it again, look \
                 whether your change still fits, and send it with the new `ETag`",
            ),
            AdminError::KeyUsed => Self::new(Code::KeyUsed, "give each change an `Idempotency-Key` of its own"),
            AdminError::NoRules(what) => {
                Self::new(Code::Conflict, format!("the policies say nothing about {what} (`{what}` of reasons.yaml)"))
            }
            AdminError::NoStore => {
                Self::new(Code::NotReady, "no store is configured (`sources.store`): nothing can be granted")
                    .because(Reason::DATA_UNAVAILABLE)
            }
            AdminError::Store(_) => away("the store did not take it: nothing was changed", error),
            AdminError::Unsettled(_) => {
                away("the store went away meanwhile: look whether the change was made before asking again", error)
            }
            AdminError::Undecided(source) => source.into(),
            AdminError::Unrecorded(source) => source.into(),
            AdminError::Trail(source) => {
                Self { source: Some(source), ..Self::new(Code::Failed, "the trail cannot be read") }
            }
        }
    }
}

/// Facts that cannot be read are nobody's fault and pass; everything else is a no.
fn refused(reason: Reason, text: Option<String>) -> ApiError {
    let is_passing = [Reason::DATA_UNAVAILABLE, Reason::DATA_STALE].contains(&reason);
    let (code, text) = if is_passing {
        (Code::NotReady, "the facts cannot be read now: nothing was changed".to_owned())
    } else {
        let why = text.unwrap_or_else(|| "the change that was asked for is refused".to_owned());
        (Code::Forbidden, format!("{why}. {}", next_after(reason.as_str())))
    };
    ApiError::new(code, text).because(reason)
}

/// What to do about a refusal.
fn next_after(reason: &str) -> &'static str {
    match reason {
        "mfa_required" | "device" => "Sign in again as it asks for, and send that session",
        _ if reason.starts_with("session_") => {
            "Send a session that is as it asks: what it does not say counts against it"
        }
        "tenant_missing" => "Say in the session which organization it is in: `tenant`",
        "tenant_mismatch" => "Name what is of the organization that the session is in",
        "unknown_principal" => "Look at the id of the person that was sent",
        "unknown_resource" => "Look at the id of the thing that was sent",
        "grant_ineligible" => "Ask under a reason code that fits, or let somebody ask who may",
        "self_grant" | "ticket_self" | "dual_control" => "Let another person do it, whom it does not concern",
        "reason_required" | "grant_scope" => "Mend the request and send it again",
        _ => "Let somebody do it who may; reasons.md says what `reason` means",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_key_stands_for_its_route_and_body() {
        let digest = |route: &str, body: &str| {
            once(&headers(IDEMPOTENCY_KEY, &["k"]), "ana", route, body.as_bytes()).unwrap().unwrap().digest
        };
        assert_eq!(digest("/a", "{}"), digest("/a", "{}"));
        assert_ne!(digest("/a", "{}"), digest("/b", "{}"));
        assert_ne!(digest("/a", "{}"), digest("/a", "{ }"));
        assert_ne!(digest("/ab", "c"), digest("/a", "bc"));
        assert!(once(&HeaderMap::new(), "ana", "/a", b"").unwrap().is_none());
        assert!(once_at_least(&HeaderMap::new(), "ana", "/a", b"").is_err());
        for wrong in [&[""][..], &["a", "b"], &["x".repeat(256).as_str()]] {
            assert!(once(&headers(IDEMPOTENCY_KEY, wrong), "ana", "/a", b"").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_state_is_named_in_quotes() {
        let read = |text: &str| expected(&headers(header::IF_MATCH, &[text]));
        assert_eq!(read("\"abc\"").unwrap(), Some(Version::given("abc")));
        assert_eq!(read("*").unwrap(), None);
        assert_eq!(expected(&HeaderMap::new()).unwrap(), None);
        for wrong in ["abc", "W/\"abc\"", "\"a\", \"b\"", "\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_asked_again_and_what_is_denied_is_not() {
        let status = |reason: &'static str| {
            let error = ApiError::from(AdminError::Refused { reason: Reason::new(reason), text: None });
            (error.code.status().as_u16(), error.reason.unwrap().as_str().to_owned())
        };
        assert_eq!(status("grant_scope"), (403, "grant_scope".to_owned()));
        assert_eq!(status("data_unavailable"), (503, "data_unavailable".to_owned()));
        let detail = |reason: &'static str, text: Option<&str>| {
            let text = text.map(str::to_owned);
            ApiError::from(AdminError::Refused { reason: Reason::new(reason), text }).detail.into_owned()
        };
        let asked = "`admin:assign` on `User` was asked for and is refused: nobody assigns to themselves";
        assert_eq!(
            detail("self_grant", Some(asked)),
            format!("{asked}. Let another person do it, whom it does not concern")
        );
        assert!(
            detail("session_idle", None)
                .ends_with(". Send a session that is as it asks: what it does not say counts against it")
        );
        assert!(detail("role", None).contains("Let somebody do it who may; reasons.md says"));
        let changed = ApiError::from(AdminError::Changed).detail;
        assert!(
            changed.contains("it was changed since. Read it again") && changed.ends_with("the new `ETag`"),
            "{changed}"
        );
        let missing = ApiError::from(AdminError::NoStore);
        assert_eq!((missing.code.status().as_u16(), missing.reason), (503, Some(Reason::DATA_UNAVAILABLE)));
    }
}
