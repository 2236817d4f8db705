//! Suspensions: a person may do nothing, within a window. Never deleted, only ended.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::not_now::NotNow;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    #[serde(rename = "suspension_id")]
    pub id: Arc<str>,
    pub tenant: Arc<str>,
    pub user: Arc<str>,
    pub suspended_by: Arc<str>,
    pub from: Timestamp,
    /// `None`: until somebody ends it.
    pub to: Option<Timestamp>,
    /// What the administrator wrote.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_by: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_reason: Option<Arc<str>>,
}

impl Suspension {
    /// The word for where it stands at `now`.
    pub fn standing(&self, now: Timestamp) -> &'static str {
        if self.ended_at.is_some_and(|end| end <= now) {
            "ended"
        } else if self.to.is_some_and(|to| to <= now) {
            "expired"
        } else if now < self.from {
            "not_started"
        } else {
            "suspended"
        }
    }

    /// In force, or about to be.
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.standing(now), "suspended" | "not_started")
    }

    /// Over from now on.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: it is over already.
    pub fn end(&mut self, by: &Arc<str>, reason: Option<&Arc<str>>, now: Timestamp) -> Result<(), NotNow> {
        if !self.is_open(now) {
            return Err(NotNow("the suspension is over"));
        }
        self.ended_at = Some(now);
        self.ended_by = Some(by.clone());
        self.end_reason = reason.cloned();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_by_its_window_and_ends_once() {
        let at = |hour: &str| format!("2026-03-10T{hour}:00:00Z").parse::<Timestamp>().unwrap();
        let word = Arc::<str>::from;
        let mut made = Suspension {
            id: word("S"),
            tenant: word("T1"),
            user: word("ana"),
            suspended_by: word("sid"),
            from: at("08"),
            to: Some(at("20")),
            reason: None,
            ended_at: None,
            ended_by: None,
            end_reason: None,
        };
        for (hour, standing) in [("07", "not_started"), ("08", "suspended"), ("19", "suspended"), ("20", "expired")] {
            assert_eq!(made.standing(at(hour)), standing, "{hour}");
        }
        assert!(made.clone().end(&word("sid"), None, at("20")).is_err(), "expired");
        made.end(&word("sid"), Some(&word("Mended")), at("10")).unwrap();
        assert_eq!((made.standing(at("09")), made.standing(at("10"))), ("suspended", "ended"));
        assert!(made.end(&word("sid"), None, at("11")).is_err());
    }
}
