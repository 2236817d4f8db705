//! The entities that policies are asked about: made of a slice once, and used again while the slice is.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use cedar_policy::Entities;
use jiff::Timestamp;

use super::{
    bundle::Bundle,
    index::Names,
    judge::JudgeError,
    question::{Asked, Question},
};
use crate::domain::{
    Slice, Value,
    projection::{Projected, ProjectedEntity, View},
};

/// One slice at one instant, in Cedar's terms.
#[derive(Debug)]
pub(super) struct World {
    /// Whose world it is: the same slice looks otherwise to another bundle, in another tenant, or to another question.
    revision: Arc<str>,
    asked: Asked,
    said_tenant: Option<Arc<str>>,
    pub(super) projected: Projected,
    /// Closed, with the actions that the question may lead to.
    pub(super) entities: Entities,
}

/// A question for more names is rare, and what is remembered must stay small.
const NAMES_MAX: usize = 32;

fn is_short(asked: &Asked) -> bool {
    match asked {
        Asked::Groups { names: Some(names), .. } => names.len() <= NAMES_MAX,
        Asked::Groups { names: None, .. } | Asked::Plain { .. } | Asked::Bare { .. } | Asked::Unknown(_) => true,
    }
}

/// Whose world it is, as a hash: whoever finds a world by it looks whether it is the one.
fn word(bundle: &Bundle, question: &Question) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&bundle.revision, &question.asked, &question.said_tenant).hash(&mut hasher);
    hasher.finish()
}

/// What the parts of a world take, here and in Cedar's form, as `tests/memory.rs` holds it to.
const ACTION_BYTES: usize = 160;
const ENTITY_BYTES: usize = 640;
const ATTRIBUTE_BYTES: usize = 640;
const MEMBER_BYTES: usize = 384;
const NAME_BYTES: usize = 48;
/// Every letter stands here and in Cedar's form.
const FORMS: usize = 2;

impl World {
    /// About how much memory this takes.
    fn bytes(&self) -> usize {
        let actions = self.entities.len().saturating_sub(self.projected.entities.len());
        let of_entity = |entity: &Arc<ProjectedEntity>| {
            let members: usize = entity.attributes.values().map(members).sum();
            let letters: usize = entity.attributes.values().map(letters).sum();
            ENTITY_BYTES
                + entity.attributes.len() * ATTRIBUTE_BYTES
                + (entity.parents.len() + members) * MEMBER_BYTES
                + letters * FORMS
        };
        let names = match &self.asked {
            Asked::Groups { names: Some(names), .. } => names.iter().map(|name| name.len() + NAME_BYTES).sum(),
            Asked::Groups { names: None, .. } | Asked::Plain { .. } | Asked::Bare { .. } | Asked::Unknown(_) => 0,
        };
        let said = names + self.said_tenant.as_deref().map_or(0, str::len);
        actions * ACTION_BYTES + said + self.projected.entities.values().map(of_entity).sum::<usize>()
    }

    /// The world of `question`; the one that was made of this very slice before, if nothing in it opened or closed since.
    pub(super) fn of(
        bundle: &Bundle,
        question: &Question,
        slice: &Slice,
        view: &View<'_>,
        now: Timestamp,
    ) -> Result<Arc<Self>, JudgeError> {
        let is_it = |world: &Arc<Self>| {
            world.revision == bundle.revision
                && world.asked == question.asked
                && world.said_tenant == question.said_tenant
        };
        // What a caller asserts stands beside the entities, not among them.
        if !slice.asserted.is_empty() || !is_short(&question.asked) {
            return Self::made(bundle, question, &[], view).map(Arc::new);
        }
        let word = word(bundle, question);
        if let Some(world) = slice.entities.made(now, word).filter(is_it) {
            return Ok(world);
        }
        let world = Arc::new(Self::made(bundle, question, &[], view)?);
        slice.entities.keep(now, word, &world, world.bytes());
        Ok(world)
    }

    /// One world for `question` and others about the same principal and resource.
    pub(super) fn made(
        bundle: &Bundle,
        question: &Question,
        others: &[Question],
        view: &View<'_>,
    ) -> Result<Self, JudgeError> {
        let projected = view.project()?;
        let actions =
            [question].into_iter().chain(others).flat_map(|asked| bundle.actions_for(asked, &projected)).collect();
        let list = projected.to_cedar().map_err(|source| JudgeError::Entity(source))?;
        let entities = bundle
            .entities_of_actions(actions)?
            .add_entities(list, None)
            .map_err(|source| JudgeError::Entity(Box::new(source)))?;
        Ok(Self {
            revision: Arc::clone(&bundle.revision),
            asked: question.asked.clone(),
            said_tenant: question.said_tenant.clone(),
            projected,
            entities,
        })
    }

    /// The world of a slice that differs from `earlier`, whose world this is, in little; made of what did not change. With
    /// it the names of the attributes that differ; `None` where it cannot be said that nothing else does.
    pub(super) fn changed(
        &self,
        bundle: &Bundle,
        question: &Question,
        earlier: &Slice,
        view: &View<'_>,
    ) -> Result<(Self, Option<Names>), JudgeError> {
        let anew = || Self::made(bundle, question, &[], view).map(|world| (world, None));
        let Some(projected) = view.project_after(earlier, &self.projected)? else { return anew() };
        // What is gone would have to be taken out of Cedar's form too.
        if !self.projected.entities.keys().all(|uid| projected.entities.contains_key(uid)) {
            return anew();
        }
        let names = projected.names_that_differ(&self.projected);
        // The actions are those of before: which are asked about goes by the resource's own row and what is asserted of it.
        let list = projected.changed_since(&self.projected).map_err(|source| JudgeError::Entity(source))?;
        let entities = self.entities.clone();
        let entities = entities.upsert_entities(list, None).map_err(|source| JudgeError::Entity(Box::new(source)))?;
        let (revision, asked) = (Arc::clone(&self.revision), self.asked.clone());
        Ok((Self { revision, asked, said_tenant: self.said_tenant.clone(), projected, entities }, names))
    }

    /// Whether policies are told the same by both.
    pub(super) fn tells_as(&self, other: &Self) -> bool {
        let tells = |one: &Entities, as_in: &Entities| {
            one.iter().all(|entity| as_in.get(&entity.uid()).is_some_and(|same| same.deep_eq(entity)))
        };
        self.projected.tenant == other.projected.tenant
            && self.projected.roles == other.projected.roles
            && self.projected.entities == other.projected.entities
            && tells(&self.entities, &other.entities)
            && tells(&other.entities, &self.entities)
    }
}

fn letters(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Entity(uid) => AsRef::<str>::as_ref(uid.id()).len(),
        Value::Set(members) => members.iter().map(letters).sum(),
        Value::Record(fields) => fields.values().map(letters).sum(),
        Value::Bool(_) | Value::Long(_) => 0,
    }
}

fn members(value: &Value) -> usize {
    match value {
        Value::Set(members) => members.len() + members.iter().map(self::members).sum::<usize>(),
        Value::Record(fields) => fields.len() + fields.values().map(self::members).sum::<usize>(),
        Value::Bool(_) | Value::Long(_) | Value::Text(_) | Value::Entity(_) => 0,
    }
}
