//! A slice that differs little from one whose projection is known: what did not change is taken from there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{Entity, EntityUid};

use super::{ProjectError, Projected, ProjectedEntity, View};
use crate::domain::{
    mapping::Attribute,
    slice::{FactEntity, Loaded, Slice},
    value::Value,
};

impl View<'_> {
    /// Everything policies may see, given what they saw of the slice `earlier` at the same instant. `None` where more may
    /// have changed than what differs.
    ///
    /// # Errors
    ///
    /// [`ProjectError`] as of [`Self::project`].
    pub fn project_after(&self, earlier: &Slice, seen: &Projected) -> Result<Option<Projected>, ProjectError> {
        // Tenant and roles are the principal's, filters look at the resource's own row, and nothing looks at the relations
        // of another entity.
        let own_row = |slice: &Slice| slice.present(&slice.resource).map(|entity| entity.row.clone());
        let is_near = earlier.principal == self.slice.principal
            && earlier.resource == self.slice.resource
            && earlier.asserted == self.slice.asserted
            && earlier.present(&earlier.principal) == self.slice.present(&self.slice.principal)
            && own_row(earlier) == own_row(self.slice)
            && seen.tenant == self.tenant
            && seen.roles == self.roles;
        if !is_near {
            return Ok(None);
        }
        let mut projected = Projected { entities: BTreeMap::new(), ..seen.clone() };
        for (uid, loaded) in &*self.slice.entities {
            let Loaded::Present(entity) = loaded else { continue };
            let shown = match seen.entities.get(uid).zip(earlier.present(uid)) {
                Some((shown, before)) if before == entity => Arc::clone(shown),
                Some((shown, before)) if before.row == entity.row => {
                    Arc::new(self.project_changed(uid, entity, before, shown)?)
                }
                Some(_) | None => Arc::new(self.project_one(uid, entity)?),
            };
            projected.entities.insert(uid.clone(), shown);
        }
        Ok(Some(projected))
    }

    /// An entity whose relations changed: attributes of others, and of its own row, are as they were.
    fn project_changed(
        &self,
        uid: &EntityUid,
        entity: &FactEntity,
        before: &FactEntity,
        shown: &ProjectedEntity,
    ) -> Result<ProjectedEntity, ProjectError> {
        let is_alike = |relation: &Arc<str>| match (before.relations.get(relation), entity.relations.get(relation)) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now) || before == now,
            (before, now) => before.is_none() && now.is_none(),
        };
        self.project_knowing(uid, entity, &|name, attribute| {
            let is_as_before = match attribute {
                Attribute::Any(selections) => selections.iter().all(|selection| is_alike(&selection.relation)),
                Attribute::Set { from, .. } => from.iter().all(|(selection, _)| is_alike(&selection.relation)),
                Attribute::Column { .. }
                | Attribute::Within(_)
                | Attribute::Constant(_)
                | Attribute::Itself
                | Attribute::ActingTenant => true,
            };
            is_as_before.then(|| shown.attributes.get(name).cloned())
        })
    }
}

impl Projected {
    /// Those that are not shared with `earlier`, for Cedar's evaluator.
    ///
    /// # Errors
    ///
    /// Cedar's own error if a value cannot be built.
    pub fn changed_since(&self, earlier: &Self) -> Result<Vec<Entity>, Box<cedar_policy::EntityAttrEvaluationError>> {
        let is_changed = |uid, entity| earlier.entities.get(uid).is_none_or(|before| !Arc::ptr_eq(before, entity));
        let changed = self.entities.iter().filter(|(uid, entity)| is_changed(uid, entity));
        changed.map(|(uid, entity)| entity.to_cedar(uid)).collect()
    }

    /// The names of the attributes that differ from `earlier`; `None` where more than attributes does.
    pub fn names_that_differ(&self, earlier: &Self) -> Option<BTreeSet<Arc<str>>> {
        let mut names = BTreeSet::new();
        if self.entities.len() != earlier.entities.len() {
            return None;
        }
        for (uid, entity) in &self.entities {
            let before = earlier.entities.get(uid)?;
            if Arc::ptr_eq(before, entity) {
                continue;
            }
            if before.parents != entity.parents {
                return None;
            }
            names.extend(names_between(&before.attributes, &entity.attributes));
        }
        Some(names)
    }
}

/// The names whose values differ, or that only one of both has.
pub fn names_between<'a>(
    one: &'a BTreeMap<Arc<str>, Value>,
    other: &'a BTreeMap<Arc<str>, Value>,
) -> impl Iterator<Item = Arc<str>> {
    let differing = one.iter().filter(|(name, value)| other.get(*name) != Some(*value));
    let added = other.iter().filter(|(name, _)| !one.contains_key(*name));
    differing.chain(added).map(|(name, _)| Arc::clone(name))
}
