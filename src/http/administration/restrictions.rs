//! `/admin/v1/restrictions`: those of a client, a new request, one of them, and `agree`, `decline`, `terminate`.

use std::sync::Arc;

use http::StatusCode;

use super::{Errand, GROUPS_MAX, no_such_verb, word_of, words};
use crate::{
    admin::{
        Admin,
        rights::{AskRestriction, RestrictionStep},
    },
    domain::{
        EntityRef,
        restriction::{ENDINGS, KINDS, TARGETS},
    },
    http::{
        Limits, changes,
        error::ApiError,
        layers::{json_answer, to_json},
        members::{Members, misfit},
        serve::Answer,
    },
};

pub(super) async fn answer(admin: &Admin, errand: &Errand, limits: &Limits) -> Result<Answer, ApiError> {
    match (&errand.path.id, errand.path.verb) {
        (None, _) if errand.is_change() => request(admin, errand, limits).await,
        (None, _) => {
            let page = errand.page_of_client()?;
            to_json(&admin.restrictions(&errand.actor, errand.tenant()?, &page).await?).map(json_answer)
        }
        (Some(id), None) => {
            errand.query()?.end()?;
            let view = admin.restriction_seen(&errand.actor, id).await?;
            changes::answer(StatusCode::OK, &view, &view.version)
        }
        (Some(id), Some(verb)) => step(admin, errand, limits, (id, verb)).await,
    }
}

async fn request(admin: &Admin, errand: &Errand, limits: &Limits) -> Result<Answer, ApiError> {
    let mut members = Members::new(errand.body(limits)?, limits.id_bytes_max);
    let asked = AskRestriction {
        client: members.some_word("client")?.into(),
        kind: members.word("kind")?.map_or_else(|| Ok(Arc::from("agreed")), |kind| word_of("kind", &kind, &KINDS))?,
        target: (
            word_of("target_type", &members.some_word("target_type")?, &TARGETS)?,
            members.word("target_id")?.map(Arc::from),
        ),
        record: record(&mut members)?.map(|record| (record.kind.into(), record.id.into())),
        fields: words(&mut members, "fields", GROUPS_MAX)?,
        emergency_exception: members.flag("emergency_exception")?.unwrap_or(true),
        from: members.instant("from")?,
        to: members.instant("to")?,
    };
    members.end()?;
    if asked.to.is_some_and(|to| asked.from.is_some_and(|from| to <= from)) {
        return Err(misfit("to", "must be later than `from`"));
    }
    let done = admin.ask_for_restriction(&errand.actor, &asked, &errand.once()?).await?;
    changes::changed(StatusCode::CREATED, &done, &done.answer.version)
}

/// `resource_type` and `resource_id`, both or neither.
fn record(members: &mut Members) -> Result<Option<EntityRef>, ApiError> {
    match (members.word("resource_type")?, members.word("resource_id")?) {
        (None, None) => Ok(None),
        (Some(kind), Some(id)) => Ok(Some(EntityRef { kind, id })),
        (Some(_), None) => Err(misfit("resource_id", "is required with `resource_type`")),
        (None, Some(_)) => Err(misfit("resource_type", "is required with `resource_id`")),
    }
}

async fn step(admin: &Admin, errand: &Errand, limits: &Limits, (id, verb): (&str, &str)) -> Result<Answer, ApiError> {
    let mut members = Members::new(errand.body(limits)?, limits.id_bytes_max);
    let step = match verb {
        "agree" => RestrictionStep::Agree,
        "decline" => RestrictionStep::Decline,
        "terminate" => RestrictionStep::Terminate(word_of("how", &members.some_word("how")?, &ENDINGS)?),
        _ => return Err(no_such_verb()),
    };
    members.end()?;
    let (once, expected) = (errand.once()?, errand.expected()?);
    let done = admin.step_restriction(&errand.actor, (id, &step), expected.as_ref(), &once).await?;
    changes::changed(StatusCode::OK, &done, &done.answer.version)
}
