//! What `authorize` and `explain` print. An offline answer says of itself that nothing recorded it.

use std::fmt::Write as _;

use jiff::Timestamp;
use owo_colors::OwoColorize;
use serde_json::{Value as Json, json};

use super::{
    cases::{expected::remedy_kind, run::Told},
    simulate::Simulated,
};
use crate::{
    domain::{Evaluation, Loaded, Remedy, Slice},
    engine::Bundle,
};

pub(super) const SIMULATED: &str = "simulated, not recorded";

/// How much to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Answer,
    Explanation,
}

/// An offline answer for people.
pub(super) fn pretty(bundle: &Bundle, simulated: &Simulated, now: Timestamp, detail: Detail) -> String {
    let evaluation = &simulated.evaluation;
    let mut text = headline(evaluation);
    line(&mut text, format_args!("{SIMULATED} · as of {now}"));
    fields(&mut text, evaluation);
    for told in Told::of(bundle, &evaluation.policies) {
        let code = told.policy.otherwise.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        let words = told.policy.text.as_deref().unwrap_or_default();
        line(&mut text, format_args!("{:<11} {}{code}  {}  {words}", told.role(), told.policy.id, told.place));
    }
    for obligation in &evaluation.obligations {
        line(&mut text, format_args!("{:<11} {}", "obligation", obligation.id));
    }
    for remedy in &evaluation.remedies {
        let reasons = match remedy {
            Remedy::BreakGlass { reasons } => format!("  {}", reasons.join(" ")),
            Remedy::StepUp { .. } | Remedy::StateReason | Remedy::RequestAssignment => String::new(),
        };
        line(&mut text, format_args!("{:<11} {}{reasons}", "remedy", remedy_kind(remedy)));
    }
    if let Some(error) = &simulated.unread {
        line(&mut text, format_args!("{:<11} {error}", "facts"));
    }
    if detail == Detail::Explanation {
        explain(&mut text, simulated);
    }
    text.trim_end().to_owned()
}

fn headline(evaluation: &Evaluation) -> String {
    match &evaluation.reason {
        Some(reason) if !evaluation.decision.is_allow() => format!("{} {reason}\n", "deny".red().bold()),
        Some(_) | None => format!("{}\n", evaluation.decision.as_str().green().bold()),
    }
}

fn fields(text: &mut String, evaluation: &Evaluation) {
    let Some(fields) = &evaluation.fields else { return };
    if !fields.allow.is_empty() {
        line(text, format_args!("{:<11} {}", "fields", fields.allow.join(" ")));
    }
    for (name, how) in &fields.mask {
        line(text, format_args!("{:<11} {name} as {how}", "masked"));
    }
    for (name, reason) in &fields.deny {
        line(text, format_args!("{:<11} {name}  {reason}", "denied"));
    }
}

/// Evidence, and which entities were looked at: ids, never values.
fn explain(text: &mut String, simulated: &Simulated) {
    let evaluation = &simulated.evaluation;
    for evidence in &evaluation.evidence {
        let until = evidence.until.map(|until| format!(" until {until}")).unwrap_or_default();
        line(text, format_args!("{:<11} {} {}{until}", "evidence", evidence.kind, evidence.id));
    }
    if let Some(grant) = &evaluation.grant {
        line(text, format_args!("{:<11} {grant}", "grant"));
    }
    if let Some(until) = evaluation.not_after {
        line(text, format_args!("{:<11} {until}", "not after"));
    }
    for name in &evaluation.ignored {
        line(text, format_args!("{:<11} {name}", "ignored"));
    }
    for policy in &evaluation.policy_errors {
        line(text, format_args!("{:<11} {policy}", "failed"));
    }
    if let Some((_, slice)) = &simulated.facts {
        for (entity, relations) in entities(slice) {
            line(text, format_args!("{:<11} {entity}{relations}", "looked at"));
        }
        line(
            text,
            format_args!("{:<11} {} facts {}", "revision", evaluation.policies_revision, slice.freshness.revision),
        );
    }
}

/// The entities of a slice with how many rows of each relation were read.
fn entities(slice: &Slice) -> Vec<(String, String)> {
    let named = slice.entities.iter().map(|(uid, loaded)| {
        let entity = format!("{}/{}", uid.type_name(), AsRef::<str>::as_ref(uid.id()));
        let relations = match loaded {
            Loaded::Absent => "  (no such row)".to_owned(),
            Loaded::Present(entity) => entity
                .relations
                .iter()
                .fold(String::new(), |told, (name, rows)| format!("{told}  {name}: {}", rows.len())),
        };
        (entity, relations)
    });
    named.collect()
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _infallible = writeln!(text, "  {}", words.to_string().trim_end());
}

/// An offline answer for programs: AuthZEN's shape, without a receipt, and marked.
pub(super) fn as_json(bundle: &Bundle, simulated: &Simulated, now: Timestamp, detail: Detail) -> Json {
    let evaluation = &simulated.evaluation;
    let policies: Vec<Json> = Told::of(bundle, &evaluation.policies)
        .into_iter()
        .map(|told| {
            let mut policy = json!(told.policy);
            if let Some(policy) = policy.as_object_mut().filter(|_| detail == Detail::Explanation) {
                policy.insert("place".to_owned(), told.place.into());
            }
            policy
        })
        .collect();
    let mut chaperone = json!({
        "note": SIMULATED,
        "at": now,
        "fields": evaluation.fields,
        "policies": policies,
        "evidence": evaluation.evidence,
        "remedies": evaluation.remedies,
        "not_after": evaluation.not_after,
        "revisions": { "policies": evaluation.policies_revision, "facts": evaluation.facts_revision },
    });
    if let Some(chaperone) = chaperone.as_object_mut().filter(|_| detail == Detail::Explanation) {
        let looked_at = simulated.facts.as_ref().map(|(_, slice)| entities(slice)).unwrap_or_default();
        let looked_at: Vec<String> = looked_at.into_iter().map(|(entity, _)| entity).collect();
        chaperone.insert("entities".to_owned(), json!(looked_at));
        chaperone.insert("ignored".to_owned(), json!(evaluation.ignored));
        chaperone.insert("grant".to_owned(), json!(evaluation.grant));
        chaperone.insert("would_have_been_allowed".to_owned(), json!(evaluation.would_have_been_allowed));
        chaperone.insert("policy_errors".to_owned(), json!(evaluation.policy_errors));
        let unread = simulated.unread.as_ref().map(ToString::to_string);
        chaperone.insert("facts_error".to_owned(), json!(unread));
    }
    json!({
        "schema_version": 1,
        "simulated": true,
        "decision": evaluation.decision.is_allow(),
        "context": { "reason": evaluation.reason, "obligations": evaluation.obligations, "chaperone": chaperone },
    })
}

/// A sidecar's answer for people.
pub(super) fn remote_pretty(answer: &Json) -> String {
    let is_allow = is_allow(answer);
    let at = |pointer: &str| answer.pointer(pointer).cloned().unwrap_or_default();
    let words = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut text = if is_allow {
        format!("{}\n", "allow".green().bold())
    } else {
        format!("{} {}\n", "deny".red().bold(), words(&at("/context/reason")))
    };
    line(&mut text, format_args!("recorded as {}", words(&at("/context/chaperone/decision_id"))));
    for (name, pointer) in [
        ("fields", "/context/chaperone/fields/allow"),
        ("obligation", "/context/obligations"),
        ("policy", "/context/chaperone/policies"),
        ("evidence", "/context/chaperone/evidence"),
        ("remedy", "/context/chaperone/remedies"),
    ] {
        for item in at(pointer).as_array().into_iter().flatten() {
            let shown = ["id", "kind"].iter().find_map(|key| item.get(*key)).unwrap_or(item);
            line(&mut text, format_args!("{name:<11} {}{}", words(shown), told_of(item)));
        }
    }
    for (name, pointer) in [("masked", "/context/chaperone/fields/mask"), ("denied", "/context/chaperone/fields/deny")]
    {
        for (field, how) in at(pointer).as_object().into_iter().flatten() {
            line(&mut text, format_args!("{name:<11} {field}  {}", words(how)));
        }
    }
    text.trim_end().to_owned()
}

/// What stands beside the name of an item: what a policy says, under which reasons the glass may be broken, what kind of
/// row the evidence is and until when it holds.
fn told_of(item: &Json) -> String {
    let word = |key: &str| item.get(key).and_then(Json::as_str);
    let kind = word("id").and_then(|_id| word("kind"));
    let until = word("until").map(|until| format!("until {until}"));
    let reasons = item.get("reasons").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
    let all = [word("text"), kind, until.as_deref()].into_iter().flatten().chain(reasons);
    all.map(|word| format!("  {word}")).collect()
}

pub(super) fn is_allow(answer: &Json) -> bool {
    answer.get("decision").and_then(Json::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecars_answer_tells_what_the_next_step_needs() {
        let answer = json!({ "decision": false, "context": { "reason": "no_assignment", "chaperone": {
            "decision_id": "d1",
            "policies": [{ "id": "a-policy", "effect": "permit", "text": "what it says" }],
            "evidence": [{ "kind": "role", "id": "r1", "until": "2026-03-10T15:30:00Z" }, { "kind": "grant", "id": "g1" }],
            "remedies": [{ "kind": "break_glass", "reasons": ["COVERING", "THREAT"] }, { "kind": "request_assignment" }],
        } } });
        let text = remote_pretty(&answer);
        for line in [
            "policy      a-policy  what it says",
            "evidence    r1  role  until 2026-03-10T15:30:00Z",
            "evidence    g1  grant",
            "remedy      break_glass  COVERING  THREAT",
            "remedy      request_assignment",
        ] {
            assert!(text.lines().any(|shown| shown.trim_start() == line), "{line:?} in {text}");
        }
    }
}
