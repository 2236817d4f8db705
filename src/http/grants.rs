//! `/grants/v1`: emergency access, asked for by the application while its user waits.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value as Json};

use super::{
    authzen::Asking,
    callers_api::Room,
    changes,
    error::{ApiError, Code},
    json, layers,
    members::{Members, misfit},
    paths,
    serve::Answer,
};
use crate::{
    admin::{
        Actor,
        grants::{AskGrant, End, Extend, GrantView, Occurred},
    },
    domain::{
        Api, EntityRef,
        grant::{JUSTIFICATION_CHARS_MAX, Recipient},
    },
};

/// More groups than there are in any pack.
pub(super) const FIELDS_MAX: usize = 100;
/// Characters of a name that a person writes.
pub(super) const NAME_CHARS_MAX: usize = 200;

/// What a path under `/grants/v1` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GrantCall {
    Emergency,
    AfterTheFact,
    Show(String),
    End(String),
    Extend(String),
}

/// Every path, fixed ones before ids.
pub(super) const ROUTES: [&str; 5] = [
    "/grants/v1/emergency",
    "/grants/v1/after-the-fact",
    "/grants/v1/{id}",
    "/grants/v1/{id}/end",
    "/grants/v1/{id}/extend",
];

impl GrantCall {
    pub(super) fn of(path: &str) -> Option<Self> {
        let (route, id) = ROUTES.into_iter().find_map(|route| Some((route, paths::fits(route, path)?)))?;
        let id = id.to_owned();
        Some(match route {
            "/grants/v1/emergency" => Self::Emergency,
            "/grants/v1/after-the-fact" => Self::AfterTheFact,
            "/grants/v1/{id}/end" => Self::End(id),
            "/grants/v1/{id}/extend" => Self::Extend(id),
            _ => Self::Show(id),
        })
    }

    pub(super) const fn route(&self) -> &'static str {
        match self {
            Self::Emergency => "/grants/v1/emergency",
            Self::AfterTheFact => "/grants/v1/after-the-fact",
            Self::Show(_) => "/grants/v1/{id}",
            Self::End(_) => "/grants/v1/{id}/end",
            Self::Extend(_) => "/grants/v1/{id}/extend",
        }
    }

    pub(super) const fn method(&self) -> (Method, &'static str) {
        match self {
            Self::Show(_) => (Method::GET, "GET"),
            Self::Emergency | Self::AfterTheFact | Self::End(_) | Self::Extend(_) => (Method::POST, "POST"),
        }
    }
}

/// Does what was called for. `path` names the call for its idempotency key.
pub(super) async fn answer(
    room: Arc<Room>,
    call: GrantCall,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    asking: Asking,
) -> Result<Answer, ApiError> {
    let actor = Actor {
        caller: Arc::clone(&asking.caller),
        principal: None,
        session: Map::new(),
        request_id: asking.request_id,
        trace_id: asking.trace_id,
        decision_id: asking.decision_id,
        api: Api::Grants,
    };
    let admin = &room.admin;
    if let GrantCall::Show(id) = &call {
        let view = admin.grant(id).await?;
        return shown(StatusCode::OK, &view);
    }
    let mut members = Members::new(json::read_object(&body, &room.limits.json)?, room.limits.id_bytes_max);
    let expected = changes::expected(&headers)?;
    let caller = format!("caller {}", actor.caller.display_name());
    let once = changes::once(&headers, &caller, &path, &body)?;
    let done = match call {
        GrantCall::Show(id) => return shown(StatusCode::OK, &admin.grant(&id).await?),
        GrantCall::Emergency | GrantCall::AfterTheFact => {
            let (actor, asked) = ask(actor, members, call == GrantCall::AfterTheFact, room.clock.now())?;
            let done = admin.ask_for_grant(&actor, &asked, once.as_ref()).await?;
            return changes::changed(StatusCode::CREATED, &done, &done.answer.version);
        }
        // Whatever else it says: nobody is kept from giving access back.
        GrantCall::End(id) => {
            let permitted = admin.ask_to_end(&actor, &id).await?;
            admin.step(&permitted, &id, &End, expected.as_ref(), once.as_ref()).await?
        }
        GrantCall::Extend(id) => {
            let step = Extend {
                justification: members.text("justification", JUSTIFICATION_CHARS_MAX)?.unwrap_or_default().into(),
                duration_seconds: members.seconds("duration_seconds")?,
            };
            members.end()?;
            let permitted = admin.ask_to_extend(&actor, &id).await?;
            admin.step(&permitted, &id, &step, expected.as_ref(), once.as_ref()).await?
        }
    };
    changes::changed(StatusCode::OK, &done, &done.answer.version)
}

fn shown(status: StatusCode, view: &GrantView) -> Result<Answer, ApiError> {
    changes::answer(status, view, &view.version)
}

/// Reads a request for a grant.
fn ask(
    actor: Actor,
    mut members: Members,
    is_after_the_fact: bool,
    now: crate::domain::Timestamp,
) -> Result<(Actor, AskGrant), ApiError> {
    let Some(subject) = members.object("subject")? else { return Err(misfit("subject", "is required")) };
    let word = |key: &str| match subject.get(key) {
        Some(Json::String(word)) if word.len() <= 256 => Ok(word.clone()),
        Some(_) => Err(misfit(&format!("subject/{key}"), "must be a short string")),
        None => Err(misfit(&format!("subject/{key}"), "is required")),
    };
    let principal = EntityRef { kind: word("type")?, id: word("id")? };
    let occurred = if is_after_the_fact {
        let (from, to) = (members.some_instant("started_at")?, members.some_instant("ended_at")?);
        if from >= to {
            return Err(misfit("ended_at", "must be later than `started_at`"));
        }
        if to > now {
            return Err(misfit("ended_at", "must not be in the future: ask for a grant instead"));
        }
        Some(Occurred { from, to })
    } else {
        None
    };
    let recipient = match members.object("recipient")? {
        None => None,
        Some(given) => Some(recipient(Members::new(given, 256)).map_err(inside("recipient"))?),
    };
    let session = members.object("session")?.unwrap_or_default();
    let asked = AskGrant {
        user: principal.id.as_str().into(),
        client: members.some_word("client")?.into(),
        reason_code: members.some_word("reason_code")?.into(),
        // None at all is too short: the rules say so, with their reason code.
        justification: members.text("justification", JUSTIFICATION_CHARS_MAX)?.unwrap_or_default().into(),
        fields: members.words("fields", FIELDS_MAX)?,
        duration_seconds: if is_after_the_fact { None } else { members.seconds("duration_seconds")? },
        recipient,
        occurred,
    };
    members.end()?;
    Ok((Actor { principal: Some(principal), session, ..actor }, asked))
}

fn recipient(mut members: Members) -> Result<Recipient, ApiError> {
    let (name, affiliation) = (members.text("name", NAME_CHARS_MAX)?, members.text("affiliation", NAME_CHARS_MAX)?);
    members.end()?;
    // Whether a part of it may be missing is for the reason to say.
    Ok(Recipient { name: name.unwrap_or_default(), affiliation: affiliation.unwrap_or_default() })
}

/// A refusal inside of a member, with its whole place.
fn inside(name: &'static str) -> impl Fn(ApiError) -> ApiError {
    move |error| {
        let detail = format!("{name}.{}", error.detail);
        let path = format!("/{name}{}", error.path.unwrap_or_default());
        ApiError::new(Code::Malformed, detail).at(path)
    }
}

/// The body of a call: none is read where none is due.
pub(super) async fn body_of(
    call: &GrantCall,
    headers: &HeaderMap,
    body: &mut hyper::body::Incoming,
    limits: &super::Limits,
) -> Result<Bytes, ApiError> {
    match call {
        GrantCall::Show(_) => Ok(Bytes::new()),
        GrantCall::End(_) => changes::body_or_nothing(headers, body, limits).await,
        GrantCall::Emergency | GrantCall::AfterTheFact | GrantCall::Extend(_) => {
            layers::read_body(headers, body, limits.body_bytes_max, limits).await
        }
    }
}
