//! `/admin/v1/grants`: the list, one of them, and approve, reject, revoke.

use http::StatusCode;

use super::{Errand, no_such_verb};
use crate::{
    admin::{
        Admin,
        grants::{Approve, Reject, Revoke, Step},
    },
    http::{
        Limits, changes,
        error::ApiError,
        layers::{json_answer, to_json},
        members::Members,
        serve::Answer,
    },
};

pub(super) async fn answer(admin: &Admin, errand: &Errand, limits: &Limits) -> Result<Answer, ApiError> {
    match (&errand.path.id, errand.path.verb) {
        (None, _) => list(admin, errand).await,
        (Some(id), None) => {
            errand.query()?.end()?;
            let view = admin.grant_seen(&errand.actor, id).await?;
            changes::answer(StatusCode::OK, &view, &view.version)
        }
        (Some(id), Some("approve")) => step(admin, errand, limits, ("admin:approve", id), &Approve).await,
        (Some(id), Some("reject")) => step(admin, errand, limits, ("admin:approve", id), &Reject).await,
        (Some(id), Some("revoke")) => step(admin, errand, limits, ("admin:revoke", id), &Revoke).await,
        (Some(_), Some(_)) => Err(no_such_verb()),
    }
}

async fn list(admin: &Admin, errand: &Errand) -> Result<Answer, ApiError> {
    let mut query = errand.query()?;
    let mut page = query.page()?;
    (page.user, page.client) = (query.take("user"), query.take("client"));
    query.end()?;
    to_json(&admin.grants(&errand.actor, errand.tenant()?, &page).await?).map(json_answer)
}

async fn step<S: Step>(
    admin: &Admin,
    errand: &Errand,
    limits: &Limits,
    (action, id): (&str, &str),
    step: &S,
) -> Result<Answer, ApiError> {
    Members::new(errand.body(limits)?, limits.id_bytes_max).end()?;
    let (once, expected) = (errand.once()?, errand.expected()?);
    let permitted = admin.ask_about_grant(&errand.actor, action, id).await?;
    let done = admin.step(&permitted, id, step, expected.as_ref(), Some(&once)).await?;
    changes::changed(StatusCode::OK, &done, &done.answer.version)
}
