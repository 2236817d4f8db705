//! What was said: the YAML file, the environment and the flags as one tree in which every value knows its origin.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::{Location, Spanned};

use super::{
    environment::Environment,
    expand,
    problem::{ConfigProblem, Origin},
};

/// One value of the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Nothing,
    /// The text as it was written, so that `0660` stays `0660`.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) origin: Origin,
    pub(super) value: Node,
}

impl Node {
    pub(super) const fn empty_map(origin: Origin) -> Self {
        Self { origin, content: Content::Map(Vec::new()) }
    }

    /// The value under `key`, unless it is empty.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        let Content::Map(entries) = &self.content else { return None };
        let found = entries.iter().find(|entry| entry.key == key)?;
        (!matches!(found.value.content, Content::Nothing)).then_some(&found.value)
    }

    /// Says `text` at `path`, over whatever stood there.
    fn overlay(&mut self, path: &[&str], text: &str, origin: &Origin) {
        let Some((key, rest)) = path.split_first() else {
            *self = Self::said(text, origin);
            return;
        };
        if let (Content::List(items), Ok(index)) = (&mut self.content, key.parse::<usize>())
            && let Some(item) = items.get_mut(index)
        {
            return item.overlay(rest, text, origin);
        }
        if !matches!(self.content, Content::Map(_)) {
            *self = Self::empty_map(origin.clone());
        }
        let Content::Map(entries) = &mut self.content else { return };
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *key) {
            return entry.value.overlay(rest, text, origin);
        }
        let mut value = Self { origin: origin.clone(), content: Content::Nothing };
        value.overlay(rest, text, origin);
        entries.push(Entry { key: (*key).to_owned(), origin: origin.clone(), value });
    }

    /// A value from outside the file: a list or a map in YAML's flow style, or the text as it is.
    fn said(text: &str, origin: &Origin) -> Self {
        if text.starts_with(['[', '{'])
            && let Ok(raw) = serde_saphyr::from_str::<Spanned<Raw>>(text)
        {
            return raw.value.into_node(text, raw.referenced, &|_| origin.clone());
        }
        Self { origin: origin.clone(), content: Content::Scalar(text.to_owned()) }
    }
}

/// Parses the file's text. An empty file says nothing.
pub(super) fn parse(path: &Arc<PathBuf>, text: &str) -> Result<Node, ConfigProblem> {
    let at = |line| Origin::File { path: Arc::clone(path), line };
    match serde_saphyr::from_str::<Spanned<Raw>>(text) {
        Ok(raw) => match raw.value.into_node(text, raw.referenced, &|location| at(location.line())) {
            node @ Node { content: Content::Map(_), .. } => Ok(node),
            Node { content: Content::Nothing, origin } => Ok(Node::empty_map(origin)),
            node => Err(ConfigProblem {
                path: String::new(),
                origin: node.origin,
                message: "the file must hold sections (`server:`, `callers:`, …)".to_owned(),
                hint: None,
            }),
        },
        Err(error) => Err(ConfigProblem {
            path: String::new(),
            origin: at(error.location().map_or(1, |location| location.line())),
            message: format!("this is not YAML: {}", first_line(&error.without_snippet().to_string())),
            hint: None,
        }),
    }
}

/// Expands `${…}` in the texts of the file. What the environment and the flags say is taken literally.
pub(super) fn expand_all(node: &mut Node, path: &str, environment: &Environment, problems: &mut Vec<ConfigProblem>) {
    match &mut node.content {
        Content::Nothing => {}
        Content::Scalar(text) => match expand::expand(text, environment) {
            Ok(expanded) => *text = expanded,
            Err(error) => problems.push(ConfigProblem {
                path: path.to_owned(),
                origin: node.origin.clone(),
                hint: Some(error.hint()),
                message: error.to_string(),
            }),
        },
        Content::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand_all(item, &format!("{path}[{index}]"), environment, problems);
            }
        }
        Content::Map(entries) => {
            for entry in entries {
                let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                expand_all(&mut entry.value, &path, environment, problems);
            }
        }
    }
}

const PREFIX: &str = "CHAPERONE_";

/// Lays the variables `CHAPERONE_SECTION__KEY` over the tree. Those without `__` are left alone: Kubernetes sets
/// `CHAPERONE_SERVICE_HOST` and its like in every pod beside a Service of that name.
pub(super) fn overlay_environment(tree: &mut Node, environment: &Environment) {
    for (name, value) in environment.iter() {
        let Some(path) = name.strip_prefix(PREFIX).filter(|path| path.contains("__")) else { continue };
        let path = path.to_ascii_lowercase();
        let parts: Vec<&str> = path.split("__").collect();
        tree.overlay(&parts, value, &Origin::Environment(name.into()));
    }
}

/// A setting that a flag of the command line makes.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag, as `--listen`.
    pub name: String,
    /// The key it sets, as `server.tcp.listen`.
    pub key: String,
    pub value: String,
}

pub(super) fn overlay_flags(tree: &mut Node, flags: &[Flag]) {
    for flag in flags {
        let parts: Vec<&str> = flag.key.split('.').collect();
        tree.overlay(&parts, &flag.value, &Origin::Flag(flag.name.as_str().into()));
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// YAML before it is understood.
enum Raw {
    Nothing,
    Text(String),
    /// A plain scalar that YAML takes for a number or a truth value: its text is taken from the source.
    Plain(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl Raw {
    fn into_node(self, source: &str, location: Location, origin: &dyn Fn(Location) -> Origin) -> Node {
        let content = match self {
            Self::Nothing => Content::Nothing,
            Self::Text(text) => Content::Scalar(text),
            Self::Plain(parsed) => Content::Scalar(written(source, location).map_or(parsed, str::to_owned)),
            Self::List(items) => Content::List(
                items.into_iter().map(|item| item.value.into_node(source, item.defined, origin)).collect(),
            ),
            Self::Map(entries) => Content::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        origin: origin(key.referenced),
                        key: key.value,
                        value: value.value.into_node(source, value.defined, origin),
                    })
                    .collect(),
            ),
        };
        Node { origin: origin(location), content }
    }
}

/// The source text at `location`.
fn written(source: &str, location: Location) -> Option<&str> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    source.get(start..start.checked_add(length)?).map(str::trim).filter(|text| !text.is_empty())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> de::Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
