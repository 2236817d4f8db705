//! Which policies a question touches at all: for the coverage of cases. Nothing here decides.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::{
    bundle::Bundle,
    evaluate::plainly,
    judge::{Ask, Judge, JudgeError},
    question::Question,
};
use crate::domain::{Slice, Value};

impl Bundle {
    /// The policies that are satisfied somewhere in `question`: for one of its fields, masked or not, or for a remedy
    /// that may be offered. A forbid among them fired; a permit among them may still have been overruled.
    pub fn matched(&self, question: &Question, slice: &Slice, now: Timestamp) -> BTreeSet<Arc<str>> {
        self.try_matched(question, slice, now).unwrap_or_default()
    }

    fn try_matched(
        &self,
        question: &Question,
        slice: &Slice,
        now: Timestamp,
    ) -> Result<BTreeSet<Arc<str>>, JudgeError> {
        let judge = Judge::new(self, question, slice, now, &question.context)?;
        let outcome = self.outcome(&judge, &|required| plainly(&judge, required, 0))?;
        let mut matched = BTreeSet::new();
        for ask in outcome.lines.iter().filter_map(|line| line.ask.as_ref()) {
            let mask = Ask { verb: "mask".into(), ..ask.clone() };
            let masks = !ask.plain && self.taxonomy.verbs.get(&ask.verb).is_some_and(|verb| verb.masks);
            for ask in [Some(ask), Some(&mask).filter(|_| masks)].into_iter().flatten() {
                if let Some((_, told)) = judge.evaluate(ask, &question.resource)? {
                    matched.extend(told.permits.into_iter().chain(told.forbids));
                }
            }
        }
        if !outcome.decision.is_allow() {
            matched.extend(self.offered(&judge)?);
        }
        Ok(matched)
    }

    /// The permits of the ways on that are asked about after a deny.
    fn offered(&self, judge: &Judge<'_>) -> Result<Vec<Arc<str>>, JudgeError> {
        let Some(Value::Entity(client)) = self.lookup(judge, "resource.client") else { return Ok(Vec::new()) };
        let mut offered = Vec::new();
        for (action, _) in self.taxonomy.actions.iter().filter(|(_, plain)| plain.internal) {
            let group = self.plain_group(action, &client);
            let ask = Ask { verb: action.clone(), group: Some(group.clone()), asked: Some(group), plain: true };
            offered.extend(judge.permits_for(&ask, &client)?);
        }
        Ok(offered)
    }
}
