//! Consents (45 CFR 164.508; 42 CFR 2.31): signed by or for a client, with all that makes one valid, and revocable.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::not_now::NotNow;

/// One row. `kind` is one of [`KINDS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    #[serde(rename = "consent_id")]
    pub id: Arc<str>,
    pub tenant: Arc<str>,
    pub client: Arc<str>,
    pub kind: Arc<str>,
    pub discloser: Arc<str>,
    /// A person's id, a role or an organization.
    pub recipient: Arc<str>,
    pub purposes: Vec<Arc<str>>,
    pub fields: Vec<Arc<str>>,
    pub signed_by: Arc<str>,
    pub signed_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entered_by: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked_by: Option<Arc<str>>,
}

/// One for treatment, payment and operations may last until it is revoked; every other kind names its end.
const LASTING: &str = "part2_tpo";
pub const KINDS: [&str; 5] = ["hipaa_508", "psychotherapy_508", LASTING, "part2_specific", "sud_counseling"];
const IN_FORCE: &str = "in_force";
/// Two signatures that are no further apart are one paper, typed twice.
const ONE_SIGNING: SignedDuration = SignedDuration::from_hours(24);

impl Consent {
    /// Whether it ends, where it must.
    pub fn is_end_said(&self) -> bool {
        &*self.kind == LASTING || self.expires_at.is_some()
    }

    /// The word for where it stands at `now`.
    pub fn standing(&self, now: Timestamp) -> &'static str {
        let is_past = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
        if is_past(self.revoked_at) {
            "revoked"
        } else if is_past(self.expires_at) {
            "expired"
        } else {
            IN_FORCE
        }
    }

    /// Whether `other` is the same paper entered before: signed by the same person within 24 h for all of it, and lasting as
    /// long. The end of this one would end nothing. What was signed again later, or by somebody else, is a paper of its
    /// own, and is kept.
    pub fn is_again(&self, other: &Self, now: Timestamp) -> bool {
        let set = |words: &[Arc<str>]| words.iter().cloned().collect::<BTreeSet<_>>();
        let lasts = match (self.expires_at, other.expires_at) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(end), Some(others)) => end <= others,
        };
        self.id != other.id
            && (&self.tenant, &self.client, &self.kind) == (&other.tenant, &other.client, &other.kind)
            && (&self.discloser, &self.recipient) == (&other.discloser, &other.recipient)
            && self.signed_by == other.signed_by
            && self.signed_at.duration_since(other.signed_at).abs() < ONE_SIGNING
            && set(&self.purposes) == set(&other.purposes)
            && set(&self.fields) == set(&other.fields)
            && self.standing(now) == IN_FORCE
            && other.standing(now) == IN_FORCE
            && lasts
    }

    /// Worth nothing from now on.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: it is worth nothing already.
    pub fn revoke(&mut self, by: &Arc<str>, now: Timestamp) -> Result<(), NotNow> {
        if self.standing(now) != IN_FORCE {
            return Err(NotNow("the consent is revoked or expired already"));
        }
        self.revoked_at = Some(now);
        self.revoked_by = Some(by.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-{text}T00:00:00Z").parse().unwrap()
    }

    fn consent() -> Consent {
        let word = Arc::<str>::from;
        Consent {
            id: word("CS"),
            tenant: word("T1"),
            client: word("C1"),
            kind: word("hipaa_508"),
            discloser: word("T1"),
            recipient: word("doc"),
            purposes: vec![word("TREAT"), word("HPAYMT")],
            fields: vec![word("clin.note"), word("clin.plan")],
            signed_by: word("C1"),
            signed_at: at("01-01"),
            expires_at: Some(at("12-31")),
            entered_by: None,
            revoked_at: None,
            revoked_by: None,
        }
    }

    #[test]
    fn the_same_paper_in_force_is_not_entered_again() {
        let now = at("03-10");
        // Whether the first says it again beside the second, and the second beside the first.
        let beside = |change: fn(&mut Consent)| {
            let mut other = Consent { id: "CS'".into(), ..consent() };
            change(&mut other);
            (consent().is_again(&other, now), other.is_again(&consent(), now))
        };
        assert_eq!(beside(|_| {}), (true, true));
        let hours_later = |row: &mut Consent| row.signed_at = "2026-01-01T10:00:00Z".parse().unwrap();
        assert_eq!(beside(hours_later), (true, true), "typed with another hour");
        assert_eq!(beside(|row| row.purposes.reverse()), (true, true), "in any order");
        assert_eq!(beside(|row| row.expires_at = Some(at("06-01"))), (false, true), "the longer one adds something");
        assert_eq!(beside(|row| row.expires_at = None), (true, false));
        let apart = (false, false);
        assert_eq!(beside(|row| row.signed_at = at("02-01")), apart, "signed anew");
        assert_eq!(beside(|row| row.signed_by = "guardian".into()), apart, "another signature");
        assert_eq!(beside(|row| row.expires_at = Some(at("03-10"))), apart, "expired");
        assert_eq!(beside(|row| row.revoked_at = Some(at("03-01"))), apart);
        assert_eq!(beside(|row| row.recipient = "bil".into()), apart);
        assert_eq!(beside(|row| row.discloser = "T2".into()), apart);
        assert_eq!(beside(|row| row.client = "C2".into()), apart);
        assert_eq!(beside(|row| row.kind = "part2_specific".into()), apart);
        assert_eq!(beside(|row| drop(row.purposes.pop())), apart);
        assert_eq!(beside(|row| drop(row.fields.pop())), apart);
        assert!(!consent().is_again(&consent(), now), "itself");
    }
}
