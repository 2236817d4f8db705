//! Rows -> entities, at one instant, for one question.
//!
//! Deliberately absent: any wall clock (the instant is a parameter) and anything the caller said, except which of the
//! principal's own tenants the session is in.

mod after;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid};
use jiff::Timestamp;

use super::{
    mapping::{Attribute, EntityMapping, Filter, Mapping, Operand, Parent, Relation, RowState, Rows, Selection, Test},
    shape::{contributed, parent_id, scalar_value},
    slice::{FactEntity, Loaded, Row, Slice},
    value::{Cell, Value},
    window::{window_instants, window_state},
};
pub use super::{tenancy::acting_tenant, window::row_state};
pub use after::names_between;

/// Why facts could not become entities. Each means that the data do not fit the mapping: the decision is a deny.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    #[error("attribute `{attribute}` of `{kind}` is null but required")]
    Null { kind: Arc<str>, attribute: Arc<str> },
    #[error("attribute `{attribute}` of `{kind}` holds another kind of value than the mapping says")]
    Kind { kind: Arc<str>, attribute: Arc<str> },
    #[error("`{kind}` is no entity type of the mapping")]
    Unmapped { kind: Arc<str> },
    #[error("`{name}` is not a type name")]
    TypeName { name: Arc<str> },
    /// `in` on an entity whose parents are unknown would be silently false.
    #[error("relation `{relation}` of `{kind}`, which names parents or tenants, was not loaded")]
    Missing { kind: Arc<str>, relation: Arc<str> },
}

/// The entities of one question as policies see them.
#[derive(Clone, Debug, Default)]
pub struct Projected {
    /// Shared with what was seen of a slice that differs elsewhere.
    pub entities: BTreeMap<EntityUid, Arc<ProjectedEntity>>,
    /// The tenant that the principal acts in.
    pub tenant: Option<Arc<str>>,
    /// The principal's roles there, sorted.
    pub roles: Vec<Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectedEntity {
    pub attributes: BTreeMap<Arc<str>, Value>,
    pub parents: BTreeSet<EntityUid>,
}

/// A row that contributed a member, for evidence.
#[derive(Clone, Copy, Debug)]
pub struct Contribution<'a> {
    pub kind: &'a Arc<str>,
    pub row: &'a Row,
    pub until: Option<Timestamp>,
}

/// A slice seen at one instant by one principal.
pub struct View<'a> {
    mapping: &'a Mapping,
    slice: &'a Slice,
    now: Timestamp,
    tenant: Option<Arc<str>>,
    tenants: Vec<Arc<str>>,
    roles: Vec<Arc<str>>,
}

/// Builds a uid from a type name of the mapping and an id, never by formatting text.
///
/// # Errors
///
/// [`ProjectError::TypeName`] if the type is not a Cedar name.
pub fn uid(kind: &Arc<str>, id: &str) -> Result<EntityUid, ProjectError> {
    Ok(EntityUid::from_type_name_and_id(type_name(kind)?, EntityId::new(id)))
}

/// Type names that a thread remembers: those of a schema, and some that callers made up.
const NAMES_MAX: usize = 256;
/// A longer one is parsed each time.
const NAME_BYTES_MAX: usize = 128;

thread_local! {
    static NAMES: RefCell<HashMap<Arc<str>, EntityTypeName>> = RefCell::new(HashMap::new());
}

/// Cedar's parser takes longer over a name than a policy over an entity, and names repeat.
fn type_name(kind: &Arc<str>) -> Result<EntityTypeName, ProjectError> {
    NAMES.with_borrow_mut(|names| {
        if let Some(known) = names.get(kind) {
            return Ok(known.clone());
        }
        let name: EntityTypeName = kind.parse().map_err(|_source| ProjectError::TypeName { name: kind.clone() })?;
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        if kind.len() <= NAME_BYTES_MAX {
            names.insert(kind.clone(), name.clone());
        }
        Ok(name)
    })
}

/// The value of an attribute that need not be made, an absent one too; `None` where it must.
type Known<'k> = dyn Fn(&Arc<str>, &Attribute) -> Option<Option<Value>> + 'k;

impl<'a> View<'a> {
    /// Looks at `slice` at the instant `now`; `said_tenant` is what the session says.
    pub fn new(mapping: &'a Mapping, slice: &'a Slice, now: Timestamp, said_tenant: Option<&str>) -> Self {
        let (tenants, tenant) = match slice.present(&slice.principal) {
            Some(principal) => acting_tenant(mapping, principal, now, said_tenant),
            None => (Vec::new(), None),
        };
        let mut view = Self { mapping, slice, now, tenant, tenants, roles: Vec::new() };
        view.roles = view.principal_roles();
        view
    }

    /// Everything policies may see.
    ///
    /// # Errors
    ///
    /// [`ProjectError`] if a row does not fit the mapping: a required value is null or of another kind.
    pub fn project(&self) -> Result<Projected, ProjectError> {
        let mut projected =
            Projected { entities: BTreeMap::new(), tenant: self.tenant.clone(), roles: self.roles.clone() };
        for (uid, loaded) in &*self.slice.entities {
            let Loaded::Present(entity) = loaded else { continue };
            projected.entities.insert(uid.clone(), Arc::new(self.project_one(uid, entity)?));
        }
        Ok(projected)
    }

    fn project_one(&self, uid: &EntityUid, entity: &FactEntity) -> Result<ProjectedEntity, ProjectError> {
        self.project_knowing(uid, entity, &|_name, _attribute| None)
    }

    /// The same, of what is known and what is not. What is asserted goes over either.
    fn project_knowing(
        &self,
        uid: &EntityUid,
        entity: &FactEntity,
        known: &Known<'_>,
    ) -> Result<ProjectedEntity, ProjectError> {
        let kind = Arc::<str>::from(uid.type_name().to_string());
        let mapping = self.mapping.entity(&kind).ok_or_else(|| ProjectError::Unmapped { kind: kind.clone() })?;
        self.has_standing(uid, &kind, mapping, entity)?;
        let named = mapping.attributes.iter().map(|(name, attribute)| {
            let value = match known(name, attribute) {
                Some(value) => value,
                None => self.attribute(uid, &kind, mapping, entity, name, attribute)?,
            };
            Ok(value.map(|value| (name.clone(), value)))
        });
        // Collected, not inserted one by one: a map that is kept is half as large for it.
        let attributes = named.filter_map(Result::transpose).collect::<Result<_, ProjectError>>()?;
        let mut out = ProjectedEntity { attributes, parents: BTreeSet::new() };
        if let Some(asserted) = self.slice.asserted.get(uid) {
            out.attributes.extend(asserted.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        for parent in &mapping.parents {
            for id in self.parent_ids(mapping, entity, parent) {
                out.parents.insert(self::uid(&parent.kind, &id)?);
            }
        }
        Ok(out)
    }

    /// Parents, and the tenants of the principal, are part of every slice. Without them a bar that names a role would be
    /// false without an error.
    fn has_standing(
        &self,
        uid: &EntityUid,
        kind: &Arc<str>,
        mapping: &EntityMapping,
        entity: &FactEntity,
    ) -> Result<(), ProjectError> {
        let tenancy = self.mapping.tenancy.as_ref().filter(|_| *uid == self.slice.principal);
        let tenancy = tenancy.filter(|tenancy| tenancy.principal_type == *kind).map(|tenancy| &tenancy.relation);
        let parents = mapping.parents.iter().filter_map(|parent| Some(&parent.from.as_ref()?.relation));
        match parents.chain(tenancy).find(|relation| !entity.relations.contains_key(*relation)) {
            Some(relation) => Err(ProjectError::Missing { kind: kind.clone(), relation: relation.clone() }),
            None => Ok(()),
        }
    }

    /// `None`: the attribute is optional and absent, or its relation is not part of the slice plan. A policy that
    /// reads what the plan left out then errs, and an error is a deny.
    fn attribute(
        &self,
        uid: &EntityUid,
        kind: &Arc<str>,
        mapping: &EntityMapping,
        entity: &FactEntity,
        name: &Arc<str>,
        attribute: &Attribute,
    ) -> Result<Option<Value>, ProjectError> {
        match attribute {
            Attribute::Column { column, scalar, optional } => match entity.row.cells.get(*column) {
                Some(Cell::Null) | None if *optional => Ok(None),
                Some(Cell::Null) | None => Err(ProjectError::Null { kind: kind.clone(), attribute: name.clone() }),
                Some(cell) => scalar_value(cell, scalar)?.map_or_else(
                    || Err(ProjectError::Kind { kind: kind.clone(), attribute: name.clone() }),
                    |value| Ok(Some(value)),
                ),
            },
            Attribute::Within(window) => Ok(Some(Value::Bool(matches!(
                window_state(window, &entity.row.cells, self.now),
                RowState::Active { .. }
            )))),
            Attribute::Constant(value) => Ok(Some(value.clone())),
            Attribute::Itself => Ok(Some(Value::Entity(uid.clone()))),
            Attribute::ActingTenant => {
                if *uid != self.slice.principal {
                    return Ok(None);
                }
                let Some((tenant, tenancy)) = self.tenant.as_ref().zip(self.mapping.tenancy.as_ref()) else {
                    return Ok(None);
                };
                Ok(Some(Value::Entity(self::uid(&tenancy.tenant_type, tenant)?)))
            }
            Attribute::Any(selections) => {
                if !selections.iter().all(|selection| entity.relations.contains_key(&selection.relation)) {
                    return Ok(None);
                }
                let any = selections.iter().any(|selection| self.selected(mapping, entity, selection).next().is_some());
                Ok(Some(Value::Bool(any)))
            }
            Attribute::Set { from, plus_self } => {
                if !from.iter().all(|(selection, _)| entity.relations.contains_key(&selection.relation)) {
                    return Ok(None);
                }
                let mut members = BTreeSet::new();
                if *plus_self {
                    members.insert(Value::Entity(uid.clone()));
                }
                for (selection, shape) in from {
                    for (_, row, _) in self.selected(mapping, entity, selection) {
                        members.extend(contributed(shape, row)?);
                    }
                }
                Ok(Some(Value::Set(members.into_iter().collect())))
            }
        }
    }

    /// The rows that put `member` into the set `attribute` of `uid`, with the kind they are called by.
    pub fn contributions(&self, uid: &EntityUid, attribute: &str, member: &Value) -> Vec<Contribution<'a>> {
        let mut found = Vec::new();
        let Some(entity) = self.slice.present(uid) else { return found };
        let Some(mapping) = self.mapping.entity(&uid.type_name().to_string()) else { return found };
        match mapping.attributes.get(attribute) {
            Some(Attribute::Set { from, .. }) => {
                for (selection, shape) in from {
                    for (relation, row, until) in self.selected(mapping, entity, selection) {
                        if let Some(kind) = &relation.kind
                            && contributed(shape, row).is_ok_and(|members| members.contains(member))
                        {
                            found.push(Contribution { kind, row, until });
                        }
                    }
                }
            }
            Some(Attribute::Any(selections)) => {
                for selection in selections {
                    for (relation, row, until) in self.selected(mapping, entity, selection) {
                        if let Some(kind) = &relation.kind {
                            found.push(Contribution { kind, row, until });
                        }
                    }
                }
            }
            Some(
                Attribute::Column { .. }
                | Attribute::Within(_)
                | Attribute::Constant(_)
                | Attribute::Itself
                | Attribute::ActingTenant,
            )
            | None => {}
        }
        found
    }

    /// Instants after `after` and not after `until` at which a window of the slice opens or closes, ascending.
    pub fn boundaries(&self, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let mut instants = BTreeSet::new();
        for (uid, loaded) in &*self.slice.entities {
            let (Loaded::Present(entity), Some(mapping)) = (loaded, self.mapping.entity(&uid.type_name().to_string()))
            else {
                continue;
            };
            for (name, rows) in &entity.relations {
                let Some(window) = mapping.relations.get(name).and_then(|relation| relation.window.as_ref()) else {
                    continue;
                };
                instants.extend(rows.iter().flat_map(|row| window_instants(window, &row.cells)));
            }
            for attribute in mapping.attributes.values() {
                if let Attribute::Within(window) = attribute {
                    instants.extend(window_instants(window, &entity.row.cells));
                }
            }
        }
        instants.into_iter().filter(|instant| *instant > after && *instant <= until).collect()
    }

    /// The rows that made `parent` a parent of `uid`.
    pub fn parent_contributions(&self, uid: &EntityUid, parent: &EntityUid) -> Vec<Contribution<'a>> {
        let mut found = Vec::new();
        let Some(entity) = self.slice.present(uid) else { return found };
        let Some(mapping) = self.mapping.entity(&uid.type_name().to_string()) else { return found };
        for spec in &mapping.parents {
            let Some(selection) = &spec.from else { continue };
            if *spec.kind != *parent.type_name().to_string() {
                continue;
            }
            for (relation, row, until) in self.selected(mapping, entity, selection) {
                if let Some(kind) = &relation.kind
                    && parent_id(&spec.id, row).is_some_and(|id| *id == *AsRef::<str>::as_ref(parent.id()))
                {
                    found.push(Contribution { kind, row, until });
                }
            }
        }
        found
    }

    /// Rows of `selection` in the asked state that pass its filter.
    fn selected(
        &self,
        mapping: &'a EntityMapping,
        entity: &'a FactEntity,
        selection: &'a Selection,
    ) -> impl Iterator<Item = (&'a Relation, &'a Row, Option<Timestamp>)> {
        let relation = mapping.relations.get(&selection.relation);
        let rows = entity.relations.get(&selection.relation).map_or(&[][..], |rows| &rows[..]);
        relation.into_iter().flat_map(move |relation| {
            rows.iter().filter_map(move |row| {
                let until = match (row_state(relation, row, self.now), selection.rows) {
                    (RowState::Active { until }, _) => until,
                    (
                        RowState::NotStarted { .. } | RowState::Expired { .. } | RowState::Revoked { .. },
                        Rows::Every,
                    ) => None,
                    (
                        RowState::NotStarted { .. } | RowState::Expired { .. } | RowState::Revoked { .. },
                        Rows::Active,
                    ) => return None,
                };
                let passes = selection.filter.as_ref().is_none_or(|filter| self.passes(filter, &row.cells));
                passes.then_some((relation, row, until))
            })
        })
    }

    fn parent_ids(&self, mapping: &'a EntityMapping, entity: &'a FactEntity, parent: &'a Parent) -> Vec<Arc<str>> {
        match &parent.from {
            None => {
                let passes = parent.filter.as_ref().is_none_or(|filter| self.passes(filter, &entity.row.cells));
                if passes { parent_id(&parent.id, &entity.row).into_iter().collect() } else { Vec::new() }
            }
            Some(selection) => {
                self.selected(mapping, entity, selection).filter_map(|(_, row, _)| parent_id(&parent.id, row)).collect()
            }
        }
    }

    /// The principal's parents' ids, before roles can be an operand of anything.
    fn principal_roles(&self) -> Vec<Arc<str>> {
        let Some(entity) = self.slice.present(&self.slice.principal) else { return Vec::new() };
        let Some(mapping) = self.mapping.entity(&self.slice.principal.type_name().to_string()) else {
            return Vec::new();
        };
        let mut roles: Vec<Arc<str>> =
            mapping.parents.iter().flat_map(|parent| self.parent_ids(mapping, entity, parent)).collect();
        roles.sort();
        roles.dedup();
        roles
    }

    fn passes(&self, filter: &Filter, cells: &[Cell]) -> bool {
        filter.0.iter().any(|all| {
            all.iter().all(|(column, test)| {
                let Some(cell) = cells.get(*column) else { return false };
                match test {
                    Test::Is(wanted) => cell == wanted,
                    Test::IsNot(wanted) => cell != wanted,
                    Test::OneOf(wanted) => wanted.contains(cell),
                    Test::Equals(operand) => self.equals(operand, cell),
                    Test::After(operand) => match (cell, self.resource_cell(operand)) {
                        (Cell::Instant(at), Some(Cell::Instant(other))) => at > other,
                        _ => false,
                    },
                    Test::AfterOrUnknown(operand) => match (cell, self.resource_cell(operand)) {
                        (Cell::Instant(at), Some(Cell::Instant(other))) => at > other,
                        (_, known) => known.is_none(),
                    },
                }
            })
        })
    }

    fn equals(&self, operand: &Operand, cell: &Cell) -> bool {
        let text = match cell {
            Cell::Text(text) => &**text,
            Cell::Null | Cell::Bool(_) | Cell::Int(_) | Cell::Instant(_) | Cell::List(_) => return false,
        };
        match operand {
            Operand::PrincipalId => AsRef::<str>::as_ref(self.slice.principal.id()) == text,
            Operand::Tenant => self.tenant.as_deref() == Some(text),
            Operand::Roles => self.roles.iter().any(|role| &**role == text),
            Operand::OtherTenants => {
                let here = self.resource_tenant();
                self.tenants.iter().any(|tenant| &**tenant == text && here != Some(tenant))
            }
            Operand::ResourceType => self.slice.resource.type_name().basename() == text,
            Operand::ResourceId => AsRef::<str>::as_ref(self.slice.resource.id()) == text,
            Operand::Resource(_) => self.resource_cell(operand) == Some(cell),
        }
    }

    fn resource_cell(&self, operand: &Operand) -> Option<&Cell> {
        let Operand::Resource(name) = operand else { return None };
        let mapping = self.mapping.entity(&self.slice.resource.type_name().to_string())?;
        let cell = self.slice.present(&self.slice.resource)?.row.cells.get(mapping.column(name)?)?;
        (*cell != Cell::Null).then_some(cell)
    }

    fn resource_tenant(&self) -> Option<&Arc<str>> {
        match self.resource_cell(&Operand::Resource("tenant_id".into())) {
            Some(Cell::Text(tenant)) => Some(tenant),
            _ => None,
        }
    }
}

impl Projected {
    /// The entities for Cedar's evaluator.
    ///
    /// # Errors
    ///
    /// Cedar's own error if a value cannot be built.
    pub fn to_cedar(&self) -> Result<Vec<Entity>, Box<cedar_policy::EntityAttrEvaluationError>> {
        self.entities.iter().map(|(uid, entity)| entity.to_cedar(uid)).collect()
    }
}

impl ProjectedEntity {
    fn to_cedar(&self, uid: &EntityUid) -> Result<Entity, Box<cedar_policy::EntityAttrEvaluationError>> {
        let attributes = self.attributes.iter().map(|(name, value)| (name.to_string(), value.to_cedar())).collect();
        Entity::new(uid.clone(), attributes, self.parents.iter().cloned().collect()).map_err(Box::new)
    }
}

#[cfg(test)]
mod tests;
