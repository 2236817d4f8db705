//! `/admin/v1/tickets`: the list, a new one, one of them, and `scope`, `release`, `resolve`, `reopen`.

use http::StatusCode;

use super::{Errand, GROUPS_MAX, no_such_verb, word_of, words};
use crate::{
    admin::{
        Admin,
        rights::{AskTicket, TicketStep},
    },
    domain::ticket::{InScope, RECORDS_MAX, SOURCES},
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
        (None, _) if errand.is_change() => open(admin, errand, limits).await,
        (None, _) => {
            let mut query = errand.query()?;
            let mut page = query.page()?;
            page.user = query.take("engineer");
            query.end()?;
            to_json(&admin.tickets(&errand.actor, errand.tenant()?, &page).await?).map(json_answer)
        }
        (Some(id), None) => {
            errand.query()?.end()?;
            let view = admin.ticket_seen(&errand.actor, id).await?;
            changes::answer(StatusCode::OK, &view, &view.version)
        }
        (Some(id), Some(verb)) => step(admin, errand, limits, (id, verb)).await,
    }
}

async fn open(admin: &Admin, errand: &Errand, limits: &Limits) -> Result<Answer, ApiError> {
    let mut members = Members::new(errand.body(limits)?, limits.id_bytes_max);
    let scope = members.objects("scope", RECORDS_MAX)?;
    let asked = AskTicket {
        source: word_of("source", &members.some_word("source")?, &SOURCES)?,
        engineer: members.some_word("engineer")?.into(),
        phi_needed: members.flag("phi_needed")?.unwrap_or(false),
        is_phi_approved: members.flag("phi_approved")?.unwrap_or(false),
        expires_at: members.instant("expires_at")?,
        scope: scope
            .into_iter()
            .map(|record| in_scope(Members::new(record, limits.id_bytes_max)))
            .collect::<Result<_, _>>()?,
    };
    members.end()?;
    let done = admin.open_ticket(&errand.actor, errand.tenant()?, &asked, &errand.once()?).await?;
    changes::changed(StatusCode::CREATED, &done, &done.answer.version)
}

fn in_scope(mut members: Members) -> Result<InScope, ApiError> {
    let record = InScope {
        resource_type: members.some_word("resource_type")?.into(),
        resource_id: members.some_word("resource_id")?.into(),
        fields: words(&mut members, "fields", GROUPS_MAX)?,
        released_by: None,
    };
    members.end()?;
    // Support sees named groups: an empty list would be the whole record elsewhere, and nothing here.
    if record.fields.is_empty() { Err(misfit("fields", "is required")) } else { Ok(record) }
}

async fn step(admin: &Admin, errand: &Errand, limits: &Limits, (id, verb): (&str, &str)) -> Result<Answer, ApiError> {
    let mut members = Members::new(errand.body(limits)?, limits.id_bytes_max);
    let step = match verb {
        "scope" => TicketStep::Add(in_scope(members)?),
        "release" => {
            let (kind, of) = (members.some_word("resource_type")?, members.some_word("resource_id")?);
            members.end()?;
            TicketStep::Release(kind.into(), of.into())
        }
        "resolve" | "reopen" => {
            members.end()?;
            if verb == "resolve" { TicketStep::Resolve } else { TicketStep::Reopen }
        }
        _ => return Err(no_such_verb()),
    };
    let (once, expected) = (errand.once()?, errand.expected()?);
    let done = admin.step_ticket(&errand.actor, (id, &step), expected.as_ref(), &once).await?;
    changes::changed(StatusCode::OK, &done, &done.answer.version)
}
