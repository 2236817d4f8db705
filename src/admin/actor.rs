//! Who changes something, and the proof that they may.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{Admin, error::AdminError};
use crate::domain::{
    Api, EntityRef, Reason, Record, RecordKind, Request, Timestamp,
    evaluation::Evaluation,
    record::{PrincipalRecord, ResourceRecord, SessionRecord, code_word},
    request::Caller,
};

/// Who speaks: the application, the person it speaks for, and the session it vouches for.
#[derive(Clone, Debug)]
pub struct Actor {
    pub caller: Arc<Caller>,
    /// The person; `None`: the application acts by itself, as at a logout.
    pub principal: Option<EntityRef>,
    /// `session` of the request's context.
    pub session: Map<String, Json>,
    pub request_id: String,
    /// The W3C trace id (32 hex digits), when the caller sent one.
    pub trace_id: Option<String>,
    pub decision_id: String,
    pub api: Api,
}

impl Actor {
    /// The same for one more question of the same call: each decision has an id of its own.
    pub(super) fn item(&self, position: usize) -> Self {
        Self { decision_id: format!("{}.{position}", self.decision_id), ..self.clone() }
    }
}

/// What is asked of the policies before anything is changed.
#[derive(Clone, Debug)]
pub struct Plea {
    pub action: String,
    pub resource: EntityRef,
    /// `None` for an action that touches one thing.
    pub fields: Option<Vec<String>>,
    pub properties: Map<String, Json>,
}

impl Plea {
    pub fn on(action: &str, kind: &str, id: &str) -> Self {
        Self {
            action: action.to_owned(),
            resource: EntityRef { kind: kind.to_owned(), id: id.to_owned() },
            fields: None,
            properties: Map::new(),
        }
    }

    /// The same about one field group.
    #[must_use]
    pub fn field(mut self, group: &str) -> Self {
        self.fields = Some(vec![group.to_owned()]);
        self
    }

    /// The same with something said of the action: policies read it as `context.action.…`.
    #[must_use]
    pub fn saying(mut self, key: &str, value: &str) -> Self {
        self.properties.insert(key.to_owned(), Json::from(value));
        self
    }
}

/// That the policies allowed a plea, or that none is needed. Only this room makes one, and every change takes one.
#[derive(Clone, Debug)]
pub struct Permitted {
    actor: Actor,
    action: String,
    resource: Option<EntityRef>,
    evaluation: Option<Evaluation>,
}

impl Admin {
    /// Has the policies decide `plea` for the person of `actor`; the decision is recorded like any other.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] with the decision's reason; [`AdminError::Undecided`] when there is no decision.
    pub async fn ask(&self, actor: &Actor, plea: Plea) -> Result<Permitted, AdminError> {
        let request = request(actor, &plea).ok_or(AdminError::refused(Reason::UNKNOWN_PRINCIPAL))?;
        permitted(actor, plea, self.rooms.authorizer.authorize(request).await?.into_parts().0)
    }

    /// The same where a [`change`](Admin::change) comes next: whoever hears of it, its record is on disk, and so is then the
    /// one of this decision.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub async fn ask_to_change(&self, actor: &Actor, plea: Plea) -> Result<Permitted, AdminError> {
        let request = request(actor, &plea).ok_or(AdminError::refused(Reason::UNKNOWN_PRINCIPAL))?;
        permitted(actor, plea, self.rooms.authorizer.authorize_change(request).await?.into_parts().0)
    }

    /// Which of `pleas` about one record the policies find true of the facts, bars aside. Told to the record of a change, and
    /// to nobody else.
    pub(super) async fn finds(&self, actor: &Actor, pleas: &[Plea]) -> Vec<bool> {
        let requests: Option<Vec<Request>> = pleas.iter().map(|plea| request(actor, plea)).collect();
        match requests {
            Some(requests) => self.rooms.authorizer.finds(&requests).await,
            None => vec![false; pleas.len()],
        }
    }

    /// The permit for what only closes: no policy is asked, since nobody may be kept from giving access back.
    pub(super) fn closing(actor: &Actor, action: &str, client: &str) -> Permitted {
        let resource = EntityRef { kind: "Client".to_owned(), id: client.to_owned() };
        Permitted { actor: actor.clone(), action: action.to_owned(), resource: Some(resource), evaluation: None }
    }
}

fn permitted(actor: &Actor, plea: Plea, evaluation: Evaluation) -> Result<Permitted, AdminError> {
    if !evaluation.decision.is_allow() {
        let reason = evaluation.reason.clone().unwrap_or(Reason::UNKNOWN_ACTION);
        let said = evaluation.policies.iter().find_map(|policy| policy.text.as_deref());
        let unsaid = match reason.as_str() {
            "unknown_principal" => "the facts do not know this person",
            "unknown_resource" => "the facts do not know such a thing",
            _ => "no policy permits it to this person",
        };
        // By its kind alone: whom a thing is about is nothing that a refusal may tell.
        let text = format!(
            "`{}` on `{}` was asked for and is refused: {}",
            plea.action,
            plea.resource.kind,
            said.unwrap_or(unsaid)
        );
        return Err(AdminError::Refused { reason, text: Some(text) });
    }
    let (actor, action) = (actor.clone(), plea.action);
    Ok(Permitted { actor, action, resource: Some(plea.resource), evaluation: Some(evaluation) })
}

pub(super) fn request(actor: &Actor, plea: &Plea) -> Option<Request> {
    let mut context = Map::new();
    context.insert("session".to_owned(), Json::Object(actor.session.clone()));
    Some(Request {
        subject: actor.principal.clone()?,
        subject_properties: Map::new(),
        action: plea.action.clone(),
        fields: plea.fields.clone(),
        mode: None,
        action_properties: plea.properties.clone(),
        resource: plea.resource.clone(),
        resource_properties: Map::new(),
        context,
        caller: Arc::clone(&actor.caller),
        request_id: actor.request_id.clone(),
        trace_id: actor.trace_id.clone(),
        decision_id: actor.decision_id.clone(),
        api: actor.api,
    })
}

impl Permitted {
    /// The person, by id; the application's name where it acts by itself.
    pub fn by(&self) -> Arc<str> {
        match &self.actor.principal {
            Some(principal) => principal.id.as_str().into(),
            None => self.actor.caller.display_name().into(),
        }
    }

    /// The tenant that the person acts in.
    pub fn tenant(&self) -> Option<Arc<str>> {
        self.evaluation.as_ref().and_then(|evaluation| evaluation.subject.tenant.clone())
    }

    /// A record of this person's doing, with what was decided about it.
    pub(super) fn record(&self, kind: RecordKind, at: Timestamp) -> Record {
        let actor = &self.actor;
        let mut record = Record::new(kind, at);
        record.decision_id = Some(actor.decision_id.clone());
        record.request_id = Some(actor.request_id.clone());
        record.trace_id.clone_from(&actor.trace_id);
        record.caller = Some(actor.caller.display_name().to_owned());
        record.action = Some(code_word(&self.action));
        record.resource = self
            .resource
            .as_ref()
            .map(|resource| ResourceRecord { kind: code_word(&resource.kind), id: resource.id.clone() });
        record.session = (!actor.session.is_empty()).then(|| SessionRecord::of(&actor.session));
        let roles = self.evaluation.as_ref().map(|evaluation| evaluation.subject.roles.clone()).unwrap_or_default();
        record.principal = actor.principal.as_ref().map(|principal| PrincipalRecord {
            kind: code_word(&principal.kind),
            id: principal.id.clone(),
            roles,
        });
        if let Some(evaluation) = &self.evaluation {
            record.tenant.clone_from(&evaluation.subject.tenant);
            record.client.clone_from(&evaluation.subject.client);
            record.resource_tenant.clone_from(&evaluation.subject.resource_tenant);
            record.crud = evaluation.subject.crud;
            record.policies = evaluation.policies.iter().map(|policy| policy.id.clone()).collect();
        }
        record
    }
}
