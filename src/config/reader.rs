//! Reads sections: each call names a key, says what it is, and takes its value. What a section did not ask for is an
//! unknown key, and what it asked for is the JSON Schema: the three cannot drift apart.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::{
    describe::{KeyDoc, Kind},
    document::{Content, Entry, Node},
    problem::{ConfigProblem, Origin},
    secret::Secret,
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

    // --- values

    fn said(&mut self, key: &'static str) -> Option<Said<'n>> {
        let node = self.child(key)?;
        let Content::Scalar(text) = &node.content else {
            self.problem(key, "must be a single value", None);
            return None;
        };
        Some(Said { text, origin: &node.origin })
    }

    pub(super) fn text(&mut self, key: &'static str, doc: &'static str) -> Option<String> {
        self.describe(key, doc, Kind::Text { default: None });
        let said = self.said(key)?;
        if said.text.is_empty() {
            self.problem(key, "is empty", Some("leave the key out, or give it a value".to_owned()));
            return None;
        }
        Some(said.text.to_owned())
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
        doc: &'static str,
    ) -> u64 {
        self.describe(key, doc, Kind::Number { default, least: *range.start(), most: *range.end() });
        let Some(said) = self.said(key) else { return default };
        match said.text.replace('_', "").parse::<u64>() {
            Ok(value) if range.contains(&value) => value,
            Ok(value) => {
                self.problem(
                    key,
                    format!("{value} is out of range"),
                    Some(format!("between {} and {}", range.start(), range.end())),
                );
                default
            }
            Err(_) => {
                self.problem(
                    key,
                    format!("`{}` is not a whole number", said.text),
                    Some(format!("the default is {default}")),
                );
                default
            }
        }
    }

    /// A number of bytes or things that memory holds.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<u64>,
        doc: &'static str,
    ) -> usize {
        let value = self.number(key, u64::try_from(default).unwrap_or(u64::MAX), range, doc);
        usize::try_from(value).unwrap_or(default)
    }

    pub(super) fn flag(&mut self, key: &'static str, default: bool, doc: &'static str) -> bool {
        self.describe(key, doc, Kind::Flag { default });
        let Some(said) = self.said(key) else { return default };
        match said.text {
            "true" | "on" | "yes" => true,
            "false" | "off" | "no" => false,
            other => {
                self.problem(key, format!("`{other}` is neither true nor false"), None);
                default
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        words: &[(&'static str, T)],
        doc: &'static str,
    ) -> T
    where
        T: PartialEq,
    {
        let default_word = words.iter().find(|(_, value)| *value == default).map_or("", |(word, _)| word);
        self.describe(
            key,
            doc,
            Kind::Choice { default: default_word, words: words.iter().map(|(word, _)| *word).collect() },
        );
        let Some(said) = self.said(key) else { return default };
        self.word(key, said.text, words).unwrap_or(default)
    }

    fn word<T: Copy>(&mut self, key: &str, text: &str, words: &[(&'static str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.problem(key, format!("`{text}` is not one of {}", known.join(", ")), nearest(text, &known));
        }
        found
    }

    /// A list of words out of a few.
    pub(super) fn choices<T: Copy>(
        &mut self,
        key: &'static str,
        default: &[&'static str],
        words: &[(&'static str, T)],
        doc: &'static str,
    ) -> Vec<T> {
        let known = words.iter().map(|(word, _)| *word).collect();
        self.describe(key, doc, Kind::Texts { default: default.to_vec(), words: known });
        let texts = self.texts_said(key).unwrap_or_else(|| default.iter().map(|word| (*word).to_owned()).collect());
        texts.iter().filter_map(|text| self.word(key, text, words)).collect()
    }

    pub(super) fn texts(&mut self, key: &'static str, default: &[&'static str], doc: &'static str) -> Vec<String> {
        self.describe(key, doc, Kind::Texts { default: default.to_vec(), words: Vec::new() });
        self.texts_said(key).unwrap_or_else(|| default.iter().map(|text| (*text).to_owned()).collect())
    }

    /// A list; a single value stands for a list of one.
    fn texts_said(&mut self, key: &str) -> Option<Vec<String>> {
        let node = self.child(key)?;
        let items = match &node.content {
            Content::List(items) => items.as_slice(),
            Content::Scalar(_) => std::slice::from_ref(node),
            Content::Map(_) | Content::Nothing => {
                self.problem(key, "must be a list", None);
                return None;
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match &item.content {
                Content::Scalar(text) if !text.is_empty() => texts.push(text.clone()),
                _ => self.report(
                    format!("{}[{index}]", self.path_of(key)),
                    item.origin.clone(),
                    "must be a word".to_owned(),
                    None,
                ),
            }
        }
        Some(texts)
    }

    pub(super) fn ids(&mut self, key: &'static str, doc: &'static str) -> Vec<u32> {
        self.describe(key, doc, Kind::Ids);
        let texts = self.texts_said(key).unwrap_or_default();
        let mut ids = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse() {
                Ok(id) => ids.push(id),
                Err(_) => self.problem(
                    key,
                    format!("`{text}` is not a numeric id"),
                    Some("names are not looked up: `id -u NAME` tells the number".to_owned()),
                ),
            }
        }
        ids
    }

    /// Words to words.
    pub(super) fn pairs(&mut self, key: &'static str, doc: &'static str) -> BTreeMap<String, String> {
        self.describe(key, doc, Kind::Pairs);
        let Some(node) = self.child(key) else { return BTreeMap::new() };
        let Content::Map(entries) = &node.content else {
            self.problem(key, "must be pairs, as `user: User`", None);
            return BTreeMap::new();
        };
        let mut pairs = BTreeMap::new();
        for entry in entries {
            match &entry.value.content {
                Content::Scalar(text) if !text.is_empty() => drop(pairs.insert(entry.key.clone(), text.clone())),
                _ => self.report(
                    format!("{}.{}", self.path_of(key), entry.key),
                    entry.origin.clone(),
                    "must be a word".to_owned(),
                    None,
                ),
            }
        }
        pairs
    }

    pub(super) fn address(&mut self, key: &'static str, default: SocketAddr, doc: &'static str) -> SocketAddr {
        self.describe(key, doc, Kind::Text { default: Some(default.to_string()) });
        let Some(said) = self.said(key) else { return default };
        let text = said
            .text
            .strip_prefix("localhost:")
            .map_or_else(|| said.text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse().unwrap_or_else(|_| {
            self.problem(
                key,
                format!("`{}` is not an address to listen on", said.text),
                Some(format!("an IP address and a port, as {default}")),
            );
            default
        })
    }

    pub(super) fn path(&mut self, key: &'static str, default: &str, doc: &'static str) -> PathBuf {
        self.describe(key, doc, Kind::Text { default: Some(default.to_owned()) });
        let Some(said) = self.said(key) else { return self.reading.base.join(default) };
        if said.text.is_empty() {
            self.problem(key, "is empty", None);
        }
        self.resolve(said)
    }

    pub(super) fn optional_path(&mut self, key: &'static str, doc: &'static str) -> Option<PathBuf> {
        self.describe(key, doc, Kind::Text { default: None });
        let said = self.said(key)?;
        Some(self.resolve(said))
    }

    fn resolve(&self, said: Said<'_>) -> PathBuf {
        match said.origin {
            Origin::File { .. } => self.reading.base.join(said.text),
            Origin::Environment(_) | Origin::Flag(_) | Origin::Unsaid => PathBuf::from(said.text),
        }
    }

    /// A secret: said in `key`, or kept in the file that `key_file` names.
    pub(super) fn secret(&mut self, key: &'static str, key_file: &'static str, doc: &'static str) -> Option<Secret> {
        self.describe(key, doc, Kind::Secret { key_file });
        if self.has(key) && self.has(key_file) {
            self.problem(key_file, format!("both `{key}` and `{key_file}` are given"), Some("keep one".to_owned()));
        }
        if self.has(key) {
            let text = self.said(key)?.text.to_owned();
            if text.trim().is_empty() {
                self.problem(key, "is empty", Some("an empty secret would let anybody in".to_owned()));
                return None;
            }
            return Some(Secret::new(text));
        }
        let said = self.said(key_file)?;
        let file = self.resolve(said);
        self.secret_in(key_file, &file)
    }

    /// Secrets kept in several files: the old and the new one of a rotation.
    pub(super) fn secrets_in_files(&mut self, key: &'static str, doc: &'static str) -> Vec<Secret> {
        self.describe(key, doc, Kind::Texts { default: Vec::new(), words: Vec::new() });
        let origin = self.origin_of(key);
        let files = self.texts_said(key).unwrap_or_default();
        files
            .iter()
            .filter_map(|file| self.secret_in(key, &self.resolve(Said { text: file, origin: &origin })))
            .collect()
    }

    fn secret_in(&mut self, key: &str, file: &Path) -> Option<Secret> {
        match std::fs::read_to_string(file) {
            Ok(text) if text.trim().is_empty() => {
                self.problem(
                    key,
                    format!("the file {} is empty", file.display()),
                    Some("an empty secret would let anybody in".to_owned()),
                );
                None
            }
            Ok(text) => Some(Secret::from_file(text.trim().to_owned(), file.to_owned())),
            Err(error) => {
                self.problem(key, format!("cannot read {}: {error}", file.display()), None);
                None
            }
        }
    }
}

/// The known word that `word` was probably meant to be, or all of them where none is near.
fn nearest(word: &str, known: &[&str]) -> Option<String> {
    let (near, score) = known
        .iter()
        .map(|candidate| (candidate, strsim::jaro_winkler(word, candidate)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    if score >= 0.75 {
        return Some(format!("did you mean `{near}`?"));
    }
    let mut all = known.to_vec();
    all.sort_unstable();
    Some(format!("known here: {}", all.join(", ")))
}
