//! From an answer that names a thing to the calls about it: what a reader, or a test that goes on from what it was told,
//! may follow. An id is taken from the thing itself, or from the first one of a list.

use utoipa::openapi::link::{Link, LinkBuilder};

use super::operations::Operation;

/// Each thing, what lists it, and the member that is its id.
const THINGS: [(&str, &str, &str); 6] = [
    ("Assignment", "Assignments", "assignment_id"),
    ("Restriction", "Restrictions", "restriction_id"),
    ("Consent", "Consents", "consent_id"),
    ("Ticket", "Tickets", "ticket_id"),
    ("Grant", "Grants", "grant_id"),
    ("Review", "Reviews", "review_id"),
];

/// Where the answer of `operation` leads: the name of each link, and the link.
pub(super) fn of(operation: &Operation, all: &[Operation]) -> Vec<(String, Link)> {
    let Some(answer) = operation.answer().filter(|_| !operation.is_about_one()) else { return Vec::new() };
    let found = THINGS.iter().find_map(|(thing, list, id)| {
        let at = match answer {
            answer if answer == *thing => format!("$response.body#/{id}"),
            answer if answer == *list => format!("$response.body#/items/0/{id}"),
            _ => return None,
        };
        Some((*thing, at))
    });
    let Some((thing, at)) = found else { return Vec::new() };
    let leads = |to: &&Operation| to.is_about_one() && to.is_beside(operation) && to.answer() == Some(thing);
    let link = |to: &Operation| (to.id(), LinkBuilder::new().operation_id(to.id()).parameter("id", at.clone()).build());
    all.iter().filter(leads).map(link).collect()
}
