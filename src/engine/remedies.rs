//! What would lawfully change a deny. Each way on is tried: it is listed only if the same question with it is allowed.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::EntityUid;
use jiff::SignedDuration;

use super::{
    bundle::Bundle,
    judge::{Ask, Judge, JudgeError},
    question::{Asked, ContextValues},
    reasons::{ContextRemedy, FactRemedy, Opens},
};
use crate::domain::{Loaded, Remedy, Slice, Value, slice::Row, value::Cell};

/// How long a supposed grant would run.
const LATER: SignedDuration = SignedDuration::from_hours(1);

impl Bundle {
    /// The remedies for a denied question, in a fixed order. None for those who act in no tenant: a way on is for the
    /// people of the practice.
    pub(super) fn remedies(&self, judge: &Judge<'_>) -> Result<Vec<Remedy>, JudgeError> {
        let mut found = Vec::new();
        if self.mapping.tenancy.is_some() && judge.projected().tenant.is_none() {
            return Ok(found);
        }
        let remedies = &self.reasons.remedies;
        if let Some(remedy) = &remedies.break_glass {
            let reasons = self.grant_reasons(judge, remedy)?;
            if !reasons.is_empty() {
                found.push(Remedy::BreakGlass { reasons });
            }
        }
        if let Some(remedy) = &remedies.request_assignment
            && let Some(client) = self.offered_about(judge, remedy)?
            && self.supposing(judge, remedy, &client, &[], "")?
        {
            found.push(Remedy::RequestAssignment);
        }
        if let Some(remedy) = &remedies.state_reason
            && self.saying(judge, remedy)?
        {
            found.push(Remedy::StateReason);
        }
        if let Some(remedy) = &remedies.step_up
            && self.saying(judge, remedy)?
        {
            found.push(Remedy::StepUp { amr: vec!["mfa".into()] });
        }
        Ok(found)
    }

    /// Whether the question is allowed if the caller also says what the remedy says.
    fn saying(&self, judge: &Judge<'_>, remedy: &ContextRemedy) -> Result<bool, JudgeError> {
        let mut context: ContextValues = judge.question.context.clone();
        for (key, value) in &remedy.context {
            let value = match value {
                serde_json::Value::Bool(value) => Value::Bool(*value),
                serde_json::Value::String(text) => Value::Text(text.as_str().into()),
                // A number that counts up begins anew where it was said at all.
                serde_json::Value::Number(number) => match number.as_i64() {
                    Some(number) if context.contains_key(key) => Value::Long(number),
                    Some(_) | None => continue,
                },
                serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => continue,
            };
            context.insert(key.clone(), value);
        }
        if context == judge.question.context {
            return Ok(false);
        }
        // Saying again what was already said is no way on.
        let changes = remedy.context.keys().any(|key| !matches!(judge.question.context.get(key), Some(Value::Text(_))));
        if !changes {
            return Ok(false);
        }
        Ok(self.supposed(judge, judge.slice, judge.now, &context)?.decision.is_allow())
    }

    /// The reason codes under which an emergency grant would allow the question.
    fn grant_reasons(&self, judge: &Judge<'_>, remedy: &FactRemedy) -> Result<Vec<Arc<str>>, JudgeError> {
        let Asked::Groups { verb, .. } = &judge.question.asked else { return Ok(Vec::new()) };
        if !remedy.verbs.is_empty() && !remedy.verbs.contains(verb) {
            return Ok(Vec::new());
        }
        let Some(client) = self.offered_about(judge, remedy)? else { return Ok(Vec::new()) };
        let mut tried: BTreeMap<Vec<Arc<str>>, bool> = BTreeMap::new();
        let mut reasons = Vec::new();
        for (reason, further) in &remedy.reasons {
            let opens = self.opened(judge, remedy.opens.as_ref(), further);
            let allows = match tried.get(&opens) {
                Some(allows) => *allows,
                None => self.supposing(judge, remedy, &client, &opens, reason)?,
            };
            tried.insert(opens, allows);
            if allows {
                reasons.push(reason.clone());
            }
        }
        Ok(reasons)
    }

    /// What a grant for this question would open: its default groups and those that may be asked for by name.
    fn opened(&self, judge: &Judge<'_>, opens: Option<&Opens>, further: &[Arc<str>]) -> Vec<Arc<str>> {
        let Some(opens) = opens else { return further.to_vec() };
        let asked = self.asks(judge).into_iter().filter_map(|(_, ask)| ask.ok()?.group);
        let by_request = asked.filter(|group| opens.by_request.contains(group));
        let mut groups: Vec<Arc<str>> = opens.default.iter().chain(further).cloned().chain(by_request).collect();
        groups.sort();
        groups.dedup();
        groups
    }

    /// Whom the supposed row would be about, for a principal whom the policies offer that row.
    fn offered_about(&self, judge: &Judge<'_>, remedy: &FactRemedy) -> Result<Option<EntityUid>, JudgeError> {
        let Some(client) = self.client_of(judge, &remedy.suppose.entity) else { return Ok(None) };
        let ask = Ask {
            verb: remedy.asks.clone(),
            group: Some(self.plain_group(&remedy.asks, &client)),
            asked: Some(self.plain_group(&remedy.asks, &client)),
            plain: true,
        };
        // Only who is offered it is asked here; every bar is judged by the supposed world itself.
        let is_offered = !judge.permits_for(&ask, &client)?.is_empty();
        Ok(is_offered.then_some(client))
    }

    /// Whether the question is allowed if one more row existed.
    fn supposing(
        &self,
        judge: &Judge<'_>,
        remedy: &FactRemedy,
        client: &EntityUid,
        opens: &[Arc<str>],
        reason: &str,
    ) -> Result<bool, JudgeError> {
        let Some(slice) = self.supposed_slice(judge, remedy, client, opens, reason) else { return Ok(false) };
        Ok(self.supposed(judge, &slice, judge.now, &judge.question.context)?.decision.is_allow())
    }

    fn client_of(&self, judge: &Judge<'_>, entity: &str) -> Option<EntityUid> {
        let client = match self.lookup(judge, "resource.client") {
            Some(Value::Entity(uid)) => uid,
            _ => return None,
        };
        (self.short_name(&client.type_name().to_string()) == entity).then_some(client)
    }

    fn supposed_slice(
        &self,
        judge: &Judge<'_>,
        remedy: &FactRemedy,
        client: &EntityUid,
        opens: &[Arc<str>],
        reason: &str,
    ) -> Option<Slice> {
        let mapping = self.mapping.entity(&client.type_name().to_string())?;
        let (name, relation) = mapping.relations.get_key_value(&remedy.suppose.relation)?;
        let mut cells: Vec<Cell> = relation
            .columns
            .iter()
            .map(|column| match remedy.suppose.row.get(&column.name).map(|value| &**value) {
                Some("$principal") => Cell::Text(AsRef::<str>::as_ref(judge.question.principal.id()).into()),
                Some("$opens") => Cell::List(opens.into()),
                Some("$reason") => Cell::Text(reason.into()),
                // Longer than any answer may be reused.
                Some("$later") => Cell::Instant(judge.now.saturating_add(LATER).unwrap_or(judge.now)),
                Some(text) => Cell::Text(text.into()),
                None => Cell::Null,
            })
            .collect();
        if let Some(from) = relation.window.as_ref().and_then(|window| window.from.as_ref())
            && let Some(cell) = cells.get_mut(from.column)
        {
            *cell = Cell::Instant(judge.now);
        }
        let mut slice = judge.slice.clone();
        let Some(Loaded::Present(entity)) = slice.entities.get_mut(client) else { return None };
        let rows = entity.relations.get(name)?;
        let supposed =
            Row { id: remedy.suppose.row.get("id").cloned().unwrap_or_else(|| "-".into()), cells: cells.into() };
        let rows = rows.iter().cloned().chain([supposed]).collect();
        entity.relations.insert(name.clone(), rows);
        Some(slice)
    }
}
