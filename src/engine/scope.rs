//! The scope of a policy: its tests of principal, action and resource by type and uid.
//!
//! A scope cannot fail and looks into no attribute, so it may be judged apart from the policy's body, and for all
//! requests of one environment at once.

use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, Policy, PrincipalConstraint, Request, ResourceConstraint,
};

use super::actions::{Actions, Members};

/// What a policy's head says.
#[derive(Clone, Debug)]
pub struct Scope {
    principal: Party,
    action: ActionConstraint,
    resource: Party,
}

/// A scope's test of the principal or the resource.
#[derive(Clone, Debug)]
enum Party {
    Any,
    Is(EntityTypeName),
    In(EntityUid),
    Eq(EntityUid),
    IsIn(EntityTypeName, EntityUid),
}

impl Scope {
    pub fn of(policy: &Policy) -> Self {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => Party::Any,
            PrincipalConstraint::Is(kind) => Party::Is(kind),
            PrincipalConstraint::In(uid) => Party::In(uid),
            PrincipalConstraint::Eq(uid) => Party::Eq(uid),
            PrincipalConstraint::IsIn(kind, uid) => Party::IsIn(kind, uid),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => Party::Any,
            ResourceConstraint::Is(kind) => Party::Is(kind),
            ResourceConstraint::In(uid) => Party::In(uid),
            ResourceConstraint::Eq(uid) => Party::Eq(uid),
            ResourceConstraint::IsIn(kind, uid) => Party::IsIn(kind, uid),
        };
        Self { principal, action: policy.action_constraint(), resource }
    }

    /// The principal that it names by `==` or `in`: a person, or a role.
    pub fn named_principal(&self) -> Option<&EntityUid> {
        self.principal.named()
    }

    pub fn named_resource(&self) -> Option<&EntityUid> {
        self.resource.named()
    }

    pub fn fits_action(&self, actions: &Actions, action: &EntityUid) -> bool {
        actions.fits(&self.action, action)
    }

    /// Which actions it holds for, by their numbers.
    pub fn fitting_actions(&self, members: &Members<'_>) -> Vec<bool> {
        members.fitting(&self.action)
    }

    /// Whether it may hold for principals and resources of these types.
    pub fn fits_types(&self, principal: &EntityTypeName, resource: &EntityTypeName) -> bool {
        self.principal.may_hold_for(principal) && self.resource.may_hold_for(resource)
    }

    /// Whether its tests of principal and resource hold for `request`, as Cedar would judge them over `entities`.
    pub fn holds_for_parties(&self, request: &Request, entities: &Entities) -> bool {
        let (Some(principal), Some(resource)) = (request.principal(), request.resource()) else { return false };
        self.principal.holds_for(principal, entities) && self.resource.holds_for(resource, entities)
    }
}

impl Party {
    fn named(&self) -> Option<&EntityUid> {
        match self {
            Self::In(uid) | Self::Eq(uid) | Self::IsIn(_, uid) => Some(uid),
            Self::Any | Self::Is(_) => None,
        }
    }

    fn may_hold_for(&self, kind: &EntityTypeName) -> bool {
        match self {
            Self::Any | Self::In(_) => true,
            Self::Is(wanted) | Self::IsIn(wanted, _) => wanted == kind,
            Self::Eq(uid) => uid.type_name() == kind,
        }
    }

    fn holds_for(&self, asked: &EntityUid, entities: &Entities) -> bool {
        let is_in = |uid: &EntityUid| uid == asked || entities.is_ancestor_of(uid, asked);
        match self {
            Self::Any => true,
            Self::Is(kind) => kind == asked.type_name(),
            Self::In(uid) => is_in(uid),
            Self::Eq(uid) => uid == asked,
            Self::IsIn(kind, uid) => kind == asked.type_name() && is_in(uid),
        }
    }
}
