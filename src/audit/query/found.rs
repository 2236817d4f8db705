//! A record that was found, and a page of them.

use std::sync::Arc;

use super::{
    super::Missing,
    cursor::{Cursor, Place, Until},
};
use crate::domain::{Record, Timestamp};

/// A record of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub at: Timestamp,
    pub writer: Arc<str>,
    pub seq: u64,
    /// The stored line, without its newline.
    pub line: Vec<u8>,
}

impl Found {
    /// The record that the line holds; `None` for a line of a newer format.
    pub fn record(&self) -> Option<Record> {
        serde_json::from_slice(&self.line).ok()
    }

    pub fn place(&self) -> Place {
        Place { at: self.at, writer: self.writer.parse().unwrap_or_default(), seq: self.seq }
    }
}

/// Some records, and where the others follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<Found>,
    /// `None` at the end.
    pub next: Option<Cursor>,
    /// The first record that should be there and cannot be read: the trail is damaged.
    pub lost: Option<String>,
    /// What was taken away from where it was looked for.
    pub missing: Option<Missing>,
}

impl Page {
    /// The first `limit` of `records`, and the cursor to the others if there are any.
    pub(super) fn of(mut records: Vec<Found>, limit: usize, has_more: bool, until: Option<Until>) -> Self {
        records.truncate(limit);
        let last = records.last().filter(|_| has_more).map(Found::place);
        Self { records, next: last.map(|after| Cursor { after, until }), ..Self::default() }
    }

    /// The page as JSON, each record in its stored bytes. `next` is the cursor as its reader gets it.
    pub fn to_json(&self, next: Option<&str>) -> Vec<u8> {
        let mut json = br#"{"schema_version":1,"records":["#.to_vec();
        for (nth, found) in self.records.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            // A writer is a UUID: nothing in it needs escaping.
            json.extend_from_slice(format!(r#"{comma}{{"writer":"{}","record":"#, found.writer).as_bytes());
            json.extend_from_slice(&found.line);
            json.push(b'}');
        }
        json.extend_from_slice(br#"],"next":"#);
        match next {
            None => json.extend_from_slice(b"null"),
            Some(cursor) => json.extend_from_slice(format!(r#""{cursor}""#).as_bytes()),
        }
        if let Some(lost) = &self.lost {
            json.extend_from_slice(format!(r#","damaged_at":"{lost}""#).as_bytes());
        }
        if let Some(Missing { upto, whole_from }) = &self.missing {
            json.extend_from_slice(format!(r#","missing_upto":"{upto}","whole_from":"{whole_from}""#).as_bytes());
        }
        json.push(b'}');
        json
    }
}
