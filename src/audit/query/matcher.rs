//! Whether a stored line belongs to a query: bytes first, JSON only for what is left.
//!
//! Lines are written by one serializer, so a value stands in a line as exactly one sequence of bytes. A line without
//! them is passed over at the speed of memory; one with them is parsed, since they may stand at another key.

use std::borrow::Cow;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::{
    Query,
    stamp::{self, Stamp},
};
use crate::domain::{Decision, RecordKind};

/// A query made ready for many lines.
#[derive(Debug)]
pub(in crate::audit) struct Matcher {
    query: Query,
    /// Bytes that a line must have, the rarest first.
    needles: Vec<Finder<'static>>,
}

/// What queries ask of a record, and nothing else of it.
#[derive(Debug, Deserialize)]
pub(super) struct Lean<'a> {
    pub(super) kind: RecordKind,
    #[serde(borrow, default)]
    pub(super) decision_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) principal: Option<LeanNamed<'a>>,
    #[serde(borrow, default)]
    pub(super) tenant: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) action: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) resource: Option<LeanNamed<'a>>,
    #[serde(borrow, default)]
    pub(super) client: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) resource_tenant: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) decision: Option<Decision>,
    #[serde(borrow, default)]
    pub(super) reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) grant: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LeanNamed<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
}

impl Matcher {
    pub(in crate::audit) fn new(query: Query) -> Self {
        let needles = needles(&query).into_iter().map(|needle| Finder::new(&needle).into_owned()).collect();
        Self { query, needles }
    }

    pub(in crate::audit) fn query(&self) -> &Query {
        &self.query
    }

    /// The stamp of a line that belongs to the query.
    pub(super) fn stamp_of(&self, line: &[u8]) -> Option<Stamp> {
        let stamp = stamp::of(line)?;
        let is_in_time =
            self.query.from.is_none_or(|from| stamp.at >= from) && self.query.to.is_none_or(|to| stamp.at < to);
        let is_it = is_in_time
            && self.needles.iter().all(|needle| needle.find(line).is_some())
            && (self.needles.is_empty() || self.is_of_the_query(line));
        is_it.then_some(stamp)
    }

    fn is_of_the_query(&self, line: &[u8]) -> bool {
        let Ok(lean) = serde_json::from_slice::<Lean<'_>>(line) else { return false };
        let query = &self.query;
        let is = |wanted: &Option<String>, found: &Option<Cow<'_, str>>| {
            wanted.as_ref().is_none_or(|wanted| found.as_deref() == Some(wanted.as_str()))
        };
        let is_named = |wanted: &Option<super::Named>, found: &Option<LeanNamed<'_>>| {
            wanted.as_ref().is_none_or(|wanted| {
                found.as_ref().is_some_and(|found| {
                    found.id == wanted.id && wanted.kind.as_ref().is_none_or(|kind| found.kind == *kind)
                })
            })
        };
        is_named(&query.principal, &lean.principal)
            && is(&query.client, &lean.client)
            && is_named(&query.resource, &lean.resource)
            && is(&query.action, &lean.action)
            && query.decision.is_none_or(|decision| lean.decision == Some(decision))
            && is(&query.reason, &lean.reason)
            && is(&query.grant, &lean.grant)
            && (is(&query.tenant, &lean.tenant) || is(&query.tenant, &lean.resource_tenant))
            && is(&query.decision_id, &lean.decision_id)
            && query.kind.is_none_or(|kind| lean.kind == kind)
    }

    /// Calls `visit` for each line of a body that belongs to the query, with where it stands in the body.
    pub(super) fn each(&self, body: &[u8], mut visit: impl FnMut(Stamp, usize, usize)) {
        let mut from = 0;
        while let Some(rest) = body.get(from..).filter(|rest| !rest.is_empty()) {
            // To the next line that has the rarest bytes: those between are not even cut into lines.
            let Some(found) = self.needles.first().map_or(Some(0), |needle| needle.find(rest)) else { return };
            let before = rest.get(..found).unwrap_or_default();
            let start = from + memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
            let after = body.get(from + found..).unwrap_or_default();
            let end = from + found + memchr::memchr(b'\n', after).unwrap_or(after.len());
            let line = body.get(start..end).unwrap_or_default();
            if let Some(stamp) = self.stamp_of(line) {
                visit(stamp, start, line.len());
            }
            from = end + 1;
        }
    }
}

/// The bytes that a line of the query has.
fn needles(query: &Query) -> Vec<Vec<u8>> {
    let text = |key: &str, value: &Option<String>| {
        value.as_deref().and_then(|value| Some(format!("\"{key}\":{}", quoted(value)?).into_bytes()))
    };
    let resource = query.resource.as_ref().and_then(|named| {
        let kind = quoted(named.kind.as_deref()?)?;
        Some(format!("\"resource\":{{\"type\":{kind},\"id\":{}}}", quoted(&named.id)?).into_bytes())
    });
    let principal =
        query.principal.as_ref().and_then(|named| Some(format!("\"id\":{}", quoted(&named.id)?).into_bytes()));
    // The end of two keys, `tenant` and `resource_tenant`.
    let tenant = query.tenant.as_deref().and_then(|tenant| Some(format!("tenant\":{}", quoted(tenant)?).into_bytes()));
    let decision = query.decision.map(|decision| format!("\"decision\":\"{}\"", decision.as_str()).into_bytes());
    let kind = query.kind.map(|kind| format!("\"kind\":\"{}\"", kind.as_str()).into_bytes());
    [
        text("decision_id", &query.decision_id),
        text("grant", &query.grant),
        text("client", &query.client),
        resource,
        principal,
        text("reason", &query.reason),
        text("action", &query.action),
        tenant,
        decision,
        kind,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn quoted(text: &str) -> Option<String> {
    serde_json::to_string(text).ok()
}
