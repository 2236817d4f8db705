//! The bundle: policies, schema, mapping and field groups that were validated together and decide together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use cedar_policy::{EntityUid, Schema};

use super::{reasons::Reasons, taxonomy::Taxonomy};
use crate::domain::{PolicyEffect, Reason, SlicePlan, Tier, mapping::Mapping};

/// An immutable, validated bundle. A request keeps one `Arc` of it from beginning to end.
#[derive(Debug)]
pub struct Bundle {
    /// `sha256:` and the digest over every file of the bundle.
    pub revision: Arc<str>,
    pub schema: Schema,
    /// Namespace prefix of entity types and actions, `""` or `"Ns::"`.
    pub namespace: Arc<str>,
    pub policies: BTreeMap<Arc<str>, PolicyMeta>,
    pub taxonomy: Taxonomy,
    pub reasons: Reasons,
    pub mapping: Mapping,
    /// Context keys a caller may say, dotted (`session.mfa`).
    pub caller_context: BTreeSet<Arc<str>>,
    pub plans: BTreeMap<Environment, SlicePlan>,
}

/// A request environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Environment {
    pub principal: Arc<str>,
    pub action: EntityUid,
    pub resource: Arc<str>,
}

/// What a policy's annotations say, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyMeta {
    pub id: Arc<str>,
    pub effect: PolicyEffect,
    /// `@text`: caller-safe words.
    pub text: Option<Arc<str>>,
    /// `@reason`: on a forbid.
    pub reason: Option<Reason>,
    /// `@otherwise`: on a permit, one code for each `when`/`unless` clause in order; `None` (written `-`) says that a
    /// permit failing there did not come near. A single code stands for every clause.
    pub otherwise: Vec<Option<Reason>>,
    /// `@obligation`: ids, separated by blanks.
    pub obligations: Vec<Arc<str>>,
    /// `@requires`: another question that must be allowed too: a verb (for the same group) or `verb:group`.
    pub requires: Option<Arc<str>>,
    /// `@durability`.
    pub durability: Option<Tier>,
    /// `@priority`: breaks ties within one reason.
    pub priority: i64,
    pub file: PathBuf,
    pub line: usize,
}
