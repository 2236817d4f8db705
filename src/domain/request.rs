//! One question as a caller put it: parsed, sized and typed, but not yet understood.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// The application that asks and enforces (the PEP), by the name its configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallerName(pub Arc<str>);

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The interface a question came in by; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    Evaluation,
    Evaluations,
    Grants,
    Admin,
    Cli,
}

impl Api {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evaluation => "evaluation",
            Self::Evaluations => "evaluations",
            Self::Grants => "grants",
            Self::Admin => "admin",
            Self::Cli => "cli",
        }
    }
}

/// An entity as a caller names it: a type in the caller's words and an id that is compared letter by letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityRef {
    pub kind: String,
    pub id: String,
}

/// What to do when only some of the asked fields are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Allow with what is left; nothing left is a deny.
    Filter,
    /// One denied field denies the whole.
    Strict,
}

/// One question: may this principal do this to this resource, and to which fields of it?
#[derive(Clone, Debug)]
pub struct Request {
    pub subject: EntityRef,
    /// Attributes that the caller claims for the subject; used only where its configuration lets it assert them.
    pub subject_properties: Map<String, Json>,
    pub action: String,
    /// Field groups or column names, as asked; `None` asks for the record as a whole.
    pub fields: Option<Vec<String>>,
    pub mode: Option<Mode>,
    /// `action.properties` other than `fields` and `mode`.
    pub action_properties: Map<String, Json>,
    pub resource: EntityRef,
    pub resource_properties: Map<String, Json>,
    pub context: Map<String, Json>,
    pub caller: Arc<Caller>,
    pub request_id: String,
    /// The W3C trace id (32 hex digits), when the caller sent one.
    pub trace_id: Option<String>,
    pub decision_id: String,
    pub api: Api,
}

/// What a caller's configuration lets it do and say.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    pub name: Option<CallerName>,
    /// Type names in this caller's words -> entity types of the schema.
    pub types: std::collections::BTreeMap<String, String>,
    /// `Type.attribute` pairs that this caller may assert for one request.
    pub may_assert: std::collections::BTreeSet<String>,
}

impl Caller {
    /// The caller's name for records and logs.
    pub fn display_name(&self) -> &str {
        self.name.as_ref().map_or("", |name| &name.0)
    }
}
