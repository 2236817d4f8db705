//! Single values, lists of them, paths and secrets.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::{Said, Section, nearest};
use crate::config::{describe::Kind, document::Content, problem::Origin, secret::Secret};

impl<'n> Section<'n, '_> {
    fn said(&mut self, key: &'static str) -> Option<Said<'n>> {
        let node = self.child(key)?;
        let Content::Scalar(text) = &node.content else {
            self.problem(key, "must be a single value", None);
            return None;
        };
        Some(Said { text, origin: &node.origin })
    }

    pub(in crate::config) fn text(&mut self, key: &'static str, doc: &'static str) -> Option<String> {
        self.describe(key, doc, Kind::Text { default: None });
        let said = self.said(key)?;
        if said.text.is_empty() {
            self.problem(key, "is empty", Some("leave the key out, or give it a value".to_owned()));
            return None;
        }
        Some(said.text.to_owned())
    }

    pub(in crate::config) fn number(
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
    pub(in crate::config) fn size(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<u64>,
        doc: &'static str,
    ) -> usize {
        let value = self.number(key, u64::try_from(default).unwrap_or(u64::MAX), range, doc);
        usize::try_from(value).unwrap_or(default)
    }

    pub(in crate::config) fn flag(&mut self, key: &'static str, default: bool, doc: &'static str) -> bool {
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
    pub(in crate::config) fn choice<T: Copy + PartialEq>(
        &mut self,
        key: &'static str,
        default: T,
        words: &[(&'static str, T)],
        doc: &'static str,
    ) -> T {
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
    pub(in crate::config) fn choices<T: Copy>(
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

    pub(in crate::config) fn texts(
        &mut self,
        key: &'static str,
        default: &[&'static str],
        doc: &'static str,
    ) -> Vec<String> {
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

    pub(in crate::config) fn ids(&mut self, key: &'static str, doc: &'static str) -> Vec<u32> {
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
    pub(in crate::config) fn pairs(&mut self, key: &'static str, doc: &'static str) -> BTreeMap<String, String> {
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

    pub(in crate::config) fn address(
        &mut self,
        key: &'static str,
        default: SocketAddr,
        doc: &'static str,
    ) -> SocketAddr {
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

    pub(in crate::config) fn path(&mut self, key: &'static str, default: &str, doc: &'static str) -> PathBuf {
        self.describe(key, doc, Kind::Text { default: Some(default.to_owned()) });
        let Some(said) = self.said(key) else { return self.reading.base.join(default) };
        if said.text.is_empty() {
            self.problem(key, "is empty", None);
        }
        self.resolve(said)
    }

    pub(in crate::config) fn optional_path(&mut self, key: &'static str, doc: &'static str) -> Option<PathBuf> {
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
    pub(in crate::config) fn secret(
        &mut self,
        key: &'static str,
        key_file: &'static str,
        doc: &'static str,
    ) -> Option<Secret> {
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
    pub(in crate::config) fn secrets_in_files(&mut self, key: &'static str, doc: &'static str) -> Vec<Secret> {
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
