//! Consents (45 CFR 164.508; 42 CFR 2.31): signed by or for a client, with all that makes one valid, and revocable.

use std::sync::Arc;

use jiff::Timestamp;
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
            "in_force"
        }
    }

    /// Worth nothing from now on.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: it is worth nothing already.
    pub fn revoke(&mut self, by: &Arc<str>, now: Timestamp) -> Result<(), NotNow> {
        if self.standing(now) != "in_force" {
            return Err(NotNow("the consent is revoked or expired already"));
        }
        self.revoked_at = Some(now);
        self.revoked_by = Some(by.clone());
        Ok(())
    }
}
