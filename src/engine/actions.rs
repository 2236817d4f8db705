//! The schema's actions: what each is a member of, and the request environments in which it may be asked.

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    hash::Hash,
};

use cedar_policy::{
    ActionConstraint, Entities, Entity, EntityTypeName, EntityUid, Request, Schema, entities_errors::EntitiesError,
};

/// Why the actions of a schema could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ActionsError {
    #[error("cannot close the action hierarchy")]
    Hierarchy(#[from] Box<EntitiesError>),
    #[error("the schema has more than {max} actions, entity types or request environments")]
    TooMany { max: u32 },
}

/// The action hierarchy, closed, and the request environments. Made once a bundle and shared.
#[derive(Clone, Debug)]
pub struct Actions {
    hierarchy: Entities,
    pub environments: Environments,
}

/// Numbers for the actions, types and environments of a schema. There are hundreds of environments and names are large:
/// each is kept once.
#[derive(Clone, Debug, Default)]
pub struct Environments {
    /// Those that can be asked; a group that is asked nowhere has no number.
    actions: Numbered<EntityUid>,
    types: Numbered<EntityTypeName>,
    /// (action, principal type, resource type) -> position in `all`.
    numbers: HashMap<(u32, u32, u32), u32>,
    all: Vec<(u32, u32, u32)>,
}

/// Names by their numbers, and the other way round.
#[derive(Clone, Debug)]
struct Numbered<T> {
    names: Vec<T>,
    numbers: HashMap<T, u32>,
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
        let hierarchy = schema.action_entities().map_err(Box::new)?;
        Ok(Self { hierarchy, environments: Environments::of(schema)? })
    }

    /// The entity of an action, with all its groups. A request's entities must contain that of its action, or
    /// `action in …` in a policy's body is false; nobody but the schema may supply it.
    pub fn entity(&self, action: &EntityUid) -> Option<&Entity> {
        self.hierarchy.get(action)
    }

    /// Whether a policy's action scope holds for `action`.
    pub fn fits(&self, scope: &ActionConstraint, action: &EntityUid) -> bool {
        let is_in = |group: &EntityUid| group == action || self.hierarchy.is_ancestor_of(group, action);
        match scope {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(one) => one == action,
            ActionConstraint::In(groups) => groups.iter().any(is_in),
        }
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
        for (number, action) in actions.environments.actions.names.iter().enumerate() {
            for group in actions.hierarchy.ancestors(action).into_iter().flatten() {
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
                    this.add(action, principal, resource)?;
                }
            }
        }
        this.all.shrink_to_fit();
        Ok(this)
    }

    fn add(
        &mut self,
        action: &EntityUid,
        principal: &EntityTypeName,
        resource: &EntityTypeName,
    ) -> Result<(), ActionsError> {
        let key = (self.actions.number(action)?, self.types.number(principal)?, self.types.number(resource)?);
        if let hash_map::Entry::Vacant(vacant) = self.numbers.entry(key) {
            vacant.insert(number(self.all.len())?);
            self.all.push(key);
        }
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = Environment<'_>> {
        (0..self.all.len()).filter_map(|at| self.get(at))
    }

    /// The environment at this position.
    pub fn get(&self, at: usize) -> Option<Environment<'_>> {
        let (action, principal, resource) = *self.all.get(at)?;
        Some(Environment {
            action: self.actions.name(action)?,
            principal: self.types.name(principal)?,
            resource: self.types.name(resource)?,
            place: Place { action: usize::try_from(action).ok()?, environment: at },
        })
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The position of an action among [`Self::action_count`]; `None` if it is asked nowhere.
    pub fn action_number(&self, action: &EntityUid) -> Option<usize> {
        usize::try_from(self.actions.known(action)?).ok()
    }

    pub fn action_count(&self) -> usize {
        self.actions.names.len()
    }

    /// The actions that may be asked about a resource of this type, whoever asks.
    pub fn actions_on(&self, resource: &EntityTypeName) -> BTreeSet<&EntityUid> {
        let Some(wanted) = self.types.known(resource) else { return BTreeSet::new() };
        let found = self.all.iter().filter(|(_, _, resource)| *resource == wanted);
        found.filter_map(|(action, _, _)| self.actions.name(*action)).collect()
    }

    /// `None`: the schema knows no such environment.
    pub fn place(&self, request: &Request) -> Option<Place> {
        self.find(request.action()?, request.principal()?.type_name(), request.resource()?.type_name())
    }

    /// The environment of these; `None`: the schema knows none.
    pub fn find(&self, action: &EntityUid, principal: &EntityTypeName, resource: &EntityTypeName) -> Option<Place> {
        let action = self.actions.known(action)?;
        let key = (action, self.types.known(principal)?, self.types.known(resource)?);
        let environment = *self.numbers.get(&key)?;
        Some(Place { action: usize::try_from(action).ok()?, environment: usize::try_from(environment).ok()? })
    }
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { names: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    /// The number of a name, which is given the next one if it is new.
    fn number(&mut self, name: &T) -> Result<u32, ActionsError> {
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let next = number(self.names.len())?;
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), next);
        Ok(next)
    }

    fn known(&self, name: &T) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    fn name(&self, number: u32) -> Option<&T> {
        self.names.get(usize::try_from(number).ok()?)
    }
}

fn number(position: usize) -> Result<u32, ActionsError> {
    u32::try_from(position).map_err(|_source| ActionsError::TooMany { max: u32::MAX })
}
