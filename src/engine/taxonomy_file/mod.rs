//! `*.fields.yaml` as it is written, and the way from it to a [`Taxonomy`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::{
    problem::Problem,
    source::TextFile,
    taxonomy::Taxonomy,
    yaml::{self, usize_of},
};
use crate::domain::{Mode, Tier};

mod resolve;

pub(super) use resolve::MASK;

/// What `*.fields.yaml` says, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldsFile {
    pub taxonomy: Taxonomy,
    /// Entity type of principals; `User` unless the file says otherwise.
    pub principal: Arc<str>,
    /// Type of the request context; `RequestContext` unless the file says otherwise.
    pub context: Arc<str>,
    /// Actions that a plain action is `in`, where the file says so.
    pub memberships: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Type -> line of the file, for findings that need the schema.
    pub(super) type_lines: BTreeMap<Arc<str>, usize>,
}

impl FieldsFile {
    /// No field groups: the schema brings all its actions itself.
    pub fn empty() -> Self {
        Self {
            taxonomy: Taxonomy::default(),
            principal: "User".into(),
            context: "RequestContext".into(),
            memberships: BTreeMap::new(),
            type_lines: BTreeMap::new(),
        }
    }
}

/// Reads the field groups.
///
/// # Errors
///
/// A syntax error alone; else every name that resolves to nothing, every incomplete row, at once.
pub fn parse_fields(file: &TextFile) -> Result<FieldsFile, Vec<Problem>> {
    let written: Written = yaml::parse(file).map_err(|problems| problems.0)?;
    resolve::resolve(file, &written)
}

/// A word and the place where it stands.
type Word = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: Spanned<u32>,
    principal: Option<Word>,
    context: Option<Word>,
    #[serde(default)]
    verbs: Listed<VerbWritten>,
    #[serde(default)]
    actions: Listed<ActionWritten>,
    #[serde(default)]
    groups: Listed<GroupWritten>,
    #[serde(default)]
    types: Listed<TypeWritten>,
    header: Option<HeaderWritten>,
    #[serde(default)]
    classes: Listed<ClassWritten>,
    /// The row `columns`, then one row for each group.
    #[serde(default)]
    matrix: Listed<Vec<Word>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerbWritten {
    mode: Mode,
    crud: Spanned<char>,
    #[serde(default)]
    masks: bool,
    durability: Option<Spanned<Tier>>,
    on: Option<Vec<Word>>,
    #[serde(default)]
    any_group: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionWritten {
    on: Vec<Word>,
    group: Spanned<GroupOf>,
    crud: Spanned<char>,
    durability: Option<Spanned<Tier>>,
    #[serde(default)]
    internal: bool,
    #[serde(default, rename = "in")]
    parents: Vec<Word>,
}

/// One group for every type, or one for each.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum GroupOf {
    Every(String),
    ByType(BTreeMap<String, String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupWritten {
    label: Spanned<char>,
    masked_as: Option<String>,
    #[serde(default)]
    governing: bool,
    #[serde(default)]
    governs: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeWritten {
    #[serde(default)]
    groups: Listed<Vec<Word>>,
    governed_by: Option<Word>,
    header: Option<Word>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderWritten {
    groups: Vec<Word>,
    #[serde(rename = "type")]
    kind: Word,
    verbs: Vec<Word>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ClassWritten {
    Members(Vec<String>),
    #[serde(rename_all = "snake_case")]
    AllBut(AllBut),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllBut {
    all_but: Vec<String>,
}

/// A mapping in the order of the file, each key with its place.
#[derive(Debug)]
struct Listed<V>(Vec<(Word, V)>);

impl<V> Default for Listed<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Listed<V> {
    fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(name, _)| name.value.as_str()).collect()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Listed<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
            type Value = Listed<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Listed(entries))
            }
        }

        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

fn line_of(word: &Word) -> usize {
    usize_of(word.referenced.line())
}

#[cfg(test)]
mod tests;
