//! What is posted. The limits are the readers' own constants.

use super::shapes::{
    Member, Shape, anything, at_most, closed, count, date, flag, instant, may, name, named, need, one_of, open, prose,
    seconds, some, whatever, word,
};
use crate::{
    domain::{
        assignment::Scope, consent, grant::JUSTIFICATION_CHARS_MAX, record::FREE_TEXT_CHARS_MAX, restriction,
        review::Disposition, ticket,
    },
    http::{
        Limits,
        administration::{CODES_MAX, GROUPS_MAX, REASON_CHARS_MAX, STANDINGS},
        grants::{FIELDS_MAX, NAME_CHARS_MAX},
    },
};

/// Each body by its name.
pub(super) fn all() -> Vec<(&'static str, Shape)> {
    let mut all = questions();
    all.extend(grants());
    all.extend(rights());
    all.push(("SetStanding", standing()));
    all
}

fn entity() -> [Member; 3] {
    [need("type", name()), need("id", name()), may("properties", anything())]
}

fn questions() -> Vec<(&'static str, Shape)> {
    let limits = Limits::default();
    let action = open([
        need("name", name()),
        may(
            "properties",
            open([may("fields", some(name(), limits.fields_max)), may("mode", one_of(["filter", "strict"]))]),
        ),
    ]);
    let semantics = ["execute_all", "deny_on_first_deny", "permit_on_first_permit"];
    let options = open([may("evaluations_semantic", one_of(semantics)), may("context", flag())]);
    let disclosure = open([
        need("recipient", told()),
        may("address", prose(FREE_TEXT_CHARS_MAX)),
        need("description", told()),
        need("basis", told()),
    ]);
    vec![
        ("Entity", open(entity())),
        (
            "Question",
            open([
                need("subject", named("Entity")),
                need("action", action),
                need("resource", named("Entity")),
                may("context", anything()),
            ]),
        ),
        // An item that cannot be read is a deny of its own, so that nothing is asked of its shape here.
        ("Questions", open([may("evaluations", at_most(whatever(), limits.items_max)), may("options", options)])),
        (
            "Outcome",
            open([
                need("decision_id", name()),
                need("outcome", one_of(["success", "failure"])),
                may("rows", count()),
                may("disclosure", disclosure),
            ]),
        ),
        ("Nothing", closed([])),
        ("AskBarrier", closed([may("scope", one_of(["this", "all"]))])),
        // Whatever else it says: nobody is kept from giving access back.
        ("End", anything()),
    ]
}

/// A text that says something.
fn told() -> Shape {
    use utoipa::openapi::{ObjectBuilder, Type};
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(FREE_TEXT_CHARS_MAX)).into()
}

fn grants() -> Vec<(&'static str, Shape)> {
    let recipient = closed([may("name", prose(NAME_CHARS_MAX)), may("affiliation", prose(NAME_CHARS_MAX))]);
    let asked = || {
        vec![
            need("subject", open(entity())),
            need("client", word()),
            need("reason_code", word()),
            may("justification", prose(JUSTIFICATION_CHARS_MAX)),
            may("fields", some(name(), FIELDS_MAX)),
            may("session", anything()),
            may("recipient", recipient.clone()),
        ]
    };
    let mut emergency = asked();
    emergency.push(may("duration_seconds", seconds()));
    let mut after_the_fact = asked();
    after_the_fact.extend([need("started_at", instant()), need("ended_at", instant())]);
    vec![
        ("AskGrant", closed(emergency)),
        ("EnterGrant", closed(after_the_fact)),
        (
            "ExtendGrant",
            closed([may("justification", prose(JUSTIFICATION_CHARS_MAX)), may("duration_seconds", seconds())]),
        ),
        ("DecideReview", closed([need("disposition", one_of(Disposition::ALL.map(Disposition::as_str)))])),
    ]
}

fn rights() -> Vec<(&'static str, Shape)> {
    let until = || [may("to", instant()), may("until_date", date()), may("open_ended", flag())];
    let mut assign = vec![
        need("client", word()),
        need("user", word()),
        may("scope", one_of(Scope::ALL.map(Scope::as_str))),
        may("service_authorization", word()),
        may("service_codes", some(name(), CODES_MAX)),
        may("from", instant()),
        may("reason", prose(REASON_CHARS_MAX)),
    ];
    assign.extend(until());
    let mut window = vec![may("from", instant())];
    window.extend(until());
    let record = || [need("resource_type", word()), need("resource_id", word())];
    let mut scoped = Vec::from(record());
    scoped.push(need("fields", some(name(), GROUPS_MAX)));
    vec![
        ("AskAssignment", closed(assign)),
        ("MoveWindow", closed(window)),
        ("EndAssignment", closed([may("reason", prose(REASON_CHARS_MAX))])),
        (
            "AskRestriction",
            closed([
                need("client", word()),
                may("kind", one_of(restriction::KINDS)),
                need("target_type", one_of(restriction::TARGETS)),
                may("target_id", word()),
                may("resource_type", word()),
                may("resource_id", word()),
                may("fields", some(name(), GROUPS_MAX)),
                may("emergency_exception", flag()),
                may("from", instant()),
                may("to", instant()),
            ]),
        ),
        ("EndRestriction", closed([need("how", one_of(restriction::ENDINGS))])),
        (
            "EnterConsent",
            closed([
                need("client", word()),
                need("kind", one_of(consent::KINDS)),
                need("discloser", word()),
                need("recipient", word()),
                need("purposes", some(name(), GROUPS_MAX)),
                need("fields", some(name(), GROUPS_MAX)),
                need("signed_by", word()),
                may("signed_at", instant()),
                may("expires_at", instant()),
            ]),
        ),
        (
            "OpenTicket",
            closed([
                need("source", one_of(ticket::SOURCES)),
                need("engineer", word()),
                may("phi_needed", flag()),
                may("phi_approved", flag()),
                may("expires_at", instant()),
                may("scope", at_most(named("ScopedRecord"), ticket::RECORDS_MAX)),
            ]),
        ),
        ("ScopedRecord", closed(scoped)),
        ("NamedRecord", closed(record())),
    ]
}

fn standing() -> Shape {
    closed([
        need("standing", one_of(STANDINGS)),
        may("from", instant()),
        may("to", instant()),
        may("reason", prose(REASON_CHARS_MAX)),
    ])
}
