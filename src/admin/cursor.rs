//! Where a page of a list ended: an instant and an id, in a form that nobody takes for either.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::error::AdminError;
use crate::domain::Timestamp;

/// The last row of the page before; empty at the beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct After(Option<(Timestamp, String)>);

impl After {
    pub(super) fn row(at: Timestamp, id: &str) -> Self {
        Self(Some((at, id.to_owned())))
    }

    pub(super) fn to_cursor(&self) -> Option<String> {
        self.0.as_ref().map(|(at, id)| write(*at, id))
    }

    /// Empty at the beginning.
    pub(super) fn id(&self) -> &str {
        self.0.as_ref().map(|(_, id)| id.as_str()).unwrap_or_default()
    }

    pub(super) fn at(&self) -> Timestamp {
        self.0.as_ref().map_or(Timestamp::UNIX_EPOCH, |(at, _)| *at)
    }
}

pub(super) fn write(at: Timestamp, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{at} {id}"))
}

pub(super) fn read(cursor: Option<&str>) -> Result<After, AdminError> {
    let Some(cursor) = cursor else { return Ok(After::default()) };
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (at, id) = text.split_once(' ')?;
        (!id.is_empty()).then_some(())?;
        Some((at.parse().ok()?, id.to_owned()))
    };
    let expected = || "must be one that a page gave as `next`".to_owned();
    read().map(|after| After(Some(after))).ok_or_else(|| AdminError::Malformed { path: "cursor", expected: expected() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_where_it_was_made_and_nothing_else_is_one() {
        let at: Timestamp = "2026-03-10T15:00:00Z".parse().unwrap();
        let after = read(Some(&write(at, "BG 1"))).unwrap();
        assert_eq!((after.at(), after.id()), (at, "BG 1"));
        assert_eq!(read(None).unwrap().id(), "");
        for wrong in ["", "x", "MjAyNg", &URL_SAFE_NO_PAD.encode("2026-03-10T15:00:00Z ")] {
            assert!(read(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
