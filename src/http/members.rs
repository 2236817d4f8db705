//! Members of a body that changes something: taken out one by one, each refusal with its place.

use jiff::civil::Date;
use serde_json::{Map, Value as Json};

use super::error::{ApiError, Code};
use crate::domain::Timestamp;

/// Bytes of `2026-03-10`.
const DATE_BYTES: usize = 10;

/// What is left of an object. A member that nobody takes is refused by [`Members::end`]: in a change, a misspelt word must
/// not pass for a default.
pub(super) struct Members {
    given: Map<String, Json>,
    /// Bytes of an id or a word.
    word_bytes_max: usize,
}

impl Members {
    pub(super) const fn new(given: Map<String, Json>, word_bytes_max: usize) -> Self {
        Self { given, word_bytes_max }
    }

    /// A word that may be missing.
    pub(super) fn word(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let bytes_max = self.word_bytes_max;
        match self.given.swap_remove(name) {
            None => Ok(None),
            Some(Json::String(word)) if word.len() > bytes_max => {
                Err(misfit(name, &format!("must not be longer than {bytes_max} bytes")))
            }
            Some(Json::String(word)) if word.is_empty() => Err(misfit(name, "must not be empty")),
            Some(Json::String(word)) => Ok(Some(word)),
            Some(_) => Err(misfit(name, "must be a string")),
        }
    }

    pub(super) fn some_word(&mut self, name: &str) -> Result<String, ApiError> {
        self.word(name)?.ok_or_else(|| misfit(name, "is required"))
    }

    /// Free text of a person.
    pub(super) fn text(&mut self, name: &str, chars_max: usize) -> Result<Option<String>, ApiError> {
        match self.given.swap_remove(name) {
            None => Ok(None),
            Some(Json::String(text)) if text.chars().count() <= chars_max => Ok(Some(text)),
            Some(Json::String(_)) => Err(misfit(name, &format!("must not be longer than {chars_max} characters"))),
            Some(_) => Err(misfit(name, "must be a string")),
        }
    }

    /// A list of words with at least one.
    pub(super) fn words(&mut self, name: &str, words_max: usize) -> Result<Option<Vec<String>>, ApiError> {
        let items = match self.given.swap_remove(name) {
            None => return Ok(None),
            Some(Json::Array(items)) if !items.is_empty() && items.len() <= words_max => items,
            Some(_) => return Err(misfit(name, &format!("must be a list of 1 to {words_max} strings"))),
        };
        let word = |(position, item): (usize, Json)| match item {
            Json::String(word) if word.len() <= self.word_bytes_max => Ok(word),
            _ => Err(misfit(&format!("{name}/{position}"), "must be a short string")),
        };
        items.into_iter().enumerate().map(word).collect::<Result<_, _>>().map(Some)
    }

    /// A number of seconds, more than none.
    pub(super) fn seconds(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.given.swap_remove(name) {
            None => Ok(None),
            Some(given) => match given.as_i64() {
                Some(seconds) if seconds > 0 => Ok(Some(seconds)),
                Some(_) | None => Err(misfit(name, "must be a whole number above 0")),
            },
        }
    }

    pub(super) fn some_instant(&mut self, name: &str) -> Result<Timestamp, ApiError> {
        let expected = "must be an instant such as `2026-03-10T15:00:00Z`";
        self.some_word(name)?.parse().map_err(|_error| misfit(name, expected))
    }

    /// An instant that may be missing.
    pub(super) fn instant(&mut self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        if self.given.contains_key(name) { self.some_instant(name).map(Some) } else { Ok(None) }
    }

    /// A calendar date that may be missing.
    pub(super) fn date(&mut self, name: &str) -> Result<Option<Date>, ApiError> {
        // `Date` reads the date of a whole instant as well: a day is ten characters, or it is not one.
        let read = |word: String| word.parse().ok().filter(|_| word.len() == DATE_BYTES);
        self.word(name)?
            .map(|word| read(word).ok_or_else(|| misfit(name, "must be a date such as `2026-03-10`")))
            .transpose()
    }

    /// Yes or no, or nothing said.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.given.swap_remove(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(misfit(name, "must be `true` or `false`")),
        }
    }

    /// A list of objects that may be missing.
    pub(super) fn objects(&mut self, name: &str, objects_max: usize) -> Result<Vec<Map<String, Json>>, ApiError> {
        let items = match self.given.swap_remove(name) {
            None => return Ok(Vec::new()),
            Some(Json::Array(items)) if items.len() <= objects_max => items,
            Some(_) => return Err(misfit(name, &format!("must be a list of at most {objects_max} objects"))),
        };
        let object = |(position, item): (usize, Json)| match item {
            Json::Object(object) => Ok(object),
            _ => Err(misfit(&format!("{name}/{position}"), "must be an object")),
        };
        items.into_iter().enumerate().map(object).collect()
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Map<String, Json>>, ApiError> {
        match self.given.swap_remove(name) {
            None => Ok(None),
            Some(Json::Object(object)) => Ok(Some(object)),
            Some(_) => Err(misfit(name, "must be an object")),
        }
    }

    /// Refuses what was not taken.
    pub(super) fn end(self) -> Result<(), ApiError> {
        match self.given.keys().next() {
            None => Ok(()),
            Some(name) => Err(misfit(name, "is not known here")),
        }
    }
}

pub(super) fn misfit(name: &str, expected: &str) -> ApiError {
    let mut path = String::new();
    for step in name.split('/') {
        super::json::push_step(&mut path, step);
    }
    ApiError::new(Code::Malformed, format!("{} {expected}", name.replace('/', "."))).at(path)
}
