//! `/admin/v1/users/{id}/standing`: the suspensions of a person, and a new standing.

use http::StatusCode;

use super::{Errand, REASON_CHARS_MAX, no_such_verb, word_of};
use crate::{
    admin::{Admin, rights::SetStanding},
    http::{
        Limits, changes,
        error::ApiError,
        layers::{json_answer, to_json},
        members::Members,
        serve::Answer,
    },
};

/// What a person may be made.
pub(in crate::http) const STANDINGS: [&str; 2] = ["suspended", "reinstated"];

pub(super) async fn answer(admin: &Admin, errand: &Errand, limits: &Limits) -> Result<Answer, ApiError> {
    let Some(user) = &errand.path.id else { return Err(no_such_verb()) };
    if !errand.is_change() {
        let mut query = errand.query()?;
        let page = query.page()?;
        query.end()?;
        return to_json(&admin.standing_seen(&errand.actor, (errand.tenant()?, user), page).await?).map(json_answer);
    }
    let mut members = Members::new(errand.body(limits)?, limits.id_bytes_max);
    let standing = word_of("standing", &members.some_word("standing")?, &STANDINGS)?;
    let reason = members.text("reason", REASON_CHARS_MAX)?.map(Into::into);
    let set = match &*standing {
        "suspended" => SetStanding::Suspend { from: members.instant("from")?, to: members.instant("to")?, reason },
        _ => SetStanding::Reinstate { reason },
    };
    members.end()?;
    let (once, expected) = (errand.once()?, errand.expected()?);
    let done = admin.set_standing(&errand.actor, (user, &set), expected.as_ref(), &once).await?;
    changes::changed(StatusCode::OK, &done, &done.answer.version)
}
