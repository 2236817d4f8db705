//! Emergency grants: what one is, what the rules of a bundle say about them, and every step that one may take.
//!
//! Pure, and time is a parameter. A step gives the grant as it is afterwards, or says why there is none: nothing here
//! changes a row, and nothing elsewhere decides whether one may change.

mod alerts;
mod justification;
mod opened;
mod steps;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use alerts::{Alert, HISTORY_SPAN, History, alerts};
pub use justification::{JUSTIFICATION_CHARS_MAX, is_a_reason};
pub use opened::opened;
pub use steps::{Asked, Illegal};

/// How long a second person has to approve.
pub const APPROVAL_WITHIN: SignedDuration = SignedDuration::from_mins(15);

/// What `grants` of `reasons.yaml` says: why a grant may be asked for, and what it opens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRules {
    /// The action that the policies must allow the person on the client.
    pub action: Arc<str>,
    /// Opened by every grant.
    #[serde(default)]
    pub always: Vec<Arc<str>>,
    /// Opened where the request names no groups.
    pub default: Vec<Arc<str>>,
    /// Opened only where the request names them.
    #[serde(default)]
    pub by_request: Vec<Arc<str>>,
    pub reasons: BTreeMap<Arc<str>, GrantReason>,
    /// What the application must do under a grant.
    #[serde(default)]
    pub obligations: Vec<Arc<str>>,
}

/// One reason code.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantReason {
    /// The purpose of use that it stands for (HL7 v3-ActReason).
    pub purpose: Arc<str>,
    /// Groups that it opens beside the default ones, and that it alone lets one ask for by name.
    #[serde(default)]
    pub opens: Vec<Arc<str>>,
    #[serde(default)]
    pub needs: Option<Need>,
}

/// What a reason asks for beside a justification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// A second person agrees before anything opens.
    Approval,
    /// To whom the records go is documented.
    Recipient,
    /// A disaster of the tenant is declared.
    Disaster,
}

/// What an operator sets about grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantLimits {
    /// Where nobody says how long.
    pub default_seconds: i64,
    /// From the activation on, extensions included.
    pub most_seconds: i64,
    pub extensions_max: i64,
}

/// A state as it is stored. That a grant is over is computed, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    Pending,
    Rejected,
    Active,
    Ended,
    Revoked,
}

impl GrantState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Rejected => "rejected",
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
        }
    }

    /// The state behind its stored word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Pending, Self::Rejected, Self::Active, Self::Ended, Self::Revoked]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// Where a grant stands at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Pending,
    /// By a person, or because nobody approved in time.
    Rejected,
    Active,
    Ended,
    Revoked,
    Expired,
}

impl Standing {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Rejected => "rejected",
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// Whether the grant opened something once and does so no more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Revoked | Self::Expired)
    }
}

/// To whom records of substance use go in an emergency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    pub name: String,
    pub affiliation: String,
}

impl Recipient {
    /// Whether it says who and from where.
    pub fn is_whole(&self) -> bool {
        !self.name.trim().is_empty() && !self.affiliation.trim().is_empty()
    }
}

/// One emergency grant: one person, one client, some groups, for minutes, for reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub id: Arc<str>,
    pub tenant: Arc<str>,
    pub user: Arc<str>,
    pub client: Arc<str>,
    pub reason_code: Arc<str>,
    /// Free text of the person; never in a log.
    pub justification: Arc<str>,
    pub groups: Vec<Arc<str>>,
    pub state: GrantState,
    pub requested_at: Timestamp,
    /// How long it was asked for, which counts once somebody approves.
    pub wished_seconds: i64,
    pub approver: Option<Arc<str>>,
    pub activated_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub extensions: i64,
    pub ended_at: Option<Timestamp>,
    pub ended_by: Option<Arc<str>>,
    pub recipient: Option<Recipient>,
}

impl Grant {
    /// Where it stands at `now`.
    pub fn standing(&self, now: Timestamp) -> Standing {
        match self.state {
            GrantState::Pending if now < self.approve_by() => Standing::Pending,
            GrantState::Pending | GrantState::Rejected => Standing::Rejected,
            GrantState::Active if self.expires_at.is_some_and(|end| now < end) => Standing::Active,
            GrantState::Active => Standing::Expired,
            GrantState::Ended => Standing::Ended,
            GrantState::Revoked => Standing::Revoked,
        }
    }

    /// From this instant on nobody can approve it any more.
    pub fn approve_by(&self) -> Timestamp {
        self.requested_at.saturating_add(APPROVAL_WITHIN).unwrap_or(Timestamp::MAX)
    }

    /// When it stopped opening anything, or will; `None`: it never opened anything.
    pub fn over_at(&self) -> Option<Timestamp> {
        match self.state {
            GrantState::Pending | GrantState::Rejected => None,
            GrantState::Active | GrantState::Ended | GrantState::Revoked => match (self.ended_at, self.expires_at) {
                (Some(ended), Some(expires)) => Some(ended.min(expires)),
                (ended, expires) => ended.or(expires),
            },
        }
    }
}
