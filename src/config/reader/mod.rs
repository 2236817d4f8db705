//! Reads sections: each call names a key, says what it is, and takes its value. What a section did not ask for is an
//! unknown key, and what it asked for is the JSON Schema: the three cannot drift apart.

mod values;

use std::path::PathBuf;

use super::{
    describe::{KeyDoc, Kind},
    document::{Content, Entry, Node},
    problem::{ConfigProblem, Origin},
};

/// What a whole reading shares.
#[derive(Debug)]
pub(super) struct Reading {
    /// Relative paths of the file start here: its own folder.
    pub(super) base: PathBuf,
    pub(super) problems: Vec<ConfigProblem>,
    pub(super) warnings: Vec<ConfigProblem>,
    /// Above zero while a section is read for its description alone.
    muted: u32,
}

impl Reading {
    pub(super) const fn new(base: PathBuf) -> Self {
        Self { base, problems: Vec::new(), warnings: Vec::new(), muted: 0 }
    }

    pub(super) fn root<'n, 'r>(&'r mut self, tree: &'n Node) -> Section<'n, 'r> {
        Section { reading: self, path: String::new(), node: Some(tree), keys: Vec::new() }
    }
}

/// One section of the tree, or a section that was left out: then every key has its default.
#[derive(Debug)]
pub(super) struct Section<'n, 'r> {
    reading: &'r mut Reading,
    path: String,
    node: Option<&'n Node>,
    keys: Vec<KeyDoc>,
}

/// A text with its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'n> {
    pub(super) text: &'n str,
    pub(super) origin: &'n Origin,
}

/// Whether a part that can be switched off is on when nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    On,
    Off,
}

impl<'n> Section<'n, '_> {
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where `key` is said, or the section if it is not.
    pub(super) fn origin_of(&self, key: &str) -> Origin {
        let at = self.node.and_then(|node| node.child(key)).or(self.node);
        at.map_or(Origin::Unsaid, |node| node.origin.clone())
    }

    pub(super) fn origin(&self) -> Origin {
        self.node.map_or(Origin::Unsaid, |node| node.origin.clone())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.node.is_some_and(|node| node.child(key).is_some())
    }

    /// Reports a mistake at `key`; an empty key is the section itself.
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>, hint: Option<String>) {
        let (path, origin) =
            if key.is_empty() { (self.path.clone(), self.origin()) } else { (self.path_of(key), self.origin_of(key)) };
        self.report(path, origin, message.into(), hint);
    }

    /// Reports a mistake deeper down; a number is a place in a list.
    pub(super) fn problem_at(&mut self, keys: &[&str], message: impl Into<String>, hint: Option<String>) {
        let mut path = String::new();
        let mut at = self.node;
        for key in keys {
            let index = key.parse::<usize>().ok();
            match index {
                Some(index) => path.push_str(&format!("[{index}]")),
                None if path.is_empty() => path.push_str(key),
                None => path.push_str(&format!(".{key}")),
            }
            let next = at.and_then(|node| match (&node.content, index) {
                (Content::List(items), Some(index)) => items.get(index),
                _ => node.child(key),
            });
            at = next.or(at);
        }
        let origin = at.map_or(Origin::Unsaid, |node| node.origin.clone());
        self.report(path, origin, message.into(), hint);
    }

    pub(super) fn warning(&mut self, key: &str, message: impl Into<String>) {
        if self.reading.muted == 0 {
            let warning = ConfigProblem {
                path: self.path_of(key),
                origin: self.origin_of(key),
                message: message.into(),
                hint: None,
            };
            self.reading.warnings.push(warning);
        }
    }

    fn report(&mut self, path: String, origin: Origin, message: String, hint: Option<String>) {
        if self.reading.muted == 0 {
            self.reading.problems.push(ConfigProblem { path, origin, message, hint });
        }
    }

    fn describe(&mut self, key: &'static str, doc: &'static str, kind: Kind) {
        self.keys.push(KeyDoc { key, doc, kind });
    }

    fn child(&self, key: &str) -> Option<&'n Node> {
        self.node?.child(key)
    }

    /// A section of its own, with defaults where it is left out.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        read: impl FnOnce(&mut Section<'n, '_>) -> T,
    ) -> T {
        let node = self.child(key);
        let (value, keys) = self.enter(self.path_of(key), node, read);
        self.describe(key, doc, Kind::Section { keys, can_be_off: false });
        value
    }

    /// A section that `off` switches off, or that is off unless given.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        presence: Presence,
        read: impl FnOnce(&mut Section<'n, '_>) -> T,
    ) -> Option<T> {
        let node = self.child(key);
        let is_off = match node.map(|node| &node.content) {
            Some(Content::Scalar(word)) if matches!(word.as_str(), "off" | "false" | "no") => true,
            Some(_) => false,
            None => presence == Presence::Off,
        };
        if is_off {
            self.reading.muted += 1;
        }
        let (value, keys) = self.enter(self.path_of(key), node.filter(|_| !is_off), read);
        if is_off {
            self.reading.muted -= 1;
        }
        self.describe(key, doc, Kind::Section { keys, can_be_off: true });
        (!is_off).then_some(value)
    }

    /// A list of sections.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        read: impl Fn(&mut Section<'n, '_>) -> T,
    ) -> Vec<T> {
        self.reading.muted += 1;
        let (_, keys) = self.enter(self.path_of(key), None, &read);
        self.reading.muted -= 1;
        self.describe(key, doc, Kind::Sections(keys));
        let Some(node) = self.child(key) else { return Vec::new() };
        let Content::List(items) = &node.content else {
            self.problem(key, "must be a list", Some("start each item with `- `".to_owned()));
            return Vec::new();
        };
        let path = self.path_of(key);
        items
            .iter()
            .enumerate()
            .map(|(index, item)| self.enter(format!("{path}[{index}]"), Some(item), &read).0)
            .collect()
    }

    fn enter<T>(
        &mut self,
        path: String,
        node: Option<&'n Node>,
        read: impl FnOnce(&mut Section<'n, '_>) -> T,
    ) -> (T, Vec<KeyDoc>) {
        let mut inner = Section { reading: &mut *self.reading, path, node, keys: Vec::new() };
        if node.is_some_and(|node| !matches!(node.content, Content::Map(_))) {
            inner.problem("", "must be a section with keys of its own", None);
            inner.node = None;
        }
        let value = read(&mut inner);
        (value, inner.finish())
    }

    /// Reports the keys that nobody asked for, and hands back those that were.
    pub(super) fn finish(mut self) -> Vec<KeyDoc> {
        let Some(Node { content: Content::Map(entries), .. }) = self.node else { return self.keys };
        let known: Vec<&str> = self.keys.iter().flat_map(KeyDoc::spellings).collect();
        let unknown: Vec<&Entry> = entries.iter().filter(|entry| !known.contains(&entry.key.as_str())).collect();
        let hints: Vec<Option<String>> = unknown.iter().map(|entry| nearest(&entry.key, &known)).collect();
        for (entry, hint) in unknown.into_iter().zip(hints) {
            self.report(self.path_of(&entry.key), entry.origin.clone(), format!("unknown key `{}`", entry.key), hint);
        }
        self.keys
    }
}

/// How alike a mistyped word and the word that was meant are at least: two swapped letters of three still count.
const NEAR: f64 = 0.6;

/// The known word that `word` was probably meant to be, or all of them where none is near.
fn nearest(word: &str, known: &[&str]) -> Option<String> {
    let likeness = |candidate: &str| {
        let is_part = word.len() > 2 && (candidate.contains(word) || word.contains(candidate));
        let edits = strsim::normalized_damerau_levenshtein(word, candidate);
        if is_part { edits.max(NEAR) } else { edits }
    };
    let scored = known.iter().map(|candidate| (candidate, likeness(candidate)));
    let (near, score) = scored.max_by(|a, b| a.1.total_cmp(&b.1))?;
    if score >= NEAR {
        return Some(format!("did you mean `{near}`?"));
    }
    let mut all = known.to_vec();
    all.sort_unstable();
    Some(format!("known here: {}", all.join(", ")))
}
