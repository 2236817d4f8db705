//! What is answered. Answers may grow: a reader takes what it knows.

use super::shapes::{
    Member, Shape, anything, count, flag, instant, instant_or_null, list, map, may, named, need, open, text,
};

/// Each answer by its name.
pub(super) fn all() -> Vec<(&'static str, Shape)> {
    let mut all = decisions();
    all.extend(grants());
    all.extend(rights());
    all.extend(operators());
    all
}

fn decisions() -> Vec<(&'static str, Shape)> {
    let fields = open([need("allow", list(text())), need("mask", map(text())), need("deny", map(text()))]);
    let policy = open([need("id", text()), need("effect", text()), may("text", text()), may("otherwise", text())]);
    let evidence = open([need("kind", text()), need("id", text()), may("until", instant())]);
    let obligation = open([need("id", text()), need("type", text()), need("properties", map(text()))]);
    let remedy = open([need("kind", text()), may("reasons", list(text())), may("amr", list(text()))]);
    let revisions = open([need("policies", text()), need("facts", text()), need("facts_age_ms", count())]);
    let chaperone = open([
        need("decision_id", text()),
        may("fields", fields),
        need("policies", list(policy)),
        need("evidence", list(evidence)),
        need("remedies", list(remedy)),
        may("not_after", instant()),
        need("revisions", revisions),
        need("receipt", named("Receipt")),
    ]);
    let context = open([may("reason", text()), need("obligations", list(obligation)), need("chaperone", chaperone)]);
    let metadata = [
        need("policy_decision_point", text()),
        need("access_evaluation_endpoint", text()),
        need("access_evaluations_endpoint", text()),
        need("supported_obligations", list(text())),
    ];
    vec![
        ("Decision", open([need("decision", flag()), need("context", context)])),
        // A batch without items is one question, and answered as one.
        (
            "Decisions",
            open([
                may("evaluations", list(open([need("decision", flag()), may("context", anything())]))),
                may("decision", flag()),
                may("context", anything()),
            ]),
        ),
        ("Receipt", open([need("writer", text()), need("seq", count()), need("durability", text())])),
        ("OutcomeTaken", open([need("decision_id", text()), need("receipt", named("Receipt"))])),
        ("Metadata", open(metadata)),
        ("Clock", open([need("now", instant())])),
        (
            "Problem",
            open([
                need("type", text()),
                need("title", text()),
                need("status", count()),
                need("detail", text()),
                need("instance", text()),
                need("request_id", text()),
                may("path", text()),
                may("reason", text()),
            ]),
        ),
    ]
}

fn grants() -> Vec<(&'static str, Shape)> {
    let review = open([need("review_id", text()), need("state", text()), need("due_at", instant())]);
    let reviewed = open([
        need("state", text()),
        need("user", text()),
        need("client", text()),
        need("reason_code", text()),
        need("justification", text()),
        need("fields", list(text())),
        may("approver", text()),
        may("activated_at", instant()),
        may("over_at", instant()),
        need("extensions", count()),
    ]);
    let grant = [
        need("grant_id", text()),
        need("state", text()),
        need("kind", text()),
        need("tenant", text()),
        need("user", text()),
        need("client", text()),
        need("reason_code", text()),
        need("fields", list(text())),
        need("requested_at", instant()),
        may("approve_by", instant()),
        may("approver", text()),
        may("activated_at", instant()),
        need("expires_at", instant_or_null()),
        need("extensions", count()),
        may("ended_at", instant()),
        may("ended_by", text()),
        need("obligations", list(text())),
        may("review", review),
        need("version", text()),
    ];
    let review = [
        need("review_id", text()),
        need("grant_id", text()),
        need("tenant", text()),
        need("state", text()),
        need("priority", text()),
        may("explanation", text()),
        need("closes_by_itself", flag()),
        need("due_at", instant()),
        may("reviewer", text()),
        may("disposition", text()),
        may("closed_at", instant()),
        may("incident_id", text()),
        may("proposal_id", text()),
        need("grant", reviewed),
        need("version", text()),
    ];
    vec![("Grant", open(grant)), ("Grants", listed("Grant")), ("Review", open(review)), ("Reviews", listed("Review"))]
}

/// A page of a list.
fn listed(of: &str) -> Shape {
    open([need("items", list(named(of))), may("next", text())])
}

/// The members that every row of the store is shown with.
fn row(id: &'static str, members: impl IntoIterator<Item = Member>) -> Shape {
    let common = [need(id, text()), need("tenant", text()), need("state", text()), need("version", text())];
    open(common.into_iter().chain(members))
}

fn rights() -> Vec<(&'static str, Shape)> {
    let assignment = [
        need("client", text()),
        need("user", text()),
        need("scope", text()),
        may("service_authorization", text()),
        may("service_codes", list(text())),
        need("assigned_by", text()),
        need("from", instant()),
        need("to", instant_or_null()),
        may("reason", text()),
        may("ended_at", instant()),
        may("ended_by", text()),
        may("end_reason", text()),
    ];
    let restriction = [
        need("client", text()),
        need("kind", text()),
        need("target_type", text()),
        may("target_id", text()),
        may("resource_type", text()),
        may("resource_id", text()),
        need("fields", list(text())),
        need("status", text()),
        need("emergency_exception", flag()),
        may("covers_created_before", instant()),
        need("from", instant_or_null()),
        need("to", instant_or_null()),
        may("decided_by", text()),
        may("requested_at", instant()),
        may("requested_by", text()),
        may("ended_at", instant()),
        may("ended_by", text()),
        may("ended_how", text()),
    ];
    let consent = [
        need("client", text()),
        need("kind", text()),
        need("discloser", text()),
        need("recipient", text()),
        need("purposes", list(text())),
        need("fields", list(text())),
        need("signed_by", text()),
        need("signed_at", instant()),
        need("expires_at", instant_or_null()),
        may("entered_by", text()),
        may("revoked_at", instant()),
        may("revoked_by", text()),
    ];
    vec![
        ("Assignment", row("assignment_id", assignment)),
        ("Assignments", listed("Assignment")),
        ("Restriction", row("restriction_id", restriction)),
        ("Restrictions", listed("Restriction")),
        ("Consent", row("consent_id", consent)),
        ("Consents", listed("Consent")),
        ("Suspension", suspension()),
        ("Suspensions", listed("Suspension")),
        ("Ticket", ticket()),
        ("Tickets", listed("Ticket")),
    ]
}

fn suspension() -> Shape {
    let suspension = [
        need("user", text()),
        need("suspended_by", text()),
        need("from", instant()),
        need("to", instant_or_null()),
        may("reason", text()),
        may("ended_at", instant()),
        may("ended_by", text()),
        may("end_reason", text()),
    ];
    row("suspension_id", suspension)
}

fn ticket() -> Shape {
    let in_scope = open([
        need("resource_type", text()),
        need("resource_id", text()),
        need("fields", list(text())),
        may("released_by", text()),
    ]);
    let ticket = [
        need("source", text()),
        need("opened_by", text()),
        need("engineer", text()),
        need("phi_needed", flag()),
        may("phi_approved_by", text()),
        need("status", text()),
        need("opened_at", instant()),
        need("expires_at", instant()),
        may("resolved_at", instant()),
        may("resolved_by", text()),
        may("reopened_at", instant()),
        may("reopened_by", text()),
        need("scope", list(in_scope)),
    ];
    row("ticket_id", ticket)
}

/// Of one sidecar: its sources. Of all: who has confirmed.
fn barrier() -> Shape {
    let unconfirmed = sidecar().into_iter().chain([need("why", text())]);
    open([
        need("barrier", text()),
        may("sources", anything()),
        may("in_force", flag()),
        may("confirmed", list(open(sidecar()))),
        may("unconfirmed", list(open(unconfirmed))),
        may("gone", list(open(sidecar()))),
    ])
}

fn sidecar() -> [Member; 4] {
    [need("sidecar", text()), need("process", text()), need("host", text()), may("last_seen", instant())]
}

/// Of this process, and of all on its store; `unknown`: why nothing can be said of those.
fn status() -> Shape {
    let standing = || {
        let more = [need("unseen_ms", count()), need("policies", text()), need("passed", count())];
        list(open(sidecar().into_iter().chain(more)))
    };
    let sidecars = [may("barrier", count()), may("seen", standing()), may("gone", standing()), may("unknown", text())];
    open([
        need("schema_version", count()),
        need("version", text()),
        need("ready", flag()),
        need("policies", anything()),
        need("trail", anything()),
        may("sidecars", open(sidecars)),
    ])
}

fn operators() -> Vec<(&'static str, Shape)> {
    let record = open([need("writer", text()), need("record", anything())]);
    let records = [
        need("schema_version", count()),
        need("records", list(record)),
        may("damaged_at", text()),
        may("missing_upto", text()),
        may("whole_from", instant()),
    ];
    vec![("Document", anything()), ("Status", status()), ("Barrier", barrier()), ("Records", open(records))]
}
