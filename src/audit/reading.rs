//! The record of a reading: whoever looks into the trail stands in it.

use serde_json::json;

use super::query::Query;
use crate::domain::{
    Decision, Record, RecordKind, Timestamp,
    record::{PrincipalRecord, ResourceRecord},
};

/// What was done with the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadingKind {
    /// A page of records was asked for.
    Query,
    /// An export was begun.
    ExportBegun,
    /// It ended, or broke off.
    ExportEnded { is_whole: bool },
}

/// One reading, as it is recorded.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    pub kind: ReadingKind,
    pub query: &'a Query,
    /// Who read, by id.
    pub person: &'a str,
    pub request_id: &'a str,
    pub trace_id: Option<&'a str>,
    /// How many records left; `None` where that is not known yet.
    pub records: Option<usize>,
    /// In which form.
    pub format: &'a str,
}

impl Reading<'_> {
    /// The record of it: the filters as they were given, and no record's content.
    pub fn record(&self, at: Timestamp) -> Record {
        let mut record = Record::new(RecordKind::Admin, at);
        record.request_id = Some(self.request_id.to_owned());
        record.trace_id = self.trace_id.map(str::to_owned);
        record.caller = Some("admin".to_owned());
        record.principal =
            Some(PrincipalRecord { kind: "User".to_owned(), id: self.person.to_owned(), roles: Vec::new() });
        // A question about one client or tenant is found where one looks for them.
        record.tenant = self.query.tenant.as_deref().map(Into::into);
        record.client = self.query.client.as_deref().map(Into::into);
        let (action, resource) = match self.kind {
            ReadingKind::Query => ("admin:decisions", "decisions"),
            ReadingKind::ExportBegun | ReadingKind::ExportEnded { .. } => ("admin:export", "export"),
        };
        record.action = Some(action.to_owned());
        record.crud = Some('R');
        record.resource = Some(ResourceRecord { kind: "Trail".to_owned(), id: resource.to_owned() });
        record.decision = Some(Decision::Allow);
        let filters: serde_json::Map<_, _> =
            self.query.said().into_iter().map(|(word, value)| (word.to_owned(), json!(value))).collect();
        let mut say = |key: &str, value| drop(record.detail.insert(key.to_owned(), value));
        say("filters", filters.into());
        say("format", json!(self.format));
        if let Some(records) = self.records {
            say("records", json!(records));
        }
        match self.kind {
            ReadingKind::Query => {}
            ReadingKind::ExportBegun => say("event", json!("begun")),
            ReadingKind::ExportEnded { is_whole } => {
                say("event", json!("ended"));
                say("whole", json!(is_whole));
            }
        }
        record
    }
}
