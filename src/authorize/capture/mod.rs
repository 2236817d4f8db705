//! What a decision was made of, as it is kept: a slice, and what was asked beyond what the record says itself.
//!
//! Ids and labels, never texts: a decision whose slice or question holds anything else is not captured at all, since a part
//! of it would give another decision. Free texts of the record are taken from there when it is decided again.

mod form;

use std::{collections::BTreeMap, sync::Arc};

use super::record::text_of;
use crate::{
    audit::Captures,
    domain::{
        Entities, Freshness, Record, Request, Skew, Slice, Timestamp, Value,
        record::code_word,
        request::{Caller, CallerName, EntityRef},
    },
    engine::{
        Bundle,
        question::{Asked, Question},
    },
};
use form::{KeptQuestion, KeptSlice, KeptValue, is_label};

pub(super) use form::UnkeepableError;

/// The facts that a question was judged by, and when.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    pub(super) entities: Entities,
    pub(super) skew: Skew,
    pub(super) at: Timestamp,
}

/// Keeps what the decision of `record` was made of, and names it there.
pub(super) fn capture(
    captures: &Captures,
    request: &Request,
    question: &Question,
    basis: &Basis,
    record: &mut Record,
) -> Result<(), UnkeepableError> {
    let slice = captures.keep(KeptSlice::of(&basis.entities)?.to_line()?).ok_or(UnkeepableError::NoRoom)?;
    let asked = asked(request, question, basis, record)?;
    let question = captures.keep(asked.to_line()?).ok_or(UnkeepableError::NoRoom)?;
    (record.slice_sha256, record.question_sha256) = (Some(slice), Some(question));
    Ok(())
}

fn asked(
    request: &Request,
    question: &Question,
    basis: &Basis,
    record: &Record,
) -> Result<KeptQuestion, UnkeepableError> {
    let said = |entity: &EntityRef| code_word(request.caller.types.get(&entity.kind).unwrap_or(&entity.kind));
    let mut context = BTreeMap::new();
    for (key, value) in &question.context {
        let kept = match value {
            Value::Bool(value) => KeptValue::Bool(*value),
            Value::Long(value) => KeptValue::Long(*value),
            Value::Text(text) if text_of(record, key) == Some(&**text) => KeptValue::of_the_record(),
            Value::Text(text) if is_label(text) => KeptValue::Text(text.to_string()),
            Value::Text(_) | Value::Entity(_) | Value::Set(_) | Value::Record(_) => {
                return Err(UnkeepableError::Text { place: format!("context.{key}") });
            }
        };
        context.insert(key.to_string(), kept);
    }
    let mut asserted = [BTreeMap::new(), BTreeMap::new()];
    for (side, uid) in asserted.iter_mut().zip([&question.principal, &question.resource]) {
        for (name, value) in question.asserted.get(uid).into_iter().flatten() {
            let kept = match value {
                Value::Bool(value) => KeptValue::Bool(*value),
                Value::Long(value) => KeptValue::Long(*value),
                Value::Text(text) if is_label(text) => KeptValue::Text(text.to_string()),
                _ => return Err(UnkeepableError::Text { place: name.to_string() }),
            };
            side.insert(name.to_string(), kept);
        }
    }
    // Which of the two a property was said of cannot be told any more.
    if question.principal == question.resource && !question.asserted.is_empty() {
        return Err(UnkeepableError::Text { place: "properties of a principal that is the resource".to_owned() });
    }
    let [subject, resource] = asserted;
    let is_unknown = matches!(question.asked, Asked::Unknown(_));
    Ok(KeptQuestion {
        v: form::VERSION,
        at: basis.at,
        behind: basis.skew.behind,
        ahead: basis.skew.ahead,
        subject_type: question.principal.type_name().to_string(),
        // Where the type is no known one, that is why it was denied.
        resource_type: if is_unknown { said(&request.resource) } else { question.resource.type_name().to_string() },
        mode: request.mode,
        context,
        subject,
        resource,
    })
}

/// What was captured of one decision, read back.
#[derive(Debug)]
pub(super) struct Captured {
    question: KeptQuestion,
    slice: KeptSlice,
}

impl Captured {
    pub(super) fn read(question: &[u8], slice: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self { question: serde_json::from_slice(question)?, slice: serde_json::from_slice(slice)? })
    }

    pub(super) const fn at(&self) -> Timestamp {
        self.question.at
    }

    /// The request, as far as policies could see it; the rest is the record's.
    pub(super) fn request(&self, record: &Record) -> Request {
        let kept = &self.question;
        let named =
            |kind: &str, id: Option<&String>| EntityRef { kind: kind.to_owned(), id: id.cloned().unwrap_or_default() };
        let mut request = Request {
            subject: named(&kept.subject_type, record.principal.as_ref().map(|principal| &principal.id)),
            subject_properties: form::json_of(&kept.subject),
            action: record.action.clone().unwrap_or_default(),
            fields: record.fields.as_ref().map(|fields| fields.requested.clone()),
            mode: kept.mode,
            action_properties: serde_json::Map::new(),
            resource: named(&kept.resource_type, record.resource.as_ref().map(|resource| &resource.id)),
            resource_properties: form::json_of(&kept.resource),
            context: serde_json::Map::new(),
            caller: Arc::new(Caller {
                name: record.caller.as_deref().map(|name| CallerName(name.into())),
                types: BTreeMap::new(),
                may_assert: record.asserted.iter().cloned().collect(),
            }),
            request_id: record.request_id.clone().unwrap_or_default(),
            trace_id: record.trace_id.clone(),
            decision_id: record.decision_id.clone().unwrap_or_default(),
            api: crate::domain::Api::Cli,
        };
        for (key, value) in &kept.context {
            let Some(value) = value.to_json().or_else(|| text_of(record, key).map(Into::into)) else { continue };
            match key.split_once('.') {
                Some(("action", name)) => drop(request.action_properties.insert(name.to_owned(), value)),
                Some((outer, name)) => {
                    let inner = request.context.entry(outer).or_insert_with(|| serde_json::Map::new().into());
                    if let Some(inner) = inner.as_object_mut() {
                        inner.insert(name.to_owned(), value);
                    }
                }
                None => drop(request.context.insert(key.clone(), value)),
            }
        }
        request
    }

    /// The slice that `question` was judged by.
    pub(super) fn slice(&self, question: &Question, record: &Record) -> Result<Slice, UnkeepableError> {
        Ok(Slice {
            principal: question.principal.clone(),
            resource: question.resource.clone(),
            entities: self.slice.entities()?,
            asserted: question.asserted.clone(),
            freshness: Freshness {
                revision: record.revisions.as_ref().map(|revisions| revisions.facts.clone()).unwrap_or_default(),
                age_ms: record.facts_age_ms.unwrap_or_default(),
            },
            skew: Skew { behind: self.question.behind, ahead: self.question.ahead },
        })
    }

    /// The evaluation, made again.
    pub(super) fn decide(
        &self,
        bundle: &Bundle,
        record: &Record,
    ) -> Result<Option<crate::domain::Evaluation>, UnkeepableError> {
        let Ok(question) = bundle.question(&self.request(record)) else { return Ok(None) };
        let slice = self.slice(&question, record)?;
        Ok(Some(bundle.evaluate(&question, &slice, self.at())))
    }
}
