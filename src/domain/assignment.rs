//! Assignments: one person may work with one client, within a window. Never deleted, only ended.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::not_now::{NotNow, overlap};

/// How far an assignment reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    #[default]
    Full,
    SessionData,
    ScheduleOnly,
    ReadOnly,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Full, Self::SessionData, Self::ScheduleOnly, Self::ReadOnly];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::SessionData => "session_data",
            Self::ScheduleOnly => "schedule_only",
            Self::ReadOnly => "read_only",
        }
    }

    /// The scope behind its stored word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    #[serde(rename = "assignment_id")]
    pub id: Arc<str>,
    pub tenant: Arc<str>,
    pub client: Arc<str>,
    pub user: Arc<str>,
    pub scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service_authorization: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub service_codes: Vec<Arc<str>>,
    pub assigned_by: Arc<str>,
    pub from: Timestamp,
    /// `None`: open-ended.
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

const OVER: NotNow = NotNow("the assignment is over: make another one");

impl Assignment {
    /// The word for where it stands at `now`.
    pub fn standing(&self, now: Timestamp) -> &'static str {
        let is_past = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
        if is_past(self.ended_at) && self.to.is_none_or(|to| self.ended_at <= Some(to)) {
            "ended"
        } else if is_past(self.to) {
            "expired"
        } else if now < self.from {
            "not_started"
        } else {
            "active"
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        matches!(self.standing(now), "ended" | "expired")
    }

    /// Whether `other` assigns the same over again at some instant from `now` on: the end of one would end nothing.
    pub fn is_again(&self, other: &Self, now: Timestamp) -> bool {
        let codes = |of: &Self| of.service_codes.iter().cloned().collect::<BTreeSet<_>>();
        self.id != other.id
            && (&self.tenant, &self.user, &self.client) == (&other.tenant, &other.user, &other.client)
            && (self.scope, &self.service_authorization) == (other.scope, &other.service_authorization)
            && codes(self) == codes(other)
            && !self.is_over(now)
            && !other.is_over(now)
            && overlap(self.window(), other.window())
    }

    /// From when on, and until when: whichever end comes first.
    fn window(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (Some(self.from), self.to.into_iter().chain(self.ended_at).min())
    }

    /// Over from now on.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: it is over already.
    pub fn end(&mut self, by: &Arc<str>, reason: Option<&Arc<str>>, now: Timestamp) -> Result<(), NotNow> {
        if self.is_over(now) {
            return Err(OVER);
        }
        self.ended_at = Some(now);
        self.ended_by = Some(by.clone());
        self.end_reason = reason.cloned();
        Ok(())
    }

    /// Another window. What has begun has begun, and nothing ends in the past.
    ///
    /// # Errors
    ///
    /// [`NotNow`] where that is not so, or it would end before it begins.
    pub fn move_window(&mut self, from: Option<Timestamp>, to: End, now: Timestamp) -> Result<(), NotNow> {
        if self.is_over(now) {
            return Err(OVER);
        }
        if let Some(from) = from.filter(|from| *from != self.from) {
            if self.from <= now {
                return Err(NotNow("the assignment has begun: only its end can be moved"));
            }
            self.from = from;
        }
        match to {
            End::Same => {}
            End::Open => self.to = None,
            End::At(to) if to <= now => return Err(NotNow("nothing ends in the past: `end` ends it at once")),
            End::At(to) => self.to = Some(to),
        }
        if self.to.is_some_and(|to| to <= self.from) {
            return Err(NotNow("the assignment would end before it begins"));
        }
        Ok(())
    }
}

/// What becomes of the end of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Same,
    /// It has none.
    Open,
    At(Timestamp),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-03-{text}:00:00Z").parse().unwrap()
    }

    fn assignment() -> Assignment {
        let word = Arc::<str>::from;
        Assignment {
            id: word("A"),
            tenant: word("T1"),
            client: word("C1"),
            user: word("ana"),
            scope: Scope::Full,
            service_authorization: None,
            service_codes: Vec::new(),
            assigned_by: word("sid"),
            from: at("10T08"),
            to: Some(at("12T08")),
            reason: None,
            ended_at: None,
            ended_by: None,
            end_reason: None,
        }
    }

    #[test]
    fn it_stands_by_its_window_and_ends_once() {
        let mut made = assignment();
        for (hour, word) in [("10T07", "not_started"), ("10T08", "active"), ("12T07", "active"), ("12T08", "expired")] {
            assert_eq!(made.standing(at(hour)), word, "{hour}");
        }
        made.end(&"sid".into(), None, at("11T00")).unwrap();
        assert_eq!((made.standing(at("10T23")), made.standing(at("11T00"))), ("active", "ended"));
        assert_eq!(made.standing(at("13T00")), "ended");
        assert!(made.end(&"sid".into(), None, at("11T01")).is_err());
        assert!(made.move_window(None, End::Open, at("11T01")).is_err());
        assert!(assignment().end(&"sid".into(), None, at("12T08")).is_err(), "expired");
    }

    #[test]
    fn the_same_over_again_is_known_while_both_count_at_one_instant() {
        let now = at("10T12");
        let other = |change: fn(&mut Assignment)| {
            let mut other = Assignment { id: "B".into(), ..assignment() };
            change(&mut other);
            (assignment().is_again(&other, now), other.is_again(&assignment(), now))
        };
        let (again, apart) = ((true, true), (false, false));
        assert_eq!(other(|_| {}), again);
        assert_eq!(other(|row| (row.reason, row.assigned_by) = (Some("another".into()), "sup".into())), again);
        assert_eq!(other(|row| (row.from, row.to) = (at("12T07"), None)), again, "an hour in common");
        assert_eq!(other(|row| (row.from, row.to) = (at("12T08"), None)), apart, "one after the other");
        assert_eq!(other(|row| row.to = Some(at("10T12"))), apart, "expired");
        assert_eq!(other(|row| row.ended_at = Some(at("10T11"))), apart, "ended");
        assert_eq!(other(|row| row.scope = Scope::ReadOnly), apart);
        assert_eq!(other(|row| row.user = "ben".into()), apart);
        assert_eq!(other(|row| row.client = "C2".into()), apart);
        assert_eq!(other(|row| row.tenant = "T2".into()), apart);
        assert_eq!(other(|row| row.service_authorization = Some("SA1".into())), apart);
        assert_eq!(other(|row| row.service_codes = vec!["97153".into()]), apart);
        assert!(!assignment().is_again(&assignment(), now), "itself");
        let codes = |codes: [&str; 2]| Assignment {
            id: codes[0].into(),
            service_codes: codes.map(Arc::from).to_vec(),
            ..assignment()
        };
        assert!(codes(["97153", "97155"]).is_again(&codes(["97155", "97153"]), now), "in any order");
    }

    #[test]
    fn a_window_is_moved_forward_only() {
        let now = at("11T00");
        let moved = |from, to| {
            let mut made = assignment();
            made.move_window(from, to, now).map(|()| (made.from, made.to))
        };
        assert_eq!(moved(None, End::Open).unwrap(), (at("10T08"), None));
        assert_eq!(moved(Some(at("10T08")), End::At(at("14T00"))).unwrap(), (at("10T08"), Some(at("14T00"))));
        assert!(moved(Some(at("11T02")), End::Same).is_err(), "begun");
        assert!(moved(None, End::At(now)).is_err(), "in the past");
        let mut waiting = assignment();
        assert!(waiting.clone().move_window(Some(at("12T08")), End::Same, at("09T00")).is_err(), "empty");
        waiting.move_window(Some(at("12T07")), End::Same, at("09T00")).unwrap();
        assert_eq!(waiting.from, at("12T07"));
    }
}
