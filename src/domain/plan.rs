//! Which facts the policies of one request environment can reach.

use std::{collections::BTreeMap, sync::Arc};

/// The slice plan of one request environment (principal type, action, resource type).
///
/// `engine` derives it from the policies; `entities` loads exactly what it names, or fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlicePlan {
    pub principal: EntityPlan,
    pub resource: EntityPlan,
}

/// What to load about one entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityPlan {
    /// Relations of the entity's mapping, by name, sorted.
    pub relations: Vec<Arc<str>>,
    /// Attributes that hold another entity which a policy looks into -> what to load about that one.
    pub follow: BTreeMap<Arc<str>, EntityPlan>,
}
