//! One way to ask the trail: which records, in which order, from which place on.
//!
//! Every reader (`audit query`, exports, the operators' interface) takes the same [`Query`] and gets the same rows in the
//! same order: instant, writer, number. A [`RecordSource`] finds them: [`FolderRecords`] in a folder of segments, one that
//! `app/` makes of the store room in a store, and [`BothRecords`] in two places, each record once.

mod both;
mod cursor;
mod digest;
mod folder;
mod found;
mod matcher;
mod shown;
mod sieve;
mod stamp;
mod sweep;
#[cfg(test)]
mod tests;

use std::{fmt, future::Future, io, path::PathBuf, pin::Pin};

pub use both::BothRecords;
pub use cursor::{Cursor, CursorError, CursorKey, Place, Until};
pub use folder::{FolderRecords, FolderRun, Patience};
pub use found::{Found, Page};
pub(super) use matcher::Matcher;
pub(super) use shown::ALL;
pub use sieve::Sieve;

use super::{FolderExtent, Gap, Missing, SealedError};
use crate::domain::{Decision, RecordKind, Timestamp};

/// How many records a page holds where nobody says.
pub const PAGE_DEFAULT: usize = 100;
/// How many records one page may hold.
pub const PAGE_MAX: usize = 1_000;
/// The longest word of a query.
pub const WORD_BYTES_MAX: usize = 512;

/// Which records are wanted: all that have every word given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub principal: Option<Named>,
    pub client: Option<String>,
    pub resource: Option<Named>,
    pub action: Option<String>,
    pub decision: Option<Decision>,
    pub reason: Option<String>,
    pub grant: Option<String>,
    /// The tenant that the principal acted in, or whose the resource is.
    pub tenant: Option<String>,
    /// Not those before.
    pub from: Option<Timestamp>,
    /// Only those before.
    pub to: Option<Timestamp>,
    pub decision_id: Option<String>,
    pub kind: Option<RecordKind>,
}

/// `Type/id`, or an id of any type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub kind: Option<String>,
    pub id: String,
}

/// Why a word is none that a query takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryWordError {
    #[error("is no filter: there are {}", Query::WORDS.join(", "))]
    Unknown,
    #[error("is empty")]
    Empty,
    #[error("is longer than {WORD_BYTES_MAX} bytes")]
    TooLong,
    #[error("is given twice")]
    Twice,
    #[error("must be {0}")]
    Form(&'static str),
    #[error("lies before `from`")]
    Backwards,
}

impl Query {
    /// The names of its filters, as a query string has them; the command line writes `-` for `_`.
    pub const WORDS: [&'static str; 12] = [
        "principal",
        "client",
        "resource",
        "action",
        "decision",
        "reason",
        "grant",
        "tenant",
        "from",
        "to",
        "decision_id",
        "kind",
    ];

    /// Adds one filter by its name.
    ///
    /// # Errors
    ///
    /// There is no such filter, it is set already, or the value is none of its kind.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), QueryWordError> {
        if value.is_empty() {
            return Err(QueryWordError::Empty);
        }
        if value.len() > WORD_BYTES_MAX {
            return Err(QueryWordError::TooLong);
        }
        let text = || Ok(value.to_owned());
        match name {
            "principal" => put(&mut self.principal, Named::parse(value)),
            "client" => put(&mut self.client, text()),
            "resource" => put(
                &mut self.resource,
                Named::parse(value).and_then(|named| match named.kind {
                    Some(_) => Ok(named),
                    None => Err(QueryWordError::Form("a type and an id, as `Note/N1`")),
                }),
            ),
            "action" => put(&mut self.action, text()),
            "decision" => put(&mut self.decision, decision(value)),
            "reason" => put(&mut self.reason, text()),
            "grant" => put(&mut self.grant, text()),
            "tenant" => put(&mut self.tenant, text()),
            "from" => put(&mut self.from, instant(value)),
            "to" => put(&mut self.to, instant(value)),
            "decision_id" => put(&mut self.decision_id, text()),
            "kind" => put(&mut self.kind, kind(value)),
            _ => Err(QueryWordError::Unknown),
        }?;
        match (self.from, self.to) {
            (Some(from), Some(to)) if to < from => Err(QueryWordError::Backwards),
            _ => Ok(()),
        }
    }

    /// What was asked, word by word, in the order of [`Self::WORDS`]: what a cursor is bound to and a record says.
    pub fn said(&self) -> Vec<(&'static str, String)> {
        let named = |named: &Named| named.to_string();
        let values = [
            self.principal.as_ref().map(named),
            self.client.clone(),
            self.resource.as_ref().map(named),
            self.action.clone(),
            self.decision.map(|decision| decision.as_str().to_owned()),
            self.reason.clone(),
            self.grant.clone(),
            self.tenant.clone(),
            self.from.map(|from| from.to_string()),
            self.to.map(|to| to.to_string()),
            self.decision_id.clone(),
            self.kind.map(|kind| kind.as_str().to_owned()),
        ];
        Self::WORDS.into_iter().zip(values).filter_map(|(word, value)| Some((word, value?))).collect()
    }
}

fn put<T>(place: &mut Option<T>, value: Result<T, QueryWordError>) -> Result<(), QueryWordError> {
    if place.is_some() {
        return Err(QueryWordError::Twice);
    }
    *place = Some(value?);
    Ok(())
}

fn decision(value: &str) -> Result<Decision, QueryWordError> {
    match value {
        "allow" => Ok(Decision::Allow),
        "deny" => Ok(Decision::Deny),
        _ => Err(QueryWordError::Form("`allow` or `deny`")),
    }
}

fn kind(value: &str) -> Result<RecordKind, QueryWordError> {
    let is_it = |kind: &RecordKind| kind.as_str() == value;
    let one_of = "one of decision, outcome, grant, review, admin, policy, system";
    RecordKind::ALL.into_iter().find(is_it).ok_or(QueryWordError::Form(one_of))
}

fn instant(value: &str) -> Result<Timestamp, QueryWordError> {
    value.parse().map_err(|_instant| QueryWordError::Form("an instant, as `2026-03-10T15:00:00Z`"))
}

impl Named {
    /// A word before the first `/` is a type if it is written like one: ids may have a `/` of their own.
    fn parse(text: &str) -> Result<Self, QueryWordError> {
        let is_type = |kind: &str| {
            kind.starts_with(|letter: char| letter.is_ascii_uppercase())
                && kind.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':')
        };
        match text.split_once('/') {
            Some((kind, id)) if is_type(kind) && !id.is_empty() => {
                Ok(Self { kind: Some(kind.to_owned()), id: id.to_owned() })
            }
            Some((kind, "")) if is_type(kind) => Err(QueryWordError::Form("a type and an id, as `User/ana`")),
            _ => Ok(Self { kind: None, id: text.to_owned() }),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Some(kind) => write!(f, "{kind}/{}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

/// Why there are no (further) records.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("cannot read `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What was read so far is remembered: the same question gets further the next time.
    #[error("the trail is long: {read} of {all} segments are looked through")]
    Unfinished { read: usize, all: usize },
    #[error("record {seq} of writer {writer} is no longer there: its segment was removed while it was read")]
    Gone { writer: String, seq: u64 },
    #[error("the cursor leads to writer {0}, which is no longer there")]
    CursorGone(String),
    #[error("more than {0} records belong to one stretch of time: ask for less of them")]
    TooMany(usize),
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// Of a source that is no folder.
    #[error("the records cannot be read")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What becomes of work that a source does for a reader.
pub type Reading<'a, T> = Pin<Box<dyn Future<Output = Result<T, QueryError>> + Send + 'a>>;

/// Where records are found: a folder of segments, or a store.
///
/// Both give the same rows in the same order, `(at, writer, seq)`, so that a cursor of one page leads to the next. A
/// run sees what was there when it (or the first page of its cursor) began, however many records come meanwhile.
pub trait RecordSource: fmt::Debug + Send + Sync {
    /// Begins a run through the records of `query` behind `after`.
    fn begin(&self, query: Query, after: Option<Cursor>) -> Reading<'_, Box<dyn RecordRun>>;

    /// What it lacks of the records since an instant, and a folder with that extent lacks too. A folder knows of itself
    /// alone, and says that in its runs.
    fn gap(&self, _here: FolderExtent, _since: Timestamp) -> Reading<'_, Option<Gap>> {
        Box::pin(async { Ok(None) })
    }
}

/// One run through the records of a query.
pub trait RecordRun: Send {
    /// The next records, at most so many. None at all is the end.
    fn next(&mut self, most: usize) -> Reading<'_, Vec<Found>>;

    /// Up to where this run goes, for the cursors that are made of it.
    fn until(&self) -> Option<Until>;

    /// The first record that should be there and cannot be read, as `WRITER/SEQ`.
    fn lost(&self) -> Option<String>;

    /// What this run should have and was taken away from where it reads, as of now. A store can be pruned between two looks
    /// at it: whoever must have all asks again behind the last record, since no look that found less was before the stub.
    fn missing(&mut self) -> Reading<'_, Option<Missing>>;

    /// What the folder that it reads has of the trail; nothing, where it reads none.
    fn extent(&self) -> FolderExtent {
        FolderExtent::default()
    }
}

/// The next page of `query`: at most `limit` records, and the cursor to those behind them.
///
/// # Errors
///
/// The source cannot be read, or was not read far enough in time.
pub async fn page(
    source: &dyn RecordSource,
    query: Query,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page, QueryError> {
    let limit = limit.clamp(1, PAGE_MAX);
    let mut run = source.begin(query, after).await?;
    let mut records = Vec::new();
    let mut was_short = false;
    // One more than wanted tells whether there is another page.
    let has_more = loop {
        let wanted = limit + 1 - records.len();
        let more = run.next(wanted).await?;
        let is_short = more.len() < wanted;
        let is_end = more.is_empty();
        records.extend(more);
        // Short once can be the end; short twice means that time ran out, and the page is what there is.
        if is_end || records.len() > limit || (was_short && is_short) {
            break !is_end;
        }
        was_short = is_short;
    };
    let page = Page::of(records, limit, has_more, run.until());
    Ok(Page { lost: run.lost(), missing: run.missing().await?, ..page })
}
