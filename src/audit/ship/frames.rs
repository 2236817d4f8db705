//! A stored frame as the sink takes it, with the index over its records.

use std::{borrow::Cow, sync::Arc};

use serde::Deserialize;

use super::super::{
    cipher,
    frame::{self, Damage, Frame, Kind},
    header::{HEADER_BYTES, Header, HeaderError},
    note::Checkpoint,
};
use crate::domain::{IndexRow, ShippedFrame, ShippedHeader, ShippedNote, ShippedPredecessor, Timestamp};

/// What stands in the index for a record that cannot be read here: encrypted, or of a newer form.
const UNREAD_AT: &str = "1970-01-01T00:00:00Z";

/// The whole frame at the start of `stored`.
pub(super) fn frame(stored: Arc<Vec<u8>>) -> Result<ShippedFrame, Damage> {
    let frame = frame::decode(&stored)?;
    let (number, rows) = (frame.head.frame, rows_of(&frame));
    let note = (frame.head.kind == Kind::Checkpoint && !frame.is_encrypted()).then(|| note(frame.body)).flatten();
    Ok(ShippedFrame {
        frame: number,
        first_seq: frame.head.first_seq,
        bound: frame.bound_len(),
        chain: frame.chain.0,
        rows,
        note,
        bytes: Arc::clone(&stored),
    })
}

/// The index over the records of a frame, as every shipper makes it: verification makes it again and compares.
pub(in crate::audit) fn rows_of(frame: &Frame<'_>) -> Vec<IndexRow> {
    let seqs = frame.head.first_seq..frame.head.first_seq.saturating_add(u64::from(frame.head.count));
    let number = frame.head.frame;
    if frame.head.kind != Kind::Records {
        Vec::new()
    } else if frame.is_encrypted() {
        seqs.map(|seq| unread(seq, number, None)).collect()
    } else {
        seqs.zip(cipher::lines(frame.body)).map(|(seq, line)| row(seq, number, line)).collect()
    }
}

fn note(body: &[u8]) -> Option<ShippedNote> {
    let checkpoint = Checkpoint::parse(body).ok()?;
    let note = std::str::from_utf8(body).ok()?.to_owned();
    Some(ShippedNote { writer: checkpoint.writer.to_string(), size: checkpoint.size, note })
}

/// A writer's first header as the sink takes it; `None` where `stored` begins another segment.
pub(in crate::audit) fn header(stored: &[u8]) -> Result<Option<ShippedHeader>, HeaderError> {
    let header = Header::decode(stored)?;
    if header.chain.is_some() {
        return Ok(None);
    }
    let prev = header.prev.map(|prev| ShippedPredecessor {
        writer: prev.writer.to_string(),
        seq: prev.seq,
        clean: prev.clean,
    });
    let bytes = Arc::new(stored.get(..HEADER_BYTES).unwrap_or_default().to_vec());
    Ok(Some(ShippedHeader { bytes, month: month(&header.created.to_string()).to_owned(), prev }))
}

/// Only what the index needs of a record.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    at: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    decision_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tenant: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    principal: Option<Named<'a>>,
    #[serde(borrow, default)]
    action: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    resource: Option<Named<'a>>,
    #[serde(borrow, default)]
    client: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    resource_tenant: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    decision: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    grant: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

fn row(seq: u64, frame: u64, line: &[u8]) -> IndexRow {
    let text = std::str::from_utf8(line).ok();
    let read = text.and_then(|text| serde_json::from_str::<Line<'_>>(text).ok());
    // A database could not keep another instant.
    let Some(read) = read.filter(|read| read.at.parse::<Timestamp>().is_ok()) else {
        return unread(seq, frame, text);
    };
    let (principal_type, principal) = read.principal.map(|of| (word(of.kind), word(of.id))).unzip();
    let (resource_type, resource_id) = read.resource.map(|of| (word(of.kind), word(of.id))).unzip();
    IndexRow {
        month: month(&read.at).to_owned(),
        seq,
        frame,
        decision_id: read.decision_id.map(word),
        kind: word(read.kind),
        tenant: read.tenant.map(word),
        principal,
        principal_type,
        action: read.action.map(word),
        resource_type,
        resource_id,
        client: read.client.map(word),
        resource_tenant: read.resource_tenant.map(word),
        decision: read.decision.map(word),
        reason: read.reason.map(word),
        grant_id: read.grant.map(word),
        at: read.at.into_owned(),
        line: text.map(|text| word(Cow::Borrowed(text))),
    }
}

/// PostgreSQL has no zero character; one must not stop the trail.
fn word(text: Cow<'_, str>) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.into_owned() }
}

fn month(at: &str) -> &str {
    at.get(..7).unwrap_or("1970-01")
}

fn unread(seq: u64, frame: u64, line: Option<&str>) -> IndexRow {
    IndexRow {
        month: month(UNREAD_AT).to_owned(),
        seq,
        frame,
        at: UNREAD_AT.to_owned(),
        decision_id: None,
        kind: "unread".to_owned(),
        tenant: None,
        principal: None,
        principal_type: None,
        action: None,
        resource_type: None,
        resource_id: None,
        client: None,
        resource_tenant: None,
        decision: None,
        reason: None,
        grant_id: None,
        line: line.map(|line| word(Cow::Borrowed(line))),
    }
}
