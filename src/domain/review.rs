//! Reviews: every grant has one. What it is due for, who may not close it, and every step that it may take.
//!
//! Not every grant is read by a person: one that a fact explains closes by itself once it is due, save one in ten.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::grant::{Grant, Standing};

/// From the end of the grant to the first look.
pub const FIRST_LOOK_WITHIN: SignedDuration = SignedDuration::from_hours(24);
/// From the first look's due date to that of the closing: five days after the grant's end.
const CLOSED_WITHIN: SignedDuration = SignedDuration::from_hours(4 * 24);
/// One explained grant in so many is read by a person all the same.
const SAMPLED_ONE_IN: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    Normal,
    High,
}

impl Priority {
    /// What raises a review outweighs what explains the grant: somebody looks.
    pub const fn of(is_explained: bool, is_raised: bool) -> Self {
        match (is_raised, is_explained) {
            (true, _) => Self::High,
            (false, true) => Self::Low,
            (false, false) => Self::Normal,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Low, Self::Normal, Self::High].into_iter().find(|priority| priority.as_str() == word)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewState {
    Pending,
    InReview,
    NeedsInfo,
    /// Past due: computed, and also a word that a row may hold.
    Escalated,
    Closed,
}

impl ReviewState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InReview => "in_review",
            Self::NeedsInfo => "needs_info",
            Self::Escalated => "escalated",
            Self::Closed => "closed",
        }
    }

    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Pending, Self::InReview, Self::NeedsInfo, Self::Escalated, Self::Closed]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// What a review found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    Justified,
    /// The access was right and the rights were wrong: an assignment is proposed.
    FixAccess,
    /// An incident is opened.
    Unjustified,
    /// Nothing was needed after all.
    FalseStart,
}

impl Disposition {
    pub const ALL: [Self; 4] = [Self::Justified, Self::FixAccess, Self::Unjustified, Self::FalseStart];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Justified => "justified",
            Self::FixAccess => "fix_access",
            Self::Unjustified => "unjustified",
            Self::FalseStart => "false_start",
        }
    }

    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|disposition| disposition.as_str() == word)
    }
}

/// A step that no review can take. The caller of the API gets a 409.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreviewable {
    #[error("the review is closed")]
    Closed,
    #[error("the review is {}: nothing was asked for", .0.as_str())]
    NothingAsked(ReviewState),
    #[error("the review waits for an answer already")]
    Waiting,
    #[error("nobody took the review yet: take it first")]
    Untaken,
    #[error("somebody else took the review")]
    Taken,
    #[error("the grant still runs: end or revoke it first")]
    Running,
    #[error("nobody reviews what they took or approved themselves")]
    Own,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    pub id: Arc<str>,
    pub grant_id: Arc<str>,
    pub tenant: Arc<str>,
    pub priority: Priority,
    /// The facts that explain the grant, as words.
    pub explanation: Option<Arc<str>>,
    pub due_at: Timestamp,
    pub reviewer: Option<Arc<str>>,
    pub state: ReviewState,
    pub disposition: Option<Disposition>,
    pub closed_at: Option<Timestamp>,
}

impl Review {
    /// The review of a new grant.
    pub fn of(grant: &Grant, id: Arc<str>, explained: &[Arc<str>], is_raised: bool) -> Self {
        let explanation = (!explained.is_empty()).then(|| Arc::from(explained.join(" ")));
        Self {
            id,
            grant_id: grant.id.clone(),
            tenant: grant.tenant.clone(),
            priority: Priority::of(explanation.is_some(), is_raised),
            explanation,
            due_at: due_at(grant),
            reviewer: None,
            state: ReviewState::Pending,
            disposition: None,
            closed_at: None,
        }
    }

    /// The same with a fact that came later and explains the grant; nothing where one does already.
    #[must_use]
    pub fn explained_by(self, word: &str) -> Self {
        if self.explanation.is_some() {
            return self;
        }
        let priority = if self.priority == Priority::Normal { Priority::Low } else { self.priority };
        Self { explanation: Some(word.into()), priority, ..self }
    }

    /// The review after its grant went a step: due by the grant's end. A rejected grant opened nothing: nothing to review.
    #[must_use]
    pub fn following(self, grant: &Grant, now: Timestamp) -> Self {
        let is_open = self.state != ReviewState::Closed;
        match grant.standing(now) {
            Standing::Rejected if is_open => Self { state: ReviewState::Closed, closed_at: grant.ended_at, ..self },
            Standing::Rejected => self,
            Standing::Pending | Standing::Active | Standing::Ended | Standing::Revoked | Standing::Expired => {
                Self { due_at: due_at(grant), ..self }
            }
        }
    }

    /// The same as of `now`: escalated when past due, closed where nobody needs to look.
    #[must_use]
    pub fn as_of(self, grant: &Grant, now: Timestamp) -> Self {
        if self.state == ReviewState::Closed {
            return self;
        }
        if grant.standing(now) == Standing::Rejected {
            return Self { state: ReviewState::Closed, closed_at: Some(grant.approve_by().min(now)), ..self };
        }
        if self.state == ReviewState::Pending && self.closes_by_itself() && now >= self.due_at {
            let disposition = Some(Disposition::Justified);
            return Self { state: ReviewState::Closed, disposition, closed_at: Some(self.due_at), ..self };
        }
        if self.is_overdue(now) { Self { state: ReviewState::Escalated, ..self } } else { self }
    }

    /// Whether it closes when it is due, without a person: a fact explains the grant, nothing raised it, and it is not
    /// among those that are read all the same.
    pub fn closes_by_itself(&self) -> bool {
        self.explanation.is_some() && self.priority == Priority::Low && !is_sampled(&self.id)
    }

    fn is_overdue(&self, now: Timestamp) -> bool {
        let closing = self.due_at.saturating_add(CLOSED_WITHIN).unwrap_or(Timestamp::MAX);
        match self.state {
            ReviewState::Closed => false,
            ReviewState::Escalated => true,
            ReviewState::Pending => now >= self.due_at,
            ReviewState::InReview | ReviewState::NeedsInfo => now >= closing,
        }
    }

    /// Somebody takes it up; asking twice changes nothing.
    ///
    /// # Errors
    ///
    /// [`Unreviewable`]: closed, taken by somebody else, or the reviewer took or approved the grant.
    pub fn take(self, grant: &Grant, by: &Arc<str>, now: Timestamp) -> Result<Self, Unreviewable> {
        refuse_own(grant, by)?;
        let open = self.open(grant, now)?;
        if open.reviewer.as_ref().is_some_and(|reviewer| reviewer != by) {
            return Err(Unreviewable::Taken);
        }
        let state = if open.state == ReviewState::NeedsInfo { ReviewState::NeedsInfo } else { ReviewState::InReview };
        Ok(Self { reviewer: Some(by.clone()), state, ..open })
    }

    /// The reviewer asks the grant's holder.
    ///
    /// # Errors
    ///
    /// [`Unreviewable`]: not taken, taken by somebody else, closed, or asked already.
    pub fn ask(self, grant: &Grant, by: &Arc<str>, now: Timestamp) -> Result<Self, Unreviewable> {
        refuse_own(grant, by)?;
        let open = self.open(grant, now)?;
        match (&open.reviewer, open.state) {
            (None, _) => Err(Unreviewable::Untaken),
            (Some(reviewer), _) if reviewer != by => Err(Unreviewable::Taken),
            (Some(_), ReviewState::NeedsInfo) => Err(Unreviewable::Waiting),
            (Some(_), _) => Ok(Self { state: ReviewState::NeedsInfo, ..open }),
        }
    }

    /// What was asked for is there.
    ///
    /// # Errors
    ///
    /// [`Unreviewable`]: nothing was asked.
    pub fn answered(self, grant: &Grant, by: &Arc<str>, now: Timestamp) -> Result<Self, Unreviewable> {
        refuse_own(grant, by)?;
        let open = self.open(grant, now)?;
        match open.state {
            ReviewState::NeedsInfo => Ok(Self { state: ReviewState::InReview, ..open }),
            other @ (ReviewState::Pending | ReviewState::InReview | ReviewState::Escalated | ReviewState::Closed) => {
                Err(Unreviewable::NothingAsked(other))
            }
        }
    }

    /// The review ends; whoever closes it has taken it.
    ///
    /// # Errors
    ///
    /// [`Unreviewable`]: the grant still runs, the review is closed or somebody else's, or the reviewer's own.
    pub fn close(
        self,
        grant: &Grant,
        by: &Arc<str>,
        disposition: Disposition,
        now: Timestamp,
    ) -> Result<Self, Unreviewable> {
        let taken = self.take(grant, by, now)?;
        if !grant.standing(now).is_over() {
            return Err(Unreviewable::Running);
        }
        let closed_at = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Ok(Self { state: ReviewState::Closed, disposition: Some(disposition), closed_at: Some(closed_at), ..taken })
    }

    fn open(self, grant: &Grant, now: Timestamp) -> Result<Self, Unreviewable> {
        let is_closed = self.clone().as_of(grant, now).state == ReviewState::Closed;
        if is_closed { Err(Unreviewable::Closed) } else { Ok(self) }
    }
}

fn refuse_own(grant: &Grant, by: &Arc<str>) -> Result<(), Unreviewable> {
    if *by == grant.user || grant.approver.as_ref() == Some(by) { Err(Unreviewable::Own) } else { Ok(()) }
}

/// A day after the grant is over; one that waits counts from the last instant at which it can be approved.
fn due_at(grant: &Grant) -> Timestamp {
    let from = grant.over_at().unwrap_or_else(|| grant.approve_by()).max(grant.requested_at);
    from.saturating_add(FIRST_LOOK_WITHIN).unwrap_or(Timestamp::MAX)
}

/// The same for everybody who computes it, and not to be foreseen: ids are random at their end (FNV-1a).
fn is_sampled(id: &str) -> bool {
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash % SAMPLED_ONE_IN == 0
}
