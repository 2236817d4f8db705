//! Field groups: what `clinic.fields.yaml` says, typed. From it the schema's actions are made.

use std::{collections::BTreeMap, sync::Arc};

use crate::domain::{Mode, Tier};

/// The whole taxonomy. Maps keep the order of the file where answers depend on it (`groups_in_order`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taxonomy {
    pub verbs: BTreeMap<Arc<str>, Verb>,
    pub actions: BTreeMap<Arc<str>, PlainAction>,
    pub groups: BTreeMap<Arc<str>, Group>,
    pub types: BTreeMap<Arc<str>, TypeFields>,
    pub header: Option<Header>,
    /// Named lists of groups, those of the matrix (`therapist.Ra`) included.
    pub classes: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

/// A verb that is asked once for each group.
#[derive(Clone, Debug, PartialEq)]
pub struct Verb {
    pub mode: Mode,
    pub crud: char,
    /// A group with no permit for this verb may still be shown masked (`mask:GROUP` is asked).
    pub masks: bool,
    pub durability: Tier,
    /// Types it may be asked on; `None`: every type that has groups.
    pub on: Option<Vec<Arc<str>>>,
    /// May name any group, not only those of the type.
    pub any_group: bool,
}

/// A verb without fields.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainAction {
    /// Type -> the group that the action touches there.
    pub on: BTreeMap<Arc<str>, Arc<str>>,
    pub crud: char,
    pub durability: Tier,
    /// Asked by Chaperone itself only; a caller that asks it gets `unknown_action`.
    pub internal: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Sensitivity: U, L, N, R or V, rising.
    pub label: char,
    pub masked_as: Option<Arc<str>>,
    /// May govern a record whose label calls for it.
    pub governs: bool,
    /// Exists only to govern (`clin.psynote`); nobody asks for it by name.
    pub governing: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TypeFields {
    /// Own groups in the order of the file, each with its columns.
    pub groups: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// Attribute that, when present, names the group deciding for all own groups.
    pub governed_by: Option<Arc<str>>,
    /// Attribute leading to the record whose header groups this type answers for too.
    pub header: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub kind: Arc<str>,
    pub groups: Vec<Arc<str>>,
    pub verbs: Vec<Arc<str>>,
}
