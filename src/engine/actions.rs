//! The schema's actions: what each is a member of, and the request environments in which it may be asked.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use cedar_policy::{
    ActionConstraint, Entity, EntityTypeName, EntityUid, Request, Schema, entities_errors::EntitiesError,
};
use indexmap::IndexSet;

/// Why the actions of a schema could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ActionsError {
    #[error("cannot close the action hierarchy")]
    Hierarchy(#[from] Box<EntitiesError>),
    /// A forbid of the group would never hold for the action: Cedar's schema has no such thing.
    #[error("the action `{action}` is in the group `{group}`, which the schema does not have")]
    NoGroup { action: Box<EntityUid>, group: Box<EntityUid> },
    #[error("the schema has more than {max} actions, entity types or request environments")]
    TooMany { max: u32 },
}

/// The action hierarchy, closed, and the request environments. Made once a bundle and shared.
#[derive(Debug)]
pub struct Actions {
    /// The positions of all groups that an action is in, ascending, by its own.
    ancestors: Vec<Box<[u32]>>,
    pub environments: Environments,
}

/// Numbers for the actions, types and environments of a schema. There are hundreds of environments and names are large:
/// each is kept once.
#[derive(Debug, Default)]
pub struct Environments {
    /// Every action of the schema. Those that can be asked stand first: a group that is asked nowhere has no number.
    actions: IndexSet<EntityUid>,
    asked: usize,
    types: IndexSet<EntityTypeName>,
    /// Action, principal type, resource type, ascending.
    all: Vec<(u32, u32, u32)>,
}

/// One request environment.
#[derive(Clone, Copy, Debug)]
pub struct Environment<'a> {
    pub action: &'a EntityUid,
    pub principal: &'a EntityTypeName,
    pub resource: &'a EntityTypeName,
    pub place: Place,
}

/// The positions of one request's environment.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub action: usize,
    pub environment: usize,
}

impl Actions {
    /// Reads the hierarchy and the environments of `schema`.
    ///
    /// # Errors
    ///
    /// [`ActionsError`] if Cedar cannot close the hierarchy, or if there are more than can be numbered.
    pub fn of(schema: &Schema) -> Result<Self, ActionsError> {
        let environments = Environments::of(schema)?;
        let hierarchy = schema.action_entities().map_err(Box::new)?;
        let groups_of = |action: &EntityUid| {
            let missing = |group: &EntityUid| ActionsError::NoGroup {
                action: Box::new(action.clone()),
                group: Box::new(group.clone()),
            };
            let groups = hierarchy.ancestors(action).into_iter().flatten();
            let positions = groups.map(|group| position(&environments.actions, group).ok_or_else(|| missing(group)));
            let mut positions = positions.collect::<Result<Vec<u32>, _>>()?;
            positions.sort_unstable();
            Ok(positions.into_boxed_slice())
        };
        let ancestors = environments.actions.iter().map(groups_of).collect::<Result<_, ActionsError>>()?;
        Ok(Self { ancestors, environments })
    }

    /// The entity of an action, with all its groups. A request's entities must contain that of its action, or
    /// `action in …` in a policy's body is false; nobody but the schema may supply it.
    pub fn entity(&self, action: &EntityUid) -> Option<Entity> {
        let groups = self.groups_of(action)?.iter().filter_map(|group| name(&self.environments.actions, *group));
        // All its groups are its parents: those between need not be among the request's entities.
        Some(Entity::new_no_attrs(action.clone(), groups.cloned().collect()))
    }

    fn groups_of(&self, action: &EntityUid) -> Option<&[u32]> {
        Some(self.ancestors.get(self.environments.actions.get_index_of(action)?)?)
    }

    /// Whether a policy's action scope holds for `action`.
    pub fn fits(&self, scope: &ActionConstraint, action: &EntityUid) -> bool {
        let groups_named = match scope {
            ActionConstraint::Any => return true,
            ActionConstraint::Eq(one) => return one == action,
            ActionConstraint::In(groups) => groups,
        };
        let groups = self.groups_of(action).unwrap_or_default();
        let is_among =
            |group| position(&self.environments.actions, group).is_some_and(|at| groups.binary_search(&at).is_ok());
        groups_named.iter().any(|group| group == action || is_among(group))
    }
}

/// The asked actions below each group.
#[derive(Debug)]
pub struct Members<'a> {
    environments: &'a Environments,
    of_group: HashMap<&'a EntityUid, Vec<usize>>,
}

impl<'a> Members<'a> {
    pub fn of(actions: &'a Actions) -> Self {
        let mut of_group: HashMap<&EntityUid, Vec<usize>> = HashMap::new();
        for (number, groups) in actions.ancestors.iter().take(actions.environments.asked).enumerate() {
            for group in groups.iter().filter_map(|group| name(&actions.environments.actions, *group)) {
                of_group.entry(group).or_default().push(number);
            }
        }
        Self { environments: &actions.environments, of_group }
    }

    /// For every action by its number what [`Actions::fits`] says of it.
    pub fn fitting(&self, scope: &ActionConstraint) -> Vec<bool> {
        let named = match scope {
            ActionConstraint::Any => return vec![true; self.environments.action_count()],
            ActionConstraint::Eq(one) => std::slice::from_ref(one),
            ActionConstraint::In(groups) => groups.as_slice(),
        };
        let mut fitting = vec![false; self.environments.action_count()];
        for uid in named {
            let below = match scope {
                ActionConstraint::In(_) => self.of_group.get(uid).map(Vec::as_slice).unwrap_or_default(),
                ActionConstraint::Any | ActionConstraint::Eq(_) => &[],
            };
            for number in self.environments.action_number(uid).into_iter().chain(below.iter().copied()) {
                if let Some(fits) = fitting.get_mut(number) {
                    *fits = true;
                }
            }
        }
        fitting
    }
}

impl Environments {
    fn of(schema: &Schema) -> Result<Self, ActionsError> {
        let mut this = Self::default();
        for action in schema.actions() {
            let principals: Vec<_> = schema.principals_for_action(action).into_iter().flatten().collect();
            for resource in schema.resources_for_action(action).into_iter().flatten() {
                for principal in &principals {
                    let action = number(&mut this.actions, action)?;
                    this.all.push((action, number(&mut this.types, principal)?, number(&mut this.types, resource)?));
                }
            }
        }
        this.asked = this.actions.len();
        for action in schema.actions() {
            number(&mut this.actions, action)?;
        }
        this.all.sort_unstable();
        this.all.dedup();
        this.all.shrink_to_fit();
        u32::try_from(this.all.len()).map_err(|_source| ActionsError::TooMany { max: u32::MAX })?;
        Ok(this)
    }

    pub fn iter(&self) -> impl Iterator<Item = Environment<'_>> {
        (0..self.all.len()).filter_map(|at| self.get(at))
    }

    /// The environment at this position.
    pub fn get(&self, at: usize) -> Option<Environment<'_>> {
        let (action, principal, resource) = *self.all.get(at)?;
        Some(Environment {
            action: name(&self.actions, action)?,
            principal: name(&self.types, principal)?,
            resource: name(&self.types, resource)?,
            place: Place { action: usize::try_from(action).ok()?, environment: at },
        })
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Whether the schema has this action, or group.
    pub fn has_action(&self, action: &EntityUid) -> bool {
        self.actions.contains(action)
    }

    /// The position of an action among [`Self::action_count`]; `None` if it is asked nowhere.
    pub fn action_number(&self, action: &EntityUid) -> Option<usize> {
        self.actions.get_index_of(action).filter(|number| *number < self.asked)
    }

    pub fn action_count(&self) -> usize {
        self.asked
    }

    /// The actions that may be asked about a resource of this type, whoever asks.
    pub fn actions_on(&self, resource: &EntityTypeName) -> BTreeSet<&EntityUid> {
        let Some(wanted) = position(&self.types, resource) else { return BTreeSet::new() };
        let found = self.all.iter().filter(|(_, _, resource)| *resource == wanted);
        found.filter_map(|(action, _, _)| name(&self.actions, *action)).collect()
    }

    /// `None`: the schema knows no such environment.
    pub fn place(&self, request: &Request) -> Option<Place> {
        self.find(request.action()?, request.principal()?.type_name(), request.resource()?.type_name())
    }

    /// The environment of these; `None`: the schema knows none.
    pub fn find(&self, action: &EntityUid, principal: &EntityTypeName, resource: &EntityTypeName) -> Option<Place> {
        let action = position(&self.actions, action)?;
        let key = (action, position(&self.types, principal)?, position(&self.types, resource)?);
        let environment = self.all.binary_search(&key).ok()?;
        Some(Place { action: usize::try_from(action).ok()?, environment })
    }
}

/// The number of a name, which is given the next one if it is new.
fn number<T: Clone + Eq + Hash>(names: &mut IndexSet<T>, name: &T) -> Result<u32, ActionsError> {
    let position = names.get_index_of(name).unwrap_or_else(|| names.insert_full(name.clone()).0);
    u32::try_from(position).map_err(|_source| ActionsError::TooMany { max: u32::MAX })
}

fn position<T: Eq + Hash>(names: &IndexSet<T>, name: &T) -> Option<u32> {
    u32::try_from(names.get_index_of(name)?).ok()
}

fn name<T>(names: &IndexSet<T>, number: u32) -> Option<&T> {
    names.get_index(usize::try_from(number).ok()?)
}
