//! The query of a list: `?state=open&limit=20&cursor=…`, each word once.

use crate::{
    admin::page::{PAGE_MAX, Page},
    http::error::{ApiError, Code},
};

/// Words of a query; each is taken once, and none may be left.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(text: &str) -> Result<Self, ApiError> {
        let mut words: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if words.iter().any(|(known, _)| *known == name) {
                return Err(wrong(&name, "is given twice"));
            }
            words.push((name, value));
        }
        Ok(Self(words))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let position = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(position).1)
    }

    /// The words that every list takes.
    pub(super) fn page(&mut self) -> Result<Page, ApiError> {
        let limit = match self.take("limit") {
            None => None,
            Some(text) => {
                let limit = text.parse::<i64>().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                Some(limit.ok_or_else(|| wrong("limit", &format!("must be a number from 1 to {PAGE_MAX}")))?)
            }
        };
        Ok(Page { limit, cursor: self.take("cursor"), state: self.take("state"), ..Page::default() })
    }

    pub(super) fn end(self) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(wrong(&crate::domain::record::code_word(name), "is not known here")),
        }
    }
}

fn wrong(name: &str, expected: &str) -> ApiError {
    ApiError::new(Code::Malformed, format!("the query's `{name}` {expected}"))
}

fn decoded(text: &str) -> Result<String, ApiError> {
    let refuse = || ApiError::new(Code::Malformed, "the query is not well-formed");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit().ok_or_else(refuse)?, digit().ok_or_else(refuse)?);
                bytes.push(u8::try_from(high * 16 + low).map_err(|_over| refuse())?);
            }
            plain => bytes.push(plain),
        }
    }
    String::from_utf8(bytes).map_err(|_error| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_and_each_is_known_once() {
        let mut query = Query::read("state=open&user=a%20b&limit=2").unwrap();
        let page = query.page().unwrap();
        assert_eq!((page.state.as_deref(), page.limit), (Some("open"), Some(2)));
        assert_eq!(query.take("user").as_deref(), Some("a b"));
        assert!(query.end().is_ok());
        for wrong in ["a=1&a=2", "a=%4", "a=%zz", "a=%ff"] {
            assert!(Query::read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["limit=0", "limit=101", "limit=x"] {
            assert!(Query::read(wrong).unwrap().page().is_err(), "{wrong}");
        }
        assert!(Query::read("x=1").unwrap().end().is_err());
    }
}
