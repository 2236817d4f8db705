//! `/admin/v1/reviews`: the queue, one of them, and take, ask, answered, decide.

use http::StatusCode;

use super::{Errand, no_such_verb};
use crate::{
    admin::{Admin, reviews::ReviewStep},
    domain::review::Disposition,
    http::{
        Limits, changes,
        error::ApiError,
        layers::{json_answer, to_json},
        members::{Members, misfit},
        serve::Answer,
    },
};

pub(super) async fn answer(admin: &Admin, errand: &Errand, limits: &Limits) -> Result<Answer, ApiError> {
    let Some(id) = &errand.path.id else { return list(admin, errand).await };
    let Some(verb) = errand.path.verb else {
        errand.query()?.end()?;
        let view = admin.review(&errand.actor, id).await?;
        return changes::answer(StatusCode::OK, &view, &view.version);
    };
    let mut members = Members::new(errand.body(limits)?, limits.id_bytes_max);
    let step = match verb {
        "take" => ReviewStep::Take,
        "ask" => ReviewStep::AskForInfo,
        "answered" => ReviewStep::InfoGiven,
        "decide" => ReviewStep::Close(disposition(&members.some_word("disposition")?)?),
        _ => return Err(no_such_verb()),
    };
    members.end()?;
    let (once, expected) = (errand.once()?, errand.expected()?);
    let permit = admin.ask_to_review(&errand.actor, id).await?;
    let done = admin.review_step(&permit, id, step, expected.as_ref(), Some(&once)).await?;
    changes::changed(StatusCode::OK, &done, &done.answer.version)
}

async fn list(admin: &Admin, errand: &Errand) -> Result<Answer, ApiError> {
    let mut query = errand.query()?;
    let page = query.page()?;
    query.end()?;
    to_json(&admin.reviews(&errand.actor, errand.tenant()?, &page).await?).map(json_answer)
}

fn disposition(word: &str) -> Result<Disposition, ApiError> {
    let known = || Disposition::ALL.map(|disposition| format!("`{}`", disposition.as_str())).join(", ");
    Disposition::of_word(word).ok_or_else(|| misfit("disposition", &format!("must be one of {}", known())))
}
