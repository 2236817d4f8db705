//! Rows -> entities, at one instant, for one question. The only place where windows are judged.
//!
//! Deliberately absent: any wall clock (the instant is a parameter) and anything the caller said, except which of the
//! principal's own tenants the session is in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid};
use jiff::{Timestamp, ToSpan, tz::TimeZone};

use super::{
    mapping::{
        Attribute, Bound, EntityMapping, Filter, Mapping, Operand, Parent, ParentId, Part, Relation, RowState, Rows,
        Scalar, Selection, Shape, Test, Window,
    },
    slice::{FactEntity, Loaded, Row, Slice},
    value::{Cell, Value},
};

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
}

/// The entities of one question as policies see them.
#[derive(Clone, Debug, Default)]
pub struct Projected {
    pub entities: BTreeMap<EntityUid, ProjectedEntity>,
    /// The tenant that the principal acts in.
    pub tenant: Option<Arc<str>>,
    /// The principal's roles there, sorted.
    pub roles: Vec<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
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
    let name: EntityTypeName = kind.parse().map_err(|_source| ProjectError::TypeName { name: kind.clone() })?;
    Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

/// The tenants a principal belongs to at `now`, home tenant first, and the one it acts in.
///
/// `None` in second place: it belongs to none, or to several and the session names none of them.
pub fn acting_tenant(
    mapping: &Mapping,
    principal: &FactEntity,
    now: Timestamp,
    said: Option<&str>,
) -> (Vec<Arc<str>>, Option<Arc<str>>) {
    let Some(tenancy) = &mapping.tenancy else { return (Vec::new(), None) };
    let Some(entity) = mapping.entity(&tenancy.principal_type) else { return (Vec::new(), None) };
    let mut tenants: Vec<Arc<str>> = Vec::new();
    if let Some(Cell::Text(home)) = tenancy.home_column.and_then(|column| principal.row.cells.get(column)) {
        tenants.push(home.clone());
    }
    if let (Some(relation), Some(rows)) =
        (entity.relations.get(&tenancy.relation), principal.relations.get(&tenancy.relation))
    {
        for row in rows.iter() {
            if !matches!(row_state(relation, row, now), RowState::Active { .. }) {
                continue;
            }
            if let Some(Cell::Text(tenant)) = row.cells.get(tenancy.relation_column)
                && !tenants.contains(tenant)
            {
                tenants.push(tenant.clone());
            }
        }
    }
    let acting = match (said, tenants.as_slice()) {
        (Some(said), all) => all.iter().find(|tenant| &***tenant == said).cloned(),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    };
    (tenants, acting)
}

/// The state of a relation's row at `now`; a relation without a window is always active.
pub fn row_state(relation: &Relation, row: &Row, now: Timestamp) -> RowState {
    match &relation.window {
        None => RowState::Active { until: None },
        Some(window) => window_state(window, &row.cells, now),
    }
}

fn window_state(window: &Window, cells: &[Cell], now: Timestamp) -> RowState {
    let instant = |bound: &Option<Bound>| bound.as_ref().and_then(|bound| bound_at(bound, cells));
    let from = instant(&window.from);
    let to = instant(&window.to);
    let revoked = window.revoked.and_then(|column| match cells.get(column) {
        Some(Cell::Instant(at)) => Some(*at),
        _ => None,
    });
    let counts_as_revoked = window.revoked_if.as_ref().is_none_or(|filter| static_match(filter, cells));
    if let Some(at) = revoked
        && at <= now
        && to.is_none_or(|to| at <= to)
    {
        return if counts_as_revoked { RowState::Revoked { at: Some(at) } } else { RowState::Expired { at: Some(at) } };
    }
    if window.from.is_some() {
        match from {
            None if !window.from_null_is_open => return RowState::NotStarted { from: None },
            Some(from) if now < from => return RowState::NotStarted { from: Some(from) },
            None | Some(_) => {}
        }
    }
    if let Some(to) = to
        && (if window.to_inclusive { now > to } else { now >= to })
    {
        return RowState::Expired { at: Some(to) };
    }
    if window.open_if.as_ref().is_some_and(|filter| !static_match(filter, cells)) {
        let at = revoked.or(to).filter(|at| *at <= now);
        return if counts_as_revoked && window.revoked_if.is_some() {
            RowState::Revoked { at }
        } else {
            RowState::Expired { at }
        };
    }
    let until = match (to, revoked) {
        (Some(to), Some(revoked)) => Some(to.min(revoked)),
        (one, other) => one.or(other),
    };
    RowState::Active { until }
}

fn bound_at(bound: &Bound, cells: &[Cell]) -> Option<Timestamp> {
    let Some(Cell::Instant(at)) = cells.get(bound.column) else { return None };
    let at = at.checked_add(bound.plus).ok()?;
    let Some(column) = bound.plus_years else { return Some(at) };
    let Some(Cell::Int(years)) = cells.get(column) else { return None };
    // Calendar years in UTC: 29 February plus one year is 28 February.
    let zoned = at.to_zoned(TimeZone::UTC).checked_add((*years).years()).ok()?;
    Some(zoned.timestamp())
}

/// A filter that names no operand of the question: windows are judged by the row alone.
fn static_match(filter: &Filter, cells: &[Cell]) -> bool {
    filter.0.iter().any(|all| {
        all.iter().all(|(column, test)| match (test, cells.get(*column)) {
            (Test::Is(wanted), Some(cell)) => cell == wanted,
            (Test::IsNot(wanted), Some(cell)) => cell != wanted,
            (Test::OneOf(wanted), Some(cell)) => wanted.contains(cell),
            (Test::Equals(_) | Test::After(_), _) | (_, None) => false,
        })
    })
}

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
        for (uid, loaded) in &self.slice.entities {
            let Loaded::Present(entity) = loaded else { continue };
            projected.entities.insert(uid.clone(), self.project_one(uid, entity)?);
        }
        Ok(projected)
    }

    fn project_one(&self, uid: &EntityUid, entity: &FactEntity) -> Result<ProjectedEntity, ProjectError> {
        let kind = Arc::<str>::from(uid.type_name().to_string());
        let mapping = self.mapping.entity(&kind).ok_or_else(|| ProjectError::Unmapped { kind: kind.clone() })?;
        let mut out = ProjectedEntity::default();
        for (name, attribute) in &mapping.attributes {
            if let Some(value) = self.attribute(uid, &kind, mapping, entity, name, attribute)? {
                out.attributes.insert(name.clone(), value);
            }
        }
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
    pub fn to_cedar(&self) -> Result<Vec<Entity>, cedar_policy::EntityAttrEvaluationError> {
        self.entities
            .iter()
            .map(|(uid, entity)| {
                let attributes =
                    entity.attributes.iter().map(|(name, value)| (name.to_string(), value.to_cedar())).collect();
                Entity::new(uid.clone(), attributes, entity.parents.iter().cloned().collect())
            })
            .collect()
    }
}

fn parent_id(id: &ParentId, row: &Row) -> Option<Arc<str>> {
    match id {
        ParentId::Constant(id) => Some(id.clone()),
        ParentId::Column(column) => match row.cells.get(*column) {
            Some(Cell::Text(id)) => Some(id.clone()),
            _ => None,
        },
    }
}

fn scalar_value(cell: &Cell, scalar: &Scalar) -> Result<Option<Value>, ProjectError> {
    Ok(match (cell, scalar) {
        (Cell::Bool(value), Scalar::Bool) => Some(Value::Bool(*value)),
        (Cell::Int(value), Scalar::Long) => Some(Value::Long(*value)),
        (Cell::Text(value), Scalar::Text) => Some(Value::Text(value.clone())),
        (Cell::Text(value), Scalar::Entity(kind)) => Some(Value::Entity(uid(kind, value)?)),
        (Cell::Null | Cell::Bool(_) | Cell::Int(_) | Cell::Text(_) | Cell::Instant(_) | Cell::List(_), _) => None,
    })
}

/// The members one row contributes: one, or one for each word of its list columns.
fn contributed(shape: &Shape, row: &Row) -> Result<Vec<Value>, ProjectError> {
    match shape {
        Shape::Member(part) => part_values(part, row),
        Shape::Record(parts) => {
            let mut records = vec![BTreeMap::new()];
            for (name, part) in parts {
                let values = part_values(part, row)?;
                records = records
                    .into_iter()
                    .flat_map(|record| {
                        values.iter().map(move |value| {
                            let mut record: BTreeMap<Arc<str>, Value> = record.clone();
                            record.insert(name.clone(), value.clone());
                            record
                        })
                    })
                    .collect();
            }
            Ok(records.into_iter().map(Value::Record).collect())
        }
    }
}

/// A null cell contributes nothing; a cell of another kind is an error, since it may have been meant as a bar.
fn part_values(part: &Part, row: &Row) -> Result<Vec<Value>, ProjectError> {
    let wrong = |column: usize| ProjectError::Kind {
        kind: "relation row".into(),
        attribute: format!("column {column}").into(),
    };
    match part {
        Part::Constant(value) => Ok(vec![value.clone()]),
        Part::Column(column, scalar) => match row.cells.get(*column) {
            Some(Cell::Null) => Ok(Vec::new()),
            Some(cell) => scalar_value(cell, scalar)?.map_or_else(|| Err(wrong(*column)), |value| Ok(vec![value])),
            None => Err(wrong(*column)),
        },
        Part::Each { column, scalar, when_empty } => match row.cells.get(*column) {
            Some(Cell::List(words)) => {
                let words = if words.is_empty() { when_empty } else { words };
                words
                    .iter()
                    .map(|word| scalar_value(&Cell::Text(word.clone()), scalar)?.ok_or_else(|| wrong(*column)))
                    .collect()
            }
            Some(_) | None => Err(wrong(*column)),
        },
    }
}
