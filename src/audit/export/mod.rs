//! Records in the forms that others read: the stored bytes, CSV, OCSF, FHIR.
//!
//! Every form has the same rows in the same order, and the same records always give the same bytes: nothing here reads
//! a clock, and the version of this program stands only where a format asks for a product's version.

mod csv;
mod fhir;
mod ocsf;
mod proof;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use serde_json::Value as Json;

pub use proof::{ExportProof, ExportProofError, Proved, Runs, sha256_hex};

use super::query::{ALL, Found};
use crate::domain::{Reason, Record, RecordKind};

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The stored lines, each ended by `\n`.
    Jsonl,
    /// RFC 4180, with a header, and no cell that a spreadsheet would calculate.
    Csv,
    /// OCSF 1.8 API Activity, one JSON object a line.
    Ocsf,
    /// FHIR R4 `AuditEvent`, one resource a line.
    Fhir,
}

/// Why a record cannot be exported in this form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} of writer {writer} is of a newer form than this program: export it as jsonl")]
pub struct ExportError {
    pub writer: String,
    pub seq: u64,
}

/// A text that is no form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of jsonl, csv, ocsf, fhir")]
pub struct FormatError;

impl Format {
    pub const ALL: [Self; 4] = [Self::Jsonl, Self::Csv, Self::Ocsf, Self::Fhir];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Ocsf => "ocsf",
            Self::Fhir => "fhir",
        }
    }

    /// As HTTP names it.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jsonl | Self::Ocsf => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Fhir => "application/fhir+ndjson",
        }
    }

    /// What stands before the first row.
    pub fn head(self) -> Vec<u8> {
        match self {
            Self::Csv => csv::head(),
            Self::Jsonl | Self::Ocsf | Self::Fhir => Vec::new(),
        }
    }

    /// Appends the row of a record, with its end.
    ///
    /// # Errors
    ///
    /// The record is of a newer form, and this form needs to understand it.
    pub fn row(self, found: &Found, into: &mut Vec<u8>) -> Result<(), ExportError> {
        if self == Self::Jsonl {
            into.extend_from_slice(&found.line);
            into.push(b'\n');
            return Ok(());
        }
        let newer = || ExportError { writer: found.writer.to_string(), seq: found.seq };
        let not_shown = found.not_shown();
        let record = match found.record() {
            Some(record) => record,
            // It stays a row, of its place alone: a line that its reader may not have must not break off all the others.
            None if is_bare(&not_shown) => Record::new(RecordKind::System, found.at),
            None => return Err(newer()),
        };
        let event = match self {
            Self::Csv => {
                csv::row(found, &record, &not_shown, into);
                return Ok(());
            }
            Self::Fhir => fhir::event(found, &record, &not_shown),
            Self::Ocsf | Self::Jsonl => ocsf::event(found, &record, &not_shown),
        };
        into.extend_from_slice(event.to_string().as_bytes());
        into.push(b'\n');
        Ok(())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or(FormatError)
    }
}

/// Puts a member into an object; one that is null stays out.
fn put_into(object: &mut Json, key: &str, value: Json) {
    if let Some(object) = object.as_object_mut().filter(|_| !value.is_null()) {
        object.insert(key.to_owned(), value);
    }
}

/// Of such a record no more is told than its place: its kind too is not known here.
fn is_bare(not_shown: &[String]) -> bool {
    not_shown == [ALL]
}

/// `writer/seq`: the one name that no two records share.
fn name(found: &Found) -> String {
    format!("{}/{}", found.writer, found.seq)
}

/// What happened, where it is not a decision: `system.started`, `grant.ended`.
fn event_word(record: &Record) -> String {
    let event = record.detail.get("event").or_else(|| record.detail.get("outcome")).and_then(|event| event.as_str());
    match event {
        Some(event) => format!("{}.{event}", record.kind.as_str()),
        None => record.kind.as_str().to_owned(),
    }
}

/// The allow rests on, or had at hand, an emergency grant and not a support ticket.
fn is_emergency(record: &Record) -> bool {
    let Some(grant) = &record.grant else { return false };
    !record.evidence.iter().any(|evidence| &*evidence.kind == "ticket" && evidence.id == *grant)
}

/// Nobody could decide: the deny says so.
fn is_failure(record: &Record) -> bool {
    let failures = [Reason::POLICY_ERROR, Reason::DATA_UNAVAILABLE, Reason::DATA_STALE];
    record.kind == RecordKind::Decision && record.reason.as_ref().is_some_and(|reason| failures.contains(reason))
}

/// What an exceptional grant does in this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GrantTurn {
    Starts,
    Ends,
    Other,
}

fn grant_turn(record: &Record) -> GrantTurn {
    let said = ["event", "state"].into_iter().find_map(|key| record.detail.get(key)?.as_str());
    match said {
        Some("active" | "activated" | "started" | "approved" | "extended") => GrantTurn::Starts,
        Some("ended" | "revoked" | "expired") => GrantTurn::Ends,
        Some(_) | None => GrantTurn::Other,
    }
}
