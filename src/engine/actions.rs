//! The schema's actions and what each is a member of.

use cedar_policy::{
    ActionConstraint, Entities, Entity, EntityTypeName, EntityUid, Schema, entities_errors::EntitiesError,
};

/// The action hierarchy, closed: every action with all its groups.
#[derive(Clone, Debug)]
pub struct Actions(Entities);

impl Actions {
    /// Reads the hierarchy of `schema`.
    ///
    /// # Errors
    ///
    /// Cedar's own error if the hierarchy cannot be closed.
    pub fn of(schema: &Schema) -> Result<Self, Box<EntitiesError>> {
        Ok(Self(schema.action_entities()?))
    }

    /// The entity of an action, with all its groups. A request's entities must contain that of its action, or
    /// `action in …` in a policy's body is false; nobody but the schema may supply it.
    pub fn entity(&self, action: &EntityUid) -> Option<&Entity> {
        self.0.get(action)
    }

    /// Whether a policy's action scope holds for `action`.
    pub fn fits(&self, scope: &ActionConstraint, action: &EntityUid) -> bool {
        let is_in = |group: &EntityUid| group == action || self.0.is_ancestor_of(group, action);
        match scope {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(one) => one == action,
            ActionConstraint::In(groups) => groups.iter().any(is_in),
        }
    }
}

/// Every request environment of `schema`: action, principal type, resource type.
pub fn environments(schema: &Schema) -> Vec<(EntityUid, EntityTypeName, EntityTypeName)> {
    let mut all = Vec::new();
    for action in schema.actions() {
        let principals: Vec<_> = schema.principals_for_action(action).into_iter().flatten().collect();
        for resource in schema.resources_for_action(action).into_iter().flatten() {
            for principal in &principals {
                all.push((action.clone(), (*principal).clone(), resource.clone()));
            }
        }
    }
    all
}
