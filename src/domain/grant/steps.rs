//! The steps of a grant. Each is refused where it would lead out of what docs/domain.md §4.1 draws.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Grant, GrantLimits, GrantState, Need, Recipient, Standing};

/// A step that no grant can take. The caller of the API gets a 409.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    #[error("the grant is {}: nothing leads out of that", .0.as_str())]
    Over(Standing),
    #[error("the grant waits for an approval")]
    Waiting,
    #[error("the grant is active: only a waiting one is approved or rejected")]
    NotWaiting,
    #[error("the grant was extended already")]
    Extended,
    #[error("nobody approves the own grant")]
    Own,
    #[error("this person has an active grant for this client: end or extend that one")]
    Second,
}

/// A request for a grant that every check has let through.
#[derive(Clone, Debug)]
pub struct Asked {
    pub id: Arc<str>,
    pub tenant: Arc<str>,
    pub user: Arc<str>,
    pub client: Arc<str>,
    pub reason_code: Arc<str>,
    pub needs: Option<Need>,
    pub justification: Arc<str>,
    pub groups: Vec<Arc<str>>,
    pub duration_seconds: Option<i64>,
    pub recipient: Option<Recipient>,
}

impl Grant {
    /// A new grant: active at once, or waiting for a second person where the reason asks for one.
    ///
    /// # Errors
    ///
    /// [`Illegal::Second`] while one of `others`, the person's grants for the client, is active.
    pub fn requested(asked: Asked, others: &[Self], now: Timestamp, limits: GrantLimits) -> Result<Self, Illegal> {
        let now = whole(now);
        refuse_second(others, now)?;
        let wished = asked.duration_seconds.unwrap_or(limits.default_seconds).clamp(1, limits.most_seconds);
        let waits = asked.needs == Some(Need::Approval);
        let grant = Self {
            id: asked.id,
            tenant: asked.tenant,
            user: asked.user,
            client: asked.client,
            reason_code: asked.reason_code,
            justification: asked.justification,
            groups: asked.groups,
            state: GrantState::Pending,
            requested_at: now,
            wished_seconds: wished,
            approver: None,
            activated_at: None,
            expires_at: None,
            extensions: 0,
            ended_at: None,
            ended_by: None,
            recipient: asked.recipient,
        };
        Ok(if waits { grant } else { grant.activated(now) })
    }

    /// What was done while nothing could be asked, entered afterwards: over before it is known.
    pub fn after_the_fact(asked: Asked, from: Timestamp, to: Timestamp, now: Timestamp) -> Self {
        let (from, to) = (whole(from), whole(to));
        Self {
            ended_by: Some(asked.user.clone()),
            id: asked.id,
            tenant: asked.tenant,
            user: asked.user,
            client: asked.client,
            reason_code: asked.reason_code,
            justification: asked.justification,
            groups: asked.groups,
            state: GrantState::Ended,
            requested_at: whole(now),
            wished_seconds: to.duration_since(from).as_secs(),
            approver: None,
            activated_at: Some(from),
            expires_at: Some(to),
            extensions: 0,
            ended_at: Some(to),
            recipient: asked.recipient,
        }
    }

    /// A second person agrees.
    ///
    /// # Errors
    ///
    /// [`Illegal`]: it does not wait, nobody agreed in time, the person asks for themselves, or another one is active.
    pub fn approve(self, by: &Arc<str>, others: &[Self], now: Timestamp, limits: GrantLimits) -> Result<Self, Illegal> {
        let now = whole(now);
        self.must_wait(now)?;
        if *by == self.user {
            return Err(Illegal::Own);
        }
        refuse_second(others, now)?;
        // A row that another program wrote may not say how long was asked for.
        let wished = if self.wished_seconds > 0 { self.wished_seconds } else { limits.default_seconds };
        let grant = Self { wished_seconds: wished.min(limits.most_seconds), ..self };
        Ok(Self { approver: Some(by.clone()), ..grant.activated(now) })
    }

    /// A second person does not agree.
    ///
    /// # Errors
    ///
    /// [`Illegal`]: it does not wait any more.
    pub fn reject(self, by: &Arc<str>, now: Timestamp) -> Result<Self, Illegal> {
        let now = whole(now);
        self.must_wait(now)?;
        Ok(Self { state: GrantState::Rejected, ended_at: Some(now), ended_by: Some(by.clone()), ..self })
    }

    /// Runs on for `wish`, or as long as one runs by default; never past the most that one may last in all.
    ///
    /// # Errors
    ///
    /// [`Illegal`]: it is not active, or was extended as often as may be.
    pub fn extend(self, wish: Option<i64>, now: Timestamp, limits: GrantLimits) -> Result<Self, Illegal> {
        self.must_be_active(now)?;
        if self.extensions >= limits.extensions_max {
            return Err(Illegal::Extended);
        }
        let wish = wish.unwrap_or(limits.default_seconds).clamp(1, limits.most_seconds);
        let (Some(activated), Some(expires)) = (self.activated_at, self.expires_at) else {
            return Err(Illegal::Over(Standing::Expired));
        };
        let most = later(activated, limits.most_seconds);
        // A limit that was lowered meanwhile takes nothing away from what was granted.
        let expires_at = later(expires, wish).min(most).max(expires);
        Ok(Self { expires_at: Some(expires_at), extensions: self.extensions.saturating_add(1), ..self })
    }

    /// Its holder, or the application for them, needs it no more.
    ///
    /// # Errors
    ///
    /// [`Illegal`]: it is not active.
    pub fn end(self, by: &Arc<str>, now: Timestamp) -> Result<Self, Illegal> {
        self.must_be_active(now)?;
        Ok(self.closed(GrantState::Ended, by, now))
    }

    /// An officer takes it away.
    ///
    /// # Errors
    ///
    /// [`Illegal`]: it is not active.
    pub fn revoke(self, by: &Arc<str>, now: Timestamp) -> Result<Self, Illegal> {
        self.must_be_active(now)?;
        Ok(self.closed(GrantState::Revoked, by, now))
    }

    fn activated(self, now: Timestamp) -> Self {
        let expires_at = later(now, self.wished_seconds);
        Self { state: GrantState::Active, activated_at: Some(now), expires_at: Some(expires_at), ..self }
    }

    fn closed(self, state: GrantState, by: &Arc<str>, now: Timestamp) -> Self {
        Self { state, ended_at: Some(whole(now)), ended_by: Some(by.clone()), ..self }
    }

    fn must_wait(&self, now: Timestamp) -> Result<(), Illegal> {
        match self.standing(now) {
            Standing::Pending => Ok(()),
            Standing::Active => Err(Illegal::NotWaiting),
            over @ (Standing::Rejected | Standing::Ended | Standing::Revoked | Standing::Expired) => {
                Err(Illegal::Over(over))
            }
        }
    }

    fn must_be_active(&self, now: Timestamp) -> Result<(), Illegal> {
        match self.standing(now) {
            Standing::Active => Ok(()),
            Standing::Pending => Err(Illegal::Waiting),
            over @ (Standing::Rejected | Standing::Ended | Standing::Revoked | Standing::Expired) => {
                Err(Illegal::Over(over))
            }
        }
    }
}

fn refuse_second(others: &[Grant], now: Timestamp) -> Result<(), Illegal> {
    if others.iter().any(|grant| grant.standing(now) == Standing::Active) { Err(Illegal::Second) } else { Ok(()) }
}

/// Rows hold whole seconds. A grant begins and ends with the second that is running: never later than it was asked.
fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
