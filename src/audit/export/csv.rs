//! RFC 4180, for a spreadsheet that will not be made to calculate.

use serde::Serialize;

use super::super::query::Found;
use crate::domain::Record;

const COLUMNS: [&str; 42] = [
    "writer",
    "seq",
    "at",
    "kind",
    "decision_id",
    "request_id",
    "trace_id",
    "caller",
    "principal_type",
    "principal_id",
    "roles",
    "tenant",
    "action",
    "crud",
    "resource_type",
    "resource_id",
    "client",
    "resource_tenant",
    "fields_requested",
    "fields_allowed",
    "fields_masked",
    "fields_denied",
    "decision",
    "reason",
    "policies",
    "evidence",
    "obligations",
    "grant",
    "would_have_been_allowed",
    "purpose",
    "access_reason",
    "session",
    "ip",
    "user_agent",
    "ignored",
    "asserted",
    "policies_revision",
    "facts_revision",
    "facts_age_ms",
    "latency_us",
    "detail",
    "not_shown",
];

pub(super) fn head() -> Vec<u8> {
    let mut head = COLUMNS.join(",").into_bytes();
    head.extend_from_slice(b"\r\n");
    head
}

pub(super) fn row(found: &Found, record: &Record, not_shown: &[String], into: &mut Vec<u8>) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let word = |word: &Option<std::sync::Arc<str>>| word.as_deref().unwrap_or_default().to_owned();
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let principal = record.principal.as_ref();
    let resource = record.resource.as_ref();
    let fields = record.fields.as_ref();
    let revisions = record.revisions.as_ref();
    let cells: [String; 42] = [
        found.writer.to_string(),
        found.seq.to_string(),
        record.at.to_string(),
        if super::is_bare(not_shown) { String::new() } else { record.kind.as_str().to_owned() },
        text(&record.decision_id),
        text(&record.request_id),
        text(&record.trace_id),
        text(&record.caller),
        principal.map(|principal| principal.kind.clone()).unwrap_or_default(),
        principal.map(|principal| principal.id.clone()).unwrap_or_default(),
        principal.map(|principal| list(&principal.roles)).unwrap_or_default(),
        word(&record.tenant),
        text(&record.action),
        record.crud.map(String::from).unwrap_or_default(),
        resource.map(|resource| resource.kind.clone()).unwrap_or_default(),
        resource.map(|resource| resource.id.clone()).unwrap_or_default(),
        word(&record.client),
        word(&record.resource_tenant),
        fields.map(|fields| list(&fields.requested)).unwrap_or_default(),
        fields.map(|fields| list(&fields.allowed)).unwrap_or_default(),
        fields.map(|fields| list(&fields.masked)).unwrap_or_default(),
        fields.filter(|fields| !fields.denied.is_empty()).map(|fields| json(&fields.denied)).unwrap_or_default(),
        record.decision.map(|decision| decision.as_str().to_owned()).unwrap_or_default(),
        record.reason.as_ref().map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        list(&record.policies),
        list(&record.evidence),
        list(&record.obligations),
        word(&record.grant),
        record.would_have_been_allowed.map(|would| would.to_string()).unwrap_or_default(),
        word(&record.purpose),
        text(&record.access_reason),
        record.session.as_ref().map(json).unwrap_or_default(),
        text(&record.ip),
        text(&record.user_agent),
        list(&record.ignored),
        list(&record.asserted),
        revisions.map(|revisions| revisions.policies.clone()).unwrap_or_default(),
        revisions.map(|revisions| revisions.facts.clone()).unwrap_or_default(),
        number(record.facts_age_ms),
        number(record.latency_us),
        if record.detail.is_empty() { String::new() } else { json(&record.detail) },
        not_shown.join(" "),
    ];
    for (nth, cell) in cells.iter().enumerate() {
        if nth > 0 {
            into.push(b',');
        }
        put(cell, into);
    }
    into.extend_from_slice(b"\r\n");
}

/// Lists are JSON, since ids may hold any separator; nothing at all is an empty cell.
fn list<T: Serialize>(values: &[T]) -> String {
    if values.is_empty() { String::new() } else { json(&values) }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A cell that a spreadsheet would take for a formula gets a `'` in front, as OWASP advises; what needs quotes has them.
fn put(cell: &str, into: &mut Vec<u8>) {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let is_quoted = is_formula || cell.contains(['"', ',', '\r', '\n']);
    if is_quoted {
        into.push(b'"');
    }
    if is_formula {
        into.push(b'\'');
    }
    into.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
    if is_quoted {
        into.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_calculated_and_none_breaks_out_of_its_place() {
        let cell = |text: &str| {
            let mut into = Vec::new();
            put(text, &mut into);
            String::from_utf8(into).unwrap()
        };
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=HYPERLINK(\"http://x\")", "\"'=HYPERLINK(\"\"http://x\"\")\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("a=b", "a=b"),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
