//! One audited event, as the trail keeps it. Ids, codes and group names only; the free texts allowed are named below.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::{
    evaluation::{Decision, Evidence},
    reason::Reason,
};

/// The version of the record format, the `v` of every line.
pub const RECORD_VERSION: u32 = 1;

/// The longest free text a record keeps (`access_reason`, disclosure texts), in characters.
pub const FREE_TEXT_CHARS_MAX: usize = 500;

/// The longest name of an action, a type, a field or a context key that a record keeps, in characters.
pub const WORD_CHARS_MAX: usize = 64;

/// The longest id of a tenant that a session names and a record keeps, in characters.
const TENANT_CHARS_MAX: usize = 256;

/// In `detail`: which change a record tells of, and the event that takes such a record back.
pub const CHANGE: &str = "change";
pub const NOT_MADE: &str = "not_made";

/// A name that a caller chose, fit for a record, a log or a span: what is not shaped like a name may be somebody's.
pub fn code_word(word: &str) -> String {
    let is_name =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '*' | '/' | '\u{b7}' | '…');
    if word.chars().count() <= WORD_CHARS_MAX && word.chars().all(is_name) {
        word.to_owned()
    } else {
        "(not a name)".to_owned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    Decision,
    Outcome,
    Grant,
    Review,
    Admin,
    Policy,
    System,
}

impl RecordKind {
    pub const ALL: [Self; 7] =
        [Self::Decision, Self::Outcome, Self::Grant, Self::Review, Self::Admin, Self::Policy, Self::System];

    /// The word in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Outcome => "outcome",
            Self::Grant => "grant",
            Self::Review => "review",
            Self::Admin => "admin",
            Self::Policy => "policy",
            Self::System => "system",
        }
    }
}

/// One event. The trail adds `v` and `seq` in front; the fields follow in the order of this struct, which is the
/// canonical order of the format. An absent value is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
    pub kind: RecordKind,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub caller: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub principal: Option<PrincipalRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action: Option<String>,
    /// C, R, U, D or E, as FHIR and OCSF ask.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub crud: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource: Option<ResourceRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client: Option<Arc<str>>,
    /// Whose the resource is, as the facts say: `tenant` is the one that the principal acts in, which may be another or none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource_tenant: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fields: Option<FieldsRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub policies: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub evidence: Vec<Evidence>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub obligations: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub would_have_been_allowed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub purpose: Option<Arc<str>>,
    /// Free text, at most [`FREE_TEXT_CHARS_MAX`] characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub access_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<SessionRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_agent: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ignored: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub asserted: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revisions: Option<RevisionsRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub facts_age_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slice_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub question_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latency_us: Option<u64>,
    /// What kinds other than `decision` have to say: a fixed set of keys for each, ids and codes only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub detail: BTreeMap<String, serde_json::Value>,
}

impl Record {
    /// A record of `kind` at `at` with nothing else said.
    pub fn new(kind: RecordKind, at: Timestamp) -> Self {
        Self {
            at,
            decision_id: None,
            request_id: None,
            trace_id: None,
            kind,
            caller: None,
            principal: None,
            tenant: None,
            action: None,
            crud: None,
            resource: None,
            client: None,
            resource_tenant: None,
            fields: None,
            decision: None,
            reason: None,
            policies: Vec::new(),
            evidence: Vec::new(),
            obligations: Vec::new(),
            grant: None,
            would_have_been_allowed: None,
            purpose: None,
            access_reason: None,
            session: None,
            ip: None,
            user_agent: None,
            ignored: Vec::new(),
            asserted: Vec::new(),
            revisions: None,
            facts_age_ms: None,
            slice_sha256: None,
            question_sha256: None,
            latency_us: None,
            detail: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrincipalRecord {
    #[serde(rename = "type")]
    pub kind: String,
    pub id: String,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub roles: Vec<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRecord {
    #[serde(rename = "type")]
    pub kind: String,
    pub id: String,
}

/// Names as asked; never a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldsRecord {
    pub requested: Vec<String>,
    pub allowed: Vec<String>,
    pub masked: Vec<String>,
    pub denied: BTreeMap<String, Reason>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mfa: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idle_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub age_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mfa_age_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_managed: Option<bool>,
}

impl SessionRecord {
    /// What a caller said of a session, as far as a record keeps it.
    pub fn of(said: &Map<String, Json>) -> Self {
        let flag = |key: &str| said.get(key).and_then(Json::as_bool);
        let number = |key: &str| said.get(key).and_then(Json::as_i64);
        let tenant = said.get("tenant").and_then(Json::as_str);
        Self {
            mfa: flag("mfa"),
            idle_seconds: number("idle_seconds"),
            age_seconds: number("age_seconds"),
            mfa_age_seconds: number("mfa_age_seconds"),
            tenant: tenant.map(|tenant| tenant.chars().take(TENANT_CHARS_MAX).collect()),
            device_managed: flag("device_managed"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionsRecord {
    pub policies: String,
    pub facts: String,
}
