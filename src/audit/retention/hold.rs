//! Legal holds: what they keep, and the records that place and lift them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::json;
use uuid::Uuid;

use crate::{
    audit::{
        folder::{Folder, swept},
        keyring::EncryptionKeys,
        read::{Filter, ReadError, records},
    },
    domain::{
        Record, RecordKind, Timestamp,
        record::{FREE_TEXT_CHARS_MAX, PrincipalRecord, ResourceRecord, WORD_CHARS_MAX, code_word},
    },
};

const PLACED: &str = "hold_placed";
const LIFTED: &str = "hold_lifted";
const ACTION: &str = "audit:hold";

/// What a hold keeps: the records that have every word given. Without any it keeps all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldScope {
    pub tenant: Option<String>,
    pub client: Option<String>,
    /// Not those before.
    pub from: Option<Timestamp>,
    /// Only those before.
    pub to: Option<Timestamp>,
}

/// A hold that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub id: String,
    pub scope: HoldScope,
    pub placed: Timestamp,
    pub by: String,
    pub reason: String,
}

/// Why nobody can say which holds stand.
#[derive(Debug, thiserror::Error)]
pub enum HoldsError {
    #[error(
        "the beginning of this trail is not in the folder any more (writer {writer} up to record {seq}): holds placed \
         there cannot be seen"
    )]
    Elsewhere { writer: String, seq: u64 },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What a hold goes by.
pub(super) struct Subject<'a> {
    pub(super) about: About,
    pub(super) tenant: Option<&'a str>,
    /// Whose the resource is, where the facts knew it.
    pub(super) resource_tenant: Option<&'a str>,
    pub(super) client: Option<&'a str>,
    pub(super) at: Timestamp,
}

/// Of what a record speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Itself,
    /// The trail wrote it about itself, as it starts.
    Trail,
    /// The trail wrote it about another record: that its answer was withheld, or its change not made.
    Another,
}

/// Why a hold is not placed or lifted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    #[error("`{0}` is no name of a hold: letters, digits and `-_.:`, at most {WORD_CHARS_MAX}")]
    Name(String),
    #[error("a hold `{0}` stands already")]
    Stands(String),
    #[error("no hold `{0}` stands")]
    Unknown(String),
    #[error("it must be said {0}")]
    Missing(&'static str),
    #[error("the {what} has more than {FREE_TEXT_CHARS_MAX} characters")]
    TooLong { what: &'static str },
    #[error("the hold ends before it begins")]
    Backwards,
}

impl HoldScope {
    /// Whether a record is kept, for either of its tenants. One that does not say its tenant or client may be of any, but
    /// for those that the trail writes about itself. What speaks of another record is kept by every hold: that one may be
    /// under it.
    pub(super) fn keeps(&self, subject: &Subject<'_>) -> bool {
        if subject.about == About::Another {
            return true;
        }
        let is_own = subject.about == About::Trail;
        let is = |wanted: &Option<String>, found: Option<&str>| match (wanted.as_deref(), found) {
            (None, _) => true,
            (Some(wanted), Some(found)) => wanted == found,
            (Some(_), None) => !is_own,
        };
        let is_resource = self.tenant.is_some() && self.tenant.as_deref() == subject.resource_tenant;
        (is(&self.tenant, subject.tenant) || is_resource)
            && is(&self.client, subject.client)
            && self.from.is_none_or(|from| subject.at >= from)
            && self.to.is_none_or(|to| subject.at < to)
    }
}

/// The holds that stand, by the records of a folder.
///
/// # Errors
///
/// The folder cannot be read, a key to it is missing, or its beginning is elsewhere: no hold that is seen is not no hold.
pub fn holds(dir: &Path, keys: EncryptionKeys) -> Result<Vec<Hold>, HoldsError> {
    Ok(standing(dir, keys)?.into_values().collect())
}

/// Those that stand in the trail that `folder` goes on with, of all whose records `dir` has.
///
/// # Errors
///
/// As [`holds`].
pub fn holds_of(dir: &Path, folder: &Path, keys: EncryptionKeys) -> Result<Vec<Hold>, HoldsError> {
    let trails = trails(&Folder::list(dir).map_err(ReadError::at(dir))?);
    let writers = Folder::list(folder).map_err(ReadError::at(folder))?.writers;
    let own: BTreeSet<_> = writers.iter().filter_map(|files| trails.get(&files.writer.to_string())).collect();
    let standing = standing(dir, keys)?.into_iter();
    Ok(standing.filter(|((trail, _), _)| own.contains(trail)).map(|(_, hold)| hold).collect())
}

/// By trail and name: where a store holds the trails of several folders, none of them lifts what stands in another.
fn standing(dir: &Path, keys: EncryptionKeys) -> Result<BTreeMap<(String, String), Hold>, HoldsError> {
    // What went by a stub was asked whether a hold stands in it.
    let elsewhere = swept(dir).map_err(ReadError::at(dir))?;
    if let Some((writer, seq)) = elsewhere.into_iter().next() {
        return Err(HoldsError::Elsewhere { writer, seq });
    }
    let trails = trails(&Folder::list(dir).map_err(ReadError::at(dir))?);
    let mut standing: BTreeMap<(String, String), Hold> = BTreeMap::new();
    let mark = memchr::memmem::Finder::new(ACTION);
    // In the order of writing and not of instants: a clock that was set back must not lift what was placed later.
    for stored in records(dir, Filter { keys, ..Filter::default() })? {
        let stored = stored?;
        if mark.find(&stored.line).is_none() {
            continue;
        }
        let Ok(record) = serde_json::from_slice::<Record>(&stored.line) else { continue };
        if record.kind != RecordKind::Admin || record.action.as_deref() != Some(ACTION) {
            continue;
        }
        let said = |key: &str| record.detail.get(key).and_then(|value| value.as_str());
        let Some(id) = said("hold").map(str::to_owned) else { continue };
        let trail = trails.get(&*stored.writer).cloned().unwrap_or_default();
        match said("event") {
            Some(PLACED) => {
                let instant = |key: &str| said(key).and_then(|text| text.parse().ok());
                let scope = HoldScope {
                    tenant: record.tenant.as_deref().map(str::to_owned),
                    client: record.client.as_deref().map(str::to_owned),
                    from: instant("from"),
                    to: instant("to"),
                };
                let by = record.principal.as_ref().map(|by| by.id.clone()).unwrap_or_default();
                let reason = record.access_reason.clone().unwrap_or_default();
                standing.insert((trail, id.clone()), Hold { id, scope, placed: record.at, by, reason });
            }
            Some(LIFTED) => drop(standing.remove(&(trail, id))),
            Some(_) | None => {}
        }
    }
    Ok(standing)
}

/// To which trail each writer belongs, by the first of those that followed one another.
fn trails(folder: &Folder) -> BTreeMap<String, String> {
    let here = folder.writers.iter().filter_map(|files| files.header.as_ref()).map(|head| (head.writer, &head.prev));
    let gone = folder.stubs.iter().map(|file| (file.stub.writer, &file.stub.prev));
    let before: BTreeMap<Uuid, Option<Uuid>> =
        gone.chain(here).map(|(writer, prev)| (writer, prev.as_ref().map(|prev| prev.writer))).collect();
    let first = |writer: Uuid| {
        let mut first = writer;
        // A ring, which only a forger builds, ends as well.
        for _ in 0..before.len() {
            let Some(Some(prev)) = before.get(&first) else { break };
            first = *prev;
        }
        first
    };
    before.keys().map(|writer| (writer.to_string(), first(*writer).to_string())).collect()
}

/// What becomes of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldTurn {
    Place(HoldScope),
    Lift,
}

/// The record that places or lifts a hold, if that can be done where `standing` stand.
///
/// # Errors
///
/// [`HoldError`]: nothing was recorded.
pub fn hold_record(
    id: &str,
    turn: HoldTurn,
    (by, reason): (&str, &str),
    standing: &[Hold],
    at: Timestamp,
) -> Result<Record, HoldError> {
    if id.is_empty() || code_word(id) != id {
        return Err(HoldError::Name(id.to_owned()));
    }
    for (what, text) in [("person", by), ("reason", reason)] {
        if text.trim().is_empty() {
            return Err(HoldError::Missing(if what == "person" { "who does it" } else { "why" }));
        }
        if text.chars().count() > FREE_TEXT_CHARS_MAX {
            return Err(HoldError::TooLong { what });
        }
    }
    let found = standing.iter().find(|hold| hold.id == id);
    let (event, scope) = match (turn, found) {
        (HoldTurn::Place(_), Some(_)) => return Err(HoldError::Stands(id.to_owned())),
        (HoldTurn::Lift, None) => return Err(HoldError::Unknown(id.to_owned())),
        (HoldTurn::Place(scope), None) => (PLACED, scope),
        (HoldTurn::Lift, Some(hold)) => (LIFTED, hold.scope.clone()),
    };
    if scope.from.zip(scope.to).is_some_and(|(from, to)| from >= to) {
        return Err(HoldError::Backwards);
    }
    let mut record = Record::new(RecordKind::Admin, at);
    record.principal = Some(PrincipalRecord { kind: "User".to_owned(), id: by.to_owned(), roles: Vec::new() });
    record.tenant = scope.tenant.as_deref().map(Into::into);
    record.client = scope.client.as_deref().map(Into::into);
    record.action = Some(ACTION.to_owned());
    record.crud = Some(if event == PLACED { 'C' } else { 'D' });
    record.resource = Some(ResourceRecord { kind: "Hold".to_owned(), id: id.to_owned() });
    record.access_reason = Some(reason.to_owned());
    let mut say = |key: &str, value| drop(record.detail.insert(key.to_owned(), value));
    say("event", json!(event));
    say("hold", json!(id));
    for (key, instant) in [("from", scope.from), ("to", scope.to)] {
        if let Some(instant) = instant {
            say(key, json!(instant.to_string()));
        }
    }
    Ok(record)
}
