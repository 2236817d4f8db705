//! `/admin/v1/consents`: those of a client, a signed one, one of them, and `revoke`.

use http::StatusCode;

use super::{Errand, GROUPS_MAX, no_such_verb, word_of, words};
use crate::{
    admin::{Admin, rights::AskConsent},
    domain::consent::KINDS,
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
        (None, _) if errand.is_change() => enter(admin, errand, limits).await,
        (None, _) => {
            let page = errand.page_of_client()?;
            to_json(&admin.consents(&errand.actor, errand.tenant()?, &page).await?).map(json_answer)
        }
        (Some(id), None) => {
            errand.query()?.end()?;
            let view = admin.consent_seen(&errand.actor, id).await?;
            changes::answer(StatusCode::OK, &view, &view.version)
        }
        (Some(id), Some("revoke")) => {
            Members::new(errand.body(limits)?, limits.id_bytes_max).end()?;
            let (once, expected) = (errand.once()?, errand.expected()?);
            let done = admin.revoke_consent(&errand.actor, id, expected.as_ref(), &once).await?;
            changes::changed(StatusCode::OK, &done, &done.answer.version)
        }
        (Some(_), Some(_)) => Err(no_such_verb()),
    }
}

async fn enter(admin: &Admin, errand: &Errand, limits: &Limits) -> Result<Answer, ApiError> {
    let mut members = Members::new(errand.body(limits)?, limits.id_bytes_max);
    let asked = AskConsent {
        client: members.some_word("client")?.into(),
        kind: word_of("kind", &members.some_word("kind")?, &KINDS)?,
        discloser: members.some_word("discloser")?.into(),
        recipient: members.some_word("recipient")?.into(),
        purposes: words(&mut members, "purposes", GROUPS_MAX)?,
        fields: words(&mut members, "fields", GROUPS_MAX)?,
        signed_by: members.some_word("signed_by")?.into(),
        signed_at: members.instant("signed_at")?,
        expires_at: members.instant("expires_at")?,
    };
    members.end()?;
    // An empty list would consent to nothing: whoever leaves one away forgot it.
    for (name, list) in [("purposes", &asked.purposes), ("fields", &asked.fields)] {
        if list.is_empty() {
            return Err(misfit(name, "is required"));
        }
    }
    let done = admin.enter_consent(&errand.actor, &asked, &errand.once()?).await?;
    changes::changed(StatusCode::CREATED, &done, &done.answer.version)
}
