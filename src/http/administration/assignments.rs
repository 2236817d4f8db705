//! `/admin/v1/assignments`: the list, a new one, one of them, and `end`, `window`.

use http::StatusCode;

use super::{Errand, no_such_verb, words};
use crate::{
    admin::{
        Admin,
        rights::{AskAssignment, EndAssignment, MoveWindow, Until},
    },
    domain::assignment::Scope,
    http::{
        Limits, changes,
        error::ApiError,
        layers::{json_answer, to_json},
        members::{Members, misfit},
        serve::Answer,
    },
};

/// Characters of a reason that a person writes.
pub(in crate::http) const REASON_CHARS_MAX: usize = 500;
/// Service codes of one assignment.
pub(in crate::http) const CODES_MAX: usize = 32;

pub(super) async fn answer(admin: &Admin, errand: &Errand, limits: &Limits) -> Result<Answer, ApiError> {
    match (&errand.path.id, errand.path.verb) {
        (None, _) if errand.is_change() => assign(admin, errand, limits).await,
        (None, _) => list(admin, errand).await,
        (Some(id), None) => {
            errand.query()?.end()?;
            let view = admin.assignment_seen(&errand.actor, id).await?;
            changes::answer(StatusCode::OK, &view, &view.version)
        }
        (Some(id), Some("end")) => end(admin, errand, limits, id).await,
        (Some(id), Some("window")) => window(admin, errand, limits, id).await,
        (Some(_), Some(_)) => Err(no_such_verb()),
    }
}

async fn list(admin: &Admin, errand: &Errand) -> Result<Answer, ApiError> {
    let mut query = errand.query()?;
    let mut page = query.page()?;
    (page.user, page.client) = (query.take("user"), query.take("client"));
    query.end()?;
    to_json(&admin.assignments(&errand.actor, errand.tenant()?, &page).await?).map(json_answer)
}

async fn assign(admin: &Admin, errand: &Errand, limits: &Limits) -> Result<Answer, ApiError> {
    let mut members = Members::new(errand.body(limits)?, limits.id_bytes_max);
    let asked = AskAssignment {
        client: members.some_word("client")?.into(),
        user: members.some_word("user")?.into(),
        scope: scope(&mut members)?,
        service_authorization: members.word("service_authorization")?.map(Into::into),
        service_codes: words(&mut members, "service_codes", CODES_MAX)?,
        from: members.instant("from")?,
        until: until(&mut members)?,
        reason: members.text("reason", REASON_CHARS_MAX)?.map(Into::into),
    };
    members.end()?;
    let done = admin.assign(&errand.actor, &asked, &errand.once()?).await?;
    changes::changed(StatusCode::CREATED, &done, &done.answer.version)
}

async fn end(admin: &Admin, errand: &Errand, limits: &Limits, id: &str) -> Result<Answer, ApiError> {
    let mut members = Members::new(errand.body(limits)?, limits.id_bytes_max);
    let end = EndAssignment { reason: members.text("reason", REASON_CHARS_MAX)?.map(Into::into) };
    members.end()?;
    let (once, expected) = (errand.once()?, errand.expected()?);
    let done = admin.end_assignment(&errand.actor, (id, &end), expected.as_ref(), &once).await?;
    changes::changed(StatusCode::OK, &done, &done.answer.version)
}

async fn window(admin: &Admin, errand: &Errand, limits: &Limits, id: &str) -> Result<Answer, ApiError> {
    let mut members = Members::new(errand.body(limits)?, limits.id_bytes_max);
    let moved = MoveWindow { from: members.instant("from")?, until: until(&mut members)? };
    members.end()?;
    if moved.from.is_none() && moved.until == Until::Unsaid {
        return Err(misfit("to", "is required, or `until_date`, `open_ended` or `from`"));
    }
    let (once, expected) = (errand.once()?, errand.expected()?);
    let done = admin.move_assignment(&errand.actor, (id, &moved), expected.as_ref(), &once).await?;
    changes::changed(StatusCode::OK, &done, &done.answer.version)
}

fn scope(members: &mut Members) -> Result<Scope, ApiError> {
    let Some(word) = members.word("scope")? else { return Ok(Scope::default()) };
    Scope::of_word(&word).ok_or_else(|| misfit("scope", &super::one_of(Scope::ALL.map(Scope::as_str))))
}

/// `to`, `until_date` or `open_ended`, at most one of them.
fn until(members: &mut Members) -> Result<Until, ApiError> {
    let (to, date) = (members.instant("to")?, members.date("until_date")?);
    match (to, date, members.flag("open_ended")?.unwrap_or(false)) {
        (None, None, false) => Ok(Until::Unsaid),
        (None, None, true) => Ok(Until::Open),
        (Some(to), None, false) => Ok(Until::At(to)),
        (None, Some(date), false) => Ok(Until::LastDay(date)),
        _ => Err(misfit("to", "`until_date` and `open_ended` exclude each other")),
    }
}
