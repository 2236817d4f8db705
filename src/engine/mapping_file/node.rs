//! YAML with places: a tree that remembers where each part stands, so that every problem can be told at once.

use std::{fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use crate::engine::problem::{Problem, Problems, Severity};

/// 1-based line and column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Yaml,
}

#[derive(Clone, Debug)]
pub(super) enum Yaml {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// Collects what is wrong with one file.
pub(super) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    pub(super) problems: Problems,
}

/// A map whose keys are known.
pub(super) struct Fields<'a> {
    pub(super) at: Place,
    entries: &'a [(Node, Node)],
}

/// Reads a whole file; `None` after its one syntax error is reported.
pub(super) fn parse(report: &mut Report<'_>) -> Option<Node> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    match serde_saphyr::from_str_with_options::<Node>(report.text, options) {
        Ok(node) => Some(node),
        Err(error) => {
            let at = error.location().map_or_else(Place::default, place);
            report.error(at, error.without_snippet().to_string());
            None
        }
    }
}

impl Node {
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Text(text) => Some(text),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::List(_) | Yaml::Map(_) => None,
        }
    }

    pub(super) fn entries(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            Yaml::Map(entries) => Some(entries),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Text(_) | Yaml::List(_) => None,
        }
    }

    /// The elements of a list, or the one that stands for a list of itself.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Yaml::List(items) => items,
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Text(_) | Yaml::Map(_) => std::slice::from_ref(self),
        }
    }

    /// What it is, for a message.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Yaml::Null => "nothing".to_owned(),
            Yaml::Bool(value) => format!("`{value}`"),
            Yaml::Int(value) => format!("`{value}`"),
            Yaml::Text(text) => format!("`{text}`"),
            Yaml::List(_) => "a list".to_owned(),
            Yaml::Map(_) => "a map".to_owned(),
        }
    }

    /// A copy in which `change` was applied to every text.
    pub(super) fn map_text(&self, change: &impl Fn(&str) -> String) -> Self {
        let value = match &self.value {
            Yaml::Text(text) => Yaml::Text(change(text)),
            Yaml::List(items) => Yaml::List(items.iter().map(|item| item.map_text(change)).collect()),
            Yaml::Map(entries) => {
                Yaml::Map(entries.iter().map(|(key, value)| (key.clone(), value.map_text(change))).collect())
            }
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) => self.value.clone(),
        };
        Self { at: self.at, value }
    }

    /// Whether some text in it contains `word`.
    pub(super) fn mentions(&self, word: &str) -> bool {
        match &self.value {
            Yaml::Text(text) => text.contains(word),
            Yaml::List(items) => items.iter().any(|item| item.mentions(word)),
            Yaml::Map(entries) => entries.iter().any(|(_, value)| value.mentions(word)),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) => false,
        }
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, problems: Problems::default() }
    }

    pub(super) fn error(&mut self, at: Place, message: impl Into<String>) {
        self.push(at, message.into(), None);
    }

    pub(super) fn error_with_hint(&mut self, at: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.push(at, message.into(), Some(hint.into()));
    }

    /// An error about `word`, with the nearest of `known` as the hint.
    pub(super) fn unknown<S: AsRef<str>>(
        &mut self,
        at: Place,
        message: impl Into<String>,
        word: &str,
        known: impl IntoIterator<Item = S>,
    ) {
        self.push(at, message.into(), nearest(word, known));
    }

    fn push(&mut self, at: Place, message: String, hint: Option<String>) {
        let source_line = at.line.checked_sub(1).and_then(|line| self.text.lines().nth(line)).map(str::to_owned);
        self.problems.0.push(Problem {
            severity: Severity::Error,
            file: Some(self.file.to_owned()),
            line: (at.line > 0).then_some(at.line),
            column: (at.line > 0).then_some(at.column),
            source_line,
            message,
            hint,
        });
    }

    /// The text of a node that must be one.
    pub(super) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = node.text();
        if text.is_none() {
            self.error(node.at, format!("{what} must be a word, not {}", node.describe()));
        }
        text
    }

    /// A flag that is absent or `true`.
    pub(super) fn is_true(&mut self, node: Option<&Node>, what: &str) -> bool {
        match node.map(|node| (node, &node.value)) {
            None | Some((_, Yaml::Bool(false))) => false,
            Some((_, Yaml::Bool(true))) => true,
            Some((node, _)) => {
                self.error(node.at, format!("`{what}` is `true` or left out, not {}", node.describe()));
                false
            }
        }
    }
}

impl<'a> Fields<'a> {
    /// Reads a map and reports every key that is not in `known`.
    pub(super) fn of(node: &'a Node, what: &str, known: &[&str], report: &mut Report<'_>) -> Option<Self> {
        let entries = match &node.value {
            Yaml::Map(entries) => entries.as_slice(),
            Yaml::Null => &[],
            Yaml::Bool(_) | Yaml::Int(_) | Yaml::Text(_) | Yaml::List(_) => {
                report.error(node.at, format!("{what} must be a map, not {}", node.describe()));
                return None;
            }
        };
        for (key, _) in entries {
            let word = key.text().unwrap_or_default();
            if !known.contains(&word) {
                report.unknown(key.at, format!("{what} has no key {}", key.describe()), word, known);
            }
        }
        Some(Self { at: node.at, entries })
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value)
    }

    /// Where the key `name` of the map under `section` stands.
    pub(super) fn key_at(&self, section: &str, name: &str) -> Place {
        let entries = self.get(section).and_then(Node::entries).unwrap_or_default();
        entries.iter().find(|(key, _)| key.text() == Some(name)).map_or(self.at, |(key, _)| key.at)
    }

    /// The entries of a map of names under `name`; none if the key is absent.
    pub(super) fn named(&self, name: &str, report: &mut Report<'_>) -> Vec<(&'a str, &'a Node)> {
        match self.get(name) {
            Some(node) => names(node, &format!("`{name}`"), report),
            None => Vec::new(),
        }
    }

    /// A key that must be there.
    pub(super) fn need(&self, name: &str, what: &str, report: &mut Report<'_>) -> Option<&'a Node> {
        let found = self.get(name);
        if found.is_none() {
            report.error(self.at, format!("{what} needs the key `{name}`"));
        }
        found
    }
}

/// A map from names to something.
pub(super) fn names<'n>(node: &'n Node, what: &str, report: &mut Report<'_>) -> Vec<(&'n str, &'n Node)> {
    let Some(entries) = node.entries() else {
        if !matches!(node.value, Yaml::Null) {
            report.error(node.at, format!("{what} must be a map, not {}", node.describe()));
        }
        return Vec::new();
    };
    entries.iter().filter_map(|(key, value)| Some((report.text(key, "a key")?, value))).collect()
}

/// "did you mean" for a mistyped word.
pub(in crate::engine) fn nearest<S: AsRef<str>>(word: &str, known: impl IntoIterator<Item = S>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name.as_ref()), name))
        .filter(|(distance, name)| *distance * 3 <= name.as_ref().len().max(word.len()) + 2)
        .min_by(|one, other| one.0.cmp(&other.0))
        .map(|(_, name)| format!("did you mean `{}`?", name.as_ref()))
}

fn place(location: Location) -> Place {
    Place {
        line: usize::try_from(location.line()).unwrap_or_default(),
        column: usize::try_from(location.column()).unwrap_or_default(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Yaml>::deserialize(deserializer)?;
        Ok(Self { at: place(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing, a truth value, a whole number, text, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Yaml::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Yaml, E> {
        i64::try_from(value).map(Yaml::Int).map_err(|_source| E::custom(format!("{value} is too large a number")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Yaml, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Yaml::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Yaml, A::Error> {
        let mut map: Vec<(Node, Node)> = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Node, Node>()? {
            if map.iter().any(|(known, _)| known.text() == key.text()) {
                return Err(A::Error::custom(format!("the key {} stands here twice", key.describe())));
            }
            map.push((key, value));
        }
        Ok(Yaml::Map(map))
    }
}
