//! The entities that policies are asked about: made of a slice once, and used again while the slice is.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::Entities;
use jiff::Timestamp;

use super::{
    bundle::Bundle,
    judge::JudgeError,
    question::{Asked, Question},
};
use crate::domain::{
    Slice,
    projection::{Projected, View},
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

impl World {
    /// The world of `question`; the one that was made of this very slice before, if nothing in it opened or closed since.
    pub(super) fn of(
        bundle: &Bundle,
        question: &Question,
        slice: &Slice,
        view: &View<'_>,
        now: Timestamp,
    ) -> Result<Arc<Self>, JudgeError> {
        let is_it = |world: &Self| {
            world.revision == bundle.revision
                && world.asked == question.asked
                && world.said_tenant == question.said_tenant
        };
        // What a caller asserts stands beside the entities, not among them.
        let is_plain = slice.asserted.is_empty() && is_short(&question.asked);
        if let Some(world) = slice.entities.made(now, is_it).filter(|_| is_plain) {
            return Ok(world);
        }
        let world = Arc::new(Self::made(bundle, question, &[], view)?);
        if is_plain {
            slice.entities.keep(now, &world);
        }
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
        let mut list = projected.to_cedar().map_err(|source| JudgeError::Entity(source))?;
        let actions =
            [question].into_iter().chain(others).flat_map(|asked| bundle.action_entities_for(asked, &projected));
        let known: BTreeMap<_, _> = actions.map(|action| (action.uid(), action)).collect();
        list.extend(known.into_values());
        let entities = Entities::from_entities(list, None).map_err(|source| JudgeError::Entity(Box::new(source)))?;
        Ok(Self {
            revision: Arc::clone(&bundle.revision),
            asked: question.asked.clone(),
            said_tenant: question.said_tenant.clone(),
            projected,
            entities,
        })
    }
}
