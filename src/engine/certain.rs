//! An allow that holds whatever the databases' clocks show: a window is open or closed by the clock that wrote it.
//!
//! Ours may be ahead of that one or behind. It cannot be told from a window whether it gives a right or takes one away,
//! so no end is moved: the question is judged again at each instant that one of the clocks may show and at which some
//! row changes its state. Mostly there is none.

use jiff::Timestamp;

use super::{
    bundle::Bundle,
    evaluate::{Outcome, shrinks},
    judge::{Judge, JudgeError},
};
use crate::domain::Skew;

/// Rows that change their state while the clocks disagree. Of more it is not worth finding out.
const INSTANTS_MAX: usize = 64;

impl Bundle {
    /// The instant at which less is allowed than `outcome`, if there is one: what is allowed there is allowed at all.
    pub(super) fn least(&self, judge: &Judge<'_>, outcome: &Outcome) -> Result<Option<Timestamp>, JudgeError> {
        if !outcome.decision.is_allow() || judge.slice.skew == Skew::default() {
            return Ok(None);
        }
        let (earliest, latest) = judge.slice.skew.around(judge.now);
        let boundaries = judge.view.boundaries(earliest, latest);
        if boundaries.is_empty() {
            return Ok(None);
        }
        if boundaries.len() > INSTANTS_MAX {
            return Err(JudgeError::Clocks);
        }
        let mut least: Option<(Timestamp, Outcome)> = None;
        for instant in std::iter::once(earliest).chain(boundaries) {
            let then = self.supposed(judge, judge.slice, instant, &judge.question.context)?;
            if !then.decision.is_allow() {
                return Ok(Some(instant));
            }
            let before = least.as_ref().map_or(outcome, |(_, before)| before);
            if shrinks(before, &then) {
                if shrinks(&then, before) {
                    // Each allows what the other does not: neither is the answer.
                    return Err(JudgeError::Clocks);
                }
                least = Some((instant, then));
            }
        }
        Ok(least.map(|(instant, _)| instant))
    }
}
