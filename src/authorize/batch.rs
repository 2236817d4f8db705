//! Several decisions that leave as one answer: each must still be fresh when the last of them is there.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{AuthorizeError, Authorizer, Follows};
use crate::{
    audit::Recorded,
    domain::{Evaluation, Request},
    entities::{Entered, Hold},
};

/// How often an allow that grew old in waiting is decided again; then it is a deny.
const AGAIN_MAX: u32 = 2;

/// The decisions of one batch. A barrier waits until this is dropped: after the last look at all of them.
pub struct Held<'a> {
    authorizer: &'a Authorizer,
    _entered: Entered,
    /// By decision id.
    decisions: Mutex<HashMap<String, Waiting>>,
}

struct Waiting {
    request: Request,
    hold: Hold,
    again: u32,
}

impl Authorizer {
    /// Decisions that wait for each other before they leave.
    pub fn held(&self) -> Held<'_> {
        Held { authorizer: self, _entered: self.facts.enter(), decisions: Mutex::default() }
    }
}

impl Held<'_> {
    /// Decides one of them, and remembers what it rests on.
    ///
    /// # Errors
    ///
    /// Those of [`Authorizer::authorize`].
    pub async fn authorize(&self, request: Request) -> Result<Recorded<Evaluation>, AuthorizeError> {
        let (recorded, hold) = self.authorizer.decide(&request, Follows::Nothing).await?;
        if recorded.value().decision.is_allow() {
            let id = request.decision_id.clone();
            self.decisions().insert(id, Waiting { request, hold, again: 0 });
        }
        Ok(recorded)
    }

    /// Whether this answer may leave now. A deny always may.
    pub fn is_good(&self, decision_id: &str) -> bool {
        let now = self.authorizer.clock.elapsed();
        self.decisions().get(decision_id).is_none_or(|waiting| waiting.hold.is_good(now))
    }

    /// Withholds an allow that grew old while others were decided, and decides it again; at last it is a deny.
    ///
    /// # Errors
    ///
    /// Those of [`Authorizer::authorize`].
    pub async fn again(
        &self,
        decision_id: &str,
        old: Recorded<Evaluation>,
    ) -> Result<Recorded<Evaluation>, AuthorizeError> {
        let Some(mut waiting) = self.decisions().remove(decision_id) else { return Ok(old) };
        let authorizer = self.authorizer;
        authorizer.withhold(&waiting.request, &old).await?;
        waiting.again += 1;
        if waiting.again > AGAIN_MAX {
            let bundle = authorizer.live.current().ok_or(AuthorizeError::NoBundle)?;
            let started = authorizer.clock.elapsed();
            let stale = authorizer.stale(&bundle, Some(&old), None, started);
            return authorizer.record(&waiting.request, stale, None, started, Follows::Nothing).await;
        }
        let (recorded, hold) = authorizer.decide(&waiting.request, Follows::Nothing).await?;
        if recorded.value().decision.is_allow() {
            self.decisions().insert(decision_id.to_owned(), Waiting { hold, ..waiting });
        }
        Ok(recorded)
    }

    fn decisions(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
