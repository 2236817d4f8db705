//! What the trail keeps of a decision: an allow-list, so that nothing slips in by being there.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::domain::{
    Evaluation, Outcome, Record, RecordKind, Request,
    evaluation::Fields,
    record::{
        FREE_TEXT_CHARS_MAX, FieldsRecord, PrincipalRecord, RECORD_VERSION, ResourceRecord, RevisionsRecord,
        SessionRecord, code_word,
    },
    request::Caller,
};

/// Ids in a record are as long as the request may make them; other words of the caller are cut here.
const WORD_CHARS_MAX: usize = 256;

pub(super) fn of(request: &Request, evaluation: &Evaluation, at: Timestamp, latency: Duration) -> Record {
    let mut record = Record::new(RecordKind::Decision, at);
    record.decision_id = Some(request.decision_id.clone());
    record.request_id = Some(cut(&request.request_id, WORD_CHARS_MAX));
    record.trace_id.clone_from(&request.trace_id);
    record.caller = Some(request.caller.display_name().to_owned());
    record.principal = Some(PrincipalRecord {
        kind: code_word(&request.subject.kind),
        id: request.subject.id.clone(),
        roles: Vec::new(),
    });
    record.action = Some(code_word(&request.action));
    record.resource = Some(ResourceRecord { kind: code_word(&request.resource.kind), id: request.resource.id.clone() });
    record.access_reason = text(request, "access_reason").map(|reason| cut(reason, FREE_TEXT_CHARS_MAX));
    record.session = session(request);
    record.ip = text(request, "ip").map(|ip| cut(ip, WORD_CHARS_MAX));
    record.user_agent = text(request, "user_agent").map(|agent| cut(agent, WORD_CHARS_MAX));
    record.ignored.clone_from(&evaluation.ignored);
    judged(&mut record, request.fields.clone(), evaluation);
    record.latency_us = u64::try_from(latency.as_micros()).ok();
    record
}

/// What came of judging the facts: these keys a decision that is made again has to give again.
pub(super) fn judged(record: &mut Record, requested: Option<Vec<String>>, evaluation: &Evaluation) {
    if let Some(principal) = &mut record.principal {
        principal.roles.clone_from(&evaluation.subject.roles);
    }
    record.tenant.clone_from(&evaluation.subject.tenant);
    record.crud = evaluation.subject.crud;
    record.client.clone_from(&evaluation.subject.client);
    record.resource_tenant.clone_from(&evaluation.subject.resource_tenant);
    record.fields = fields(requested, evaluation.fields.as_ref());
    record.decision = Some(evaluation.decision);
    record.reason.clone_from(&evaluation.reason);
    record.policies = evaluation.policies.iter().map(|policy| policy.id.clone()).collect();
    record.policies.extend(evaluation.policy_errors.iter().cloned());
    record.evidence.clone_from(&evaluation.evidence);
    record.obligations = evaluation.obligations.iter().map(|obligation| obligation.id.clone()).collect();
    record.grant.clone_from(&evaluation.grant);
    record.would_have_been_allowed = evaluation.would_have_been_allowed;
    record.purpose = evaluation.subject.purpose.as_ref().map(|purpose| Arc::from(cut(purpose, WORD_CHARS_MAX)));
    record.asserted.clone_from(&evaluation.asserted);
    record.revisions = Some(RevisionsRecord {
        policies: evaluation.policies_revision.to_string(),
        facts: evaluation.facts_revision.clone(),
    });
    record.facts_age_ms = Some(evaluation.facts_age_ms);
}

/// The line of `record` as the trail stores it.
pub(super) fn line(seq: u64, record: &Record) -> Option<Vec<u8>> {
    let json = serde_json::to_string(record).ok()?;
    Some(format!("{{\"v\":{RECORD_VERSION},\"seq\":{seq},{}", json.strip_prefix('{')?).into_bytes())
}

/// The text of a record that the question had too, by the key of its context.
pub(super) fn text_of<'a>(record: &'a Record, key: &str) -> Option<&'a str> {
    match key {
        "access_reason" => record.access_reason.as_deref(),
        "ip" => record.ip.as_deref(),
        "user_agent" => record.user_agent.as_deref(),
        "purpose" => record.purpose.as_deref(),
        _ => None,
    }
}

/// Says that the allow with number `seq` did not leave: whoever counts disclosures leaves it out.
pub(super) fn of_withheld(request: &Request, seq: u64, at: Timestamp) -> Record {
    let mut record = Record::new(RecordKind::System, at);
    record.decision_id = Some(request.decision_id.clone());
    record.request_id = Some(cut(&request.request_id, WORD_CHARS_MAX));
    record.trace_id.clone_from(&request.trace_id);
    record.caller = Some(request.caller.display_name().to_owned());
    record.detail.insert("event".into(), "withheld".into());
    record.detail.insert("withheld_seq".into(), seq.into());
    record
}

/// The outcome of a decision: counts and, for a disclosure, the texts that an accounting needs (45 CFR 164.528(b)(2)).
pub(super) fn of_outcome(outcome: &Outcome, caller: &Caller, mut record: Record) -> Record {
    record.decision_id = Some(outcome.decision_id.clone());
    record.caller = Some(caller.display_name().to_owned());
    record.request_id = Some(cut(&outcome.request_id, WORD_CHARS_MAX));
    record.trace_id.clone_from(&outcome.trace_id);
    record.detail.insert("outcome".into(), outcome.kind.as_str().into());
    if let Some(rows) = outcome.rows {
        record.detail.insert("rows".into(), rows.into());
    }
    if let Some(disclosure) = &outcome.disclosure {
        let text = |text: &str| Json::from(cut(text, FREE_TEXT_CHARS_MAX));
        record.detail.insert("recipient".into(), text(&disclosure.recipient));
        record.detail.extend(disclosure.address.as_deref().map(|address| ("address".into(), text(address))));
        record.detail.insert("description".into(), text(&disclosure.description));
        record.detail.insert("basis".into(), Json::from(cut(&disclosure.basis, WORD_CHARS_MAX)));
    }
    record
}

fn fields(requested: Option<Vec<String>>, fields: Option<&Fields>) -> Option<FieldsRecord> {
    let words = |names: Vec<String>| names.iter().map(|name| code_word(name)).collect::<Vec<_>>();
    let requested = words(requested?);
    let mut told = fields.cloned().unwrap_or_default();
    told.deny = told.deny.into_iter().map(|(name, reason)| (code_word(&name), reason)).collect();
    Some(FieldsRecord { requested, allowed: told.allow, masked: told.mask.into_keys().collect(), denied: told.deny })
}

fn session(request: &Request) -> Option<SessionRecord> {
    request.context.get("session")?.as_object().map(SessionRecord::of)
}

fn text<'a>(request: &'a Request, key: &str) -> Option<&'a str> {
    request.context.get(key).and_then(Json::as_str).filter(|text| !text.trim().is_empty())
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}
