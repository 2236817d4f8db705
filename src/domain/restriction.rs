//! Restrictions (45 CFR 164.522(a)): asked for by a client, agreed to or declined, and ended in one of three ways.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::not_now::{NotNow, covers};

/// One row. Words of a fixed list are kept as they are stored; [`KINDS`], [`TARGETS`] and [`ENDINGS`] are the lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restriction {
    #[serde(rename = "restriction_id")]
    pub id: Arc<str>,
    pub tenant: Arc<str>,
    pub client: Arc<str>,
    pub kind: Arc<str>,
    pub target_type: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_id: Option<Arc<str>>,
    /// Both `None`: every record of the client.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource_type: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource_id: Option<Arc<str>>,
    /// Empty: the whole record.
    pub fields: Vec<Arc<str>>,
    pub status: Arc<str>,
    pub emergency_exception: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub covers_created_before: Option<Timestamp>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decided_by: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requested_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requested_by: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_by: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_how: Option<Arc<str>>,
}

/// What was paid for in full stays from the health plan: that one must be agreed to, and no notice ends it.
pub const SELF_PAY: &str = "self_pay_health_plan";
pub const KINDS: [&str; 2] = ["agreed", SELF_PAY];
pub const TARGETS: [&str; 7] = ["user", "role", "organization", "health_plan", "purpose", "representative", "all"];
/// The client asks, or both agree, or the organization says so: then what was made before stays barred.
pub const ENDINGS: [&str; 3] = ["request", "oral_agreement", NOTICE];
const NOTICE: &str = "notice";

const REQUESTED: &str = "requested";

impl Restriction {
    /// Whether its target names somebody: some must, some cannot.
    pub fn is_target_whole(&self) -> bool {
        match &*self.target_type {
            "user" | "role" | "organization" | "purpose" => self.target_id.is_some(),
            "all" => self.target_id.is_none(),
            _ => true,
        }
    }

    /// The word for where it stands at `now`.
    pub fn standing(&self, now: Timestamp) -> &'static str {
        match &*self.status {
            "agreed" if self.to.is_some_and(|to| to <= now) => "expired",
            "agreed" if self.from.is_some_and(|from| now < from) => "not_started",
            "agreed" => "agreed",
            "declined" => "declined",
            "terminated" => "terminated",
            _ => REQUESTED,
        }
    }

    /// Whether `other` bars all that this one would, or will once it is agreed to: this one would add nothing. One that bars
    /// for longer is none: a restriction's window is never moved, so to refuse it would mean to lift the bar first.
    pub fn is_again(&self, other: &Self, now: Timestamp) -> bool {
        let counts = |of: &Self| matches!(of.standing(now), REQUESTED | "agreed" | "not_started");
        let fields = |of: &Self| of.fields.iter().cloned().collect::<BTreeSet<_>>();
        self.id != other.id
            && (&self.tenant, &self.client, &self.kind) == (&other.tenant, &other.client, &other.kind)
            && (&self.target_type, &self.target_id) == (&other.target_type, &other.target_id)
            && (&self.resource_type, &self.resource_id) == (&other.resource_type, &other.resource_id)
            && self.emergency_exception == other.emergency_exception
            && fields(self) == fields(other)
            && counts(self)
            && counts(other)
            && covers((other.from, other.to), (self.from, self.to))
    }

    fn is_asked(&self) -> Result<(), NotNow> {
        if &*self.status == REQUESTED { Ok(()) } else { Err(NotNow("the restriction was decided already")) }
    }

    /// In force from its start on.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: it was decided already.
    pub fn agree(&mut self, by: &Arc<str>) -> Result<(), NotNow> {
        self.is_asked()?;
        self.status = "agreed".into();
        self.decided_by = Some(by.clone());
        Ok(())
    }

    /// Never in force.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: it was decided already, or is one that must be agreed to.
    pub fn decline(&mut self, by: &Arc<str>) -> Result<(), NotNow> {
        self.is_asked()?;
        if &*self.kind == SELF_PAY {
            return Err(NotNow("what was paid for in full must be kept from the health plan: agree"));
        }
        self.status = "declined".into();
        self.decided_by = Some(by.clone());
        Ok(())
    }

    /// Ended at `now`, in one of [`ENDINGS`]. After a notice it still covers what was created before.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: it is not in force, or no notice ends it.
    pub fn terminate(&mut self, by: &Arc<str>, how: &Arc<str>, now: Timestamp) -> Result<(), NotNow> {
        if !matches!(self.standing(now), "agreed" | "not_started") {
            return Err(NotNow("the restriction is not in force"));
        }
        let is_by_notice = &**how == NOTICE;
        if is_by_notice && &*self.kind == SELF_PAY {
            return Err(NotNow("no notice ends this one: only the client's request or agreement does"));
        }
        // One that was never in force covered nothing.
        let was_in_force = self.standing(now) == "agreed";
        self.covers_created_before = (is_by_notice && was_in_force).then_some(now);
        self.status = "terminated".into();
        self.ended_at = Some(now);
        self.ended_by = Some(by.clone());
        self.ended_how = Some(how.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: &str) -> Restriction {
        let word = Arc::<str>::from;
        Restriction {
            id: word("R"),
            tenant: word("T1"),
            client: word("C1"),
            kind: word(kind),
            target_type: word("user"),
            target_id: Some(word("ben")),
            resource_type: None,
            resource_id: None,
            fields: Vec::new(),
            status: word(REQUESTED),
            emergency_exception: true,
            covers_created_before: None,
            from: None,
            to: None,
            decided_by: None,
            requested_at: None,
            requested_by: None,
            ended_at: None,
            ended_by: None,
            ended_how: None,
        }
    }

    #[test]
    fn each_kind_ends_as_the_rule_lets_it_and_a_notice_keeps_what_was() {
        let (by, now) = (Arc::from("pri"), "2026-03-10T15:00:00Z".parse().unwrap());
        for (kind, how, is_ended, covers) in [
            ("agreed", "request", true, None),
            ("agreed", "oral_agreement", true, None),
            ("agreed", "notice", true, Some(now)),
            (SELF_PAY, "request", true, None),
            (SELF_PAY, "oral_agreement", true, None),
            (SELF_PAY, "notice", false, None),
        ] {
            let mut row = asked(kind);
            assert!(row.terminate(&by, &how.into(), now).is_err(), "not in force yet");
            row.agree(&by).unwrap();
            assert!(row.agree(&by).is_err() && row.decline(&by).is_err(), "decided");
            assert_eq!(row.terminate(&by, &how.into(), now).is_ok(), is_ended, "{kind} {how}");
            assert_eq!((row.covers_created_before, row.standing(now) == "terminated"), (covers, is_ended));
        }
        assert!(asked(SELF_PAY).decline(&by).is_err());
        let mut row = asked("agreed");
        row.decline(&by).unwrap();
        assert!(row.agree(&by).is_err() && row.terminate(&by, &"request".into(), now).is_err());
    }

    #[test]
    fn the_same_over_again_is_known_while_both_bar_or_may() {
        let now = "2026-03-10T15:00:00Z".parse().unwrap();
        let other = |change: fn(&mut Restriction)| {
            let mut other = Restriction { id: "S".into(), ..asked("agreed") };
            change(&mut other);
            (asked("agreed").is_again(&other, now), other.is_again(&asked("agreed"), now))
        };
        let (again, apart) = ((true, true), (false, false));
        assert_eq!(other(|_| {}), again);
        assert_eq!(other(|row| row.agree(&"pri".into()).unwrap()), again);
        // One that bars for longer adds something, and one that bars for a part of that time adds nothing.
        assert_eq!(other(|row| row.from = "2026-04-01T00:00:00Z".parse().ok()), (false, true));
        assert_eq!(other(|row| row.decline(&"pri".into()).unwrap()), apart);
        assert_eq!(other(|row| row.status = "terminated".into()), apart);
        assert_eq!(
            other(|row| (row.status, row.to) = ("agreed".into(), "2026-03-10T15:00:00Z".parse().ok())),
            apart,
            "expired"
        );
        assert_eq!(other(|row| row.target_id = Some("mo".into())), apart);
        assert_eq!(other(|row| row.target_type = "role".into()), apart);
        assert_eq!(other(|row| row.kind = SELF_PAY.into()), apart);
        assert_eq!(other(|row| row.client = "C2".into()), apart);
        assert_eq!(other(|row| row.fields = vec!["clin.plan".into()]), apart);
        assert_eq!(other(|row| row.resource_id = Some("N1".into())), apart);
        assert_eq!(other(|row| row.emergency_exception = false), apart);
        assert!(!asked("agreed").is_again(&asked("agreed"), now), "itself");
    }
}
