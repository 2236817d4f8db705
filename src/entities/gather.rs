//! What a slice still needs, and what became of what it had: the walk along a slice plan, without any database.
//!
//! [`Gather::wants`] names facts, [`Gather::take`] receives them, until nothing is wanted any more. A fact that two
//! entities share is wanted once.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::EntityUid;

use super::{
    error::{FactsError, Place},
    facts::Asking,
    load::{FactKey, Want},
};
use crate::domain::{
    Cell, EntityPlan, FactEntity, Loaded, Row, SlicePlan, Value,
    mapping::{Attribute, EntityMapping, Mapping, ParentId, RowState, Rows, Scalar},
    projection,
};

pub(super) struct Gather<'m> {
    mapping: &'m Mapping,
    asking: &'m Asking,
    rows_max: usize,
    rows: usize,
    entries: BTreeMap<EntityUid, Entry<'m>>,
    /// Plans whose attributes are not followed yet.
    plans: Vec<(EntityUid, &'m EntityPlan)>,
    wanted: BTreeMap<FactKey, Vec<EntityUid>>,
}

/// One entity that the plan reached; reached twice, it is loaded once with the relations of both.
struct Entry<'m> {
    kind: Arc<str>,
    mapping: &'m EntityMapping,
    /// The attribute that led here; `None` for the two entities of the question, which may be absent.
    referrer: Option<(Arc<str>, Arc<str>)>,
    own: Own,
    /// `None`: needed and not there yet.
    relations: BTreeMap<Arc<str>, Option<Arc<[Row]>>>,
    has_followed_parents: bool,
}

enum Own {
    Unknown,
    Absent,
    Present(Row),
}

impl<'m> Gather<'m> {
    pub(super) fn new(
        mapping: &'m Mapping,
        plan: &'m SlicePlan,
        asking: &'m Asking,
        rows_max: usize,
    ) -> Result<Self, FactsError> {
        let mut gather = Self {
            mapping,
            asking,
            rows_max,
            rows: 0,
            entries: BTreeMap::new(),
            plans: Vec::new(),
            wanted: BTreeMap::new(),
        };
        gather.need(asking.principal.clone(), Some(&plan.principal), None)?;
        gather.need(asking.resource.clone(), Some(&plan.resource), None)?;
        Ok(gather)
    }

    /// The facts that are needed now; none: the slice is complete.
    pub(super) fn wants(&mut self) -> Result<Vec<Want<'m>>, FactsError> {
        self.follow()?;
        let mut wants = BTreeMap::new();
        self.wanted.clear();
        for (uid, entry) in &mut self.entries {
            if let (Own::Unknown, Some(query)) = (&entry.own, &entry.mapping.query) {
                let key =
                    FactKey { source: entry.mapping.source, kind: entry.kind.clone(), relation: None, id: id_of(uid) };
                self.wanted.entry(key.clone()).or_default().push(uid.clone());
                wants.insert(key.clone(), Want { key, query, columns: &entry.mapping.columns, rows_max: 1 });
            }
            for name in entry.needed_relations() {
                let Some(relation) = entry.mapping.relations.get(&name) else {
                    return Err(FactsError::Plan { kind: entry.kind.clone(), what: "relation", name });
                };
                let id = match relation.key {
                    None => id_of(uid),
                    Some(column) => match entry.key_cell(column, &name)? {
                        Key::Unknown => continue,
                        Key::Null => {
                            entry.relations.insert(name, Some(Arc::new([])));
                            continue;
                        }
                        Key::Is(id) => id,
                    },
                };
                let key = FactKey { source: relation.source, kind: entry.kind.clone(), relation: Some(name), id };
                self.wanted.entry(key.clone()).or_default().push(uid.clone());
                wants.insert(
                    key.clone(),
                    Want { key, query: &relation.query, columns: &relation.columns, rows_max: self.rows_max },
                );
            }
        }
        if wants.is_empty() {
            // A relation whose key was null may have been all that a followed attribute waited for.
            return if self.follow()? { self.wants() } else { Ok(Vec::new()) };
        }
        Ok(wants.into_values().collect())
    }

    /// Receives one fact that [`Self::wants`] named.
    pub(super) fn take(&mut self, key: &FactKey, rows: &Arc<[Row]>) -> Result<(), FactsError> {
        for uid in self.wanted.remove(key).unwrap_or_default() {
            let Some(entry) = self.entries.get_mut(&uid) else { continue };
            match &key.relation {
                Some(relation) => {
                    entry.relations.insert(relation.clone(), Some(rows.clone()));
                    self.rows += rows.len();
                }
                None => match (rows.first(), &entry.referrer) {
                    (Some(row), _) => entry.own = Own::Present(row.clone()),
                    (None, None) => entry.own = Own::Absent,
                    (None, Some((kind, attribute))) => {
                        return Err(FactsError::Dangling { kind: kind.clone(), attribute: attribute.clone() });
                    }
                },
            }
        }
        self.within_limit()
    }

    /// The entities of the complete slice.
    pub(super) fn finish(self) -> BTreeMap<EntityUid, Loaded> {
        let loaded = |entry: Entry<'m>| match entry.own {
            Own::Present(row) => {
                let relations = entry.relations.into_iter().filter_map(|(name, rows)| Some((name, rows?))).collect();
                Loaded::Present(FactEntity { row, relations })
            }
            Own::Absent | Own::Unknown => Loaded::Absent,
        };
        self.entries.into_iter().map(|(uid, entry)| (uid, loaded(entry))).collect()
    }

    fn within_limit(&self) -> Result<(), FactsError> {
        if self.rows > self.rows_max { Err(FactsError::TooLarge { rows_max: self.rows_max }) } else { Ok(()) }
    }

    /// Adds an entity, or adds to what is needed about one that is there already.
    fn need(
        &mut self,
        uid: EntityUid,
        plan: Option<&'m EntityPlan>,
        referrer: Option<(Arc<str>, Arc<str>)>,
    ) -> Result<(), FactsError> {
        if !self.entries.contains_key(&uid) {
            let kind: Arc<str> = uid.type_name().to_string().into();
            let mapping = self.mapping.entity(&kind).ok_or_else(|| FactsError::Unmapped { kind: kind.clone() })?;
            // Parents are part of every entity: without them `in` would be silently false.
            let always = mapping.parents.iter().filter_map(|parent| Some(parent.from.as_ref()?.relation.clone()));
            let mut relations: BTreeMap<_, _> = always.map(|relation| (relation, None)).collect();
            if let Some(tenancy) = &self.mapping.tenancy
                && uid == self.asking.principal
                && kind == tenancy.principal_type
            {
                relations.insert(tenancy.relation.clone(), None);
            }
            let own = match &mapping.query {
                Some(_) => Own::Unknown,
                None => Own::Present(Row { id: id_of(&uid), cells: Arc::new([]) }),
            };
            self.entries
                .insert(uid.clone(), Entry { kind, mapping, referrer, own, relations, has_followed_parents: false });
            self.rows += 1;
            self.within_limit()?;
        }
        if let (Some(plan), Some(entry)) = (plan, self.entries.get_mut(&uid)) {
            for relation in &plan.relations {
                entry.relations.entry(relation.clone()).or_insert(None);
            }
            self.plans.push((uid, plan));
        }
        Ok(())
    }

    /// Follows every attribute and parent that can be followed by now; says whether there was any.
    fn follow(&mut self) -> Result<bool, FactsError> {
        let mut any = false;
        let mut waiting = Vec::new();
        while let Some((uid, plan)) = self.plans.pop() {
            match self.targets(&uid, plan)? {
                None => waiting.push((uid, plan)),
                Some(targets) => {
                    any = true;
                    for (target, next, referrer) in targets {
                        self.need(target, Some(next), Some(referrer))?;
                    }
                }
            }
        }
        self.plans = waiting;
        Ok(self.follow_parents()? || any)
    }

    /// The entities that the attributes of one plan hold; `None`: not known yet.
    #[expect(clippy::type_complexity, reason = "one use, named by its fields there")]
    fn targets(
        &self,
        uid: &EntityUid,
        plan: &'m EntityPlan,
    ) -> Result<Option<Vec<(EntityUid, &'m EntityPlan, (Arc<str>, Arc<str>))>>, FactsError> {
        let mut targets = Vec::new();
        let Some(entry) = self.entries.get(uid) else { return Ok(Some(targets)) };
        for (attribute, next) in &plan.follow {
            match self.target(uid, entry, attribute)? {
                Target::Unknown => return Ok(None),
                Target::Nothing => {}
                Target::Is(target) => targets.push((target, next, (entry.kind.clone(), attribute.clone()))),
            }
        }
        Ok(Some(targets))
    }

    fn target(&self, uid: &EntityUid, entry: &Entry<'m>, attribute: &Arc<str>) -> Result<Target, FactsError> {
        let row = match &entry.own {
            Own::Unknown => return Ok(Target::Unknown),
            Own::Absent => return Ok(Target::Nothing),
            Own::Present(row) => row,
        };
        if let Some(asserted) = self.asking.asserted.get(uid).and_then(|attributes| attributes.get(attribute)) {
            return Ok(if let Value::Entity(target) = asserted { Target::Is(target.clone()) } else { Target::Nothing });
        }
        let no_entity = || FactsError::Plan { kind: entry.kind.clone(), what: "an entity in", name: attribute.clone() };
        match entry.mapping.attributes.get(attribute).ok_or_else(no_entity)? {
            Attribute::Itself => Ok(Target::Is(uid.clone())),
            Attribute::Constant(Value::Entity(target)) => Ok(Target::Is(target.clone())),
            Attribute::Column { column, scalar: Scalar::Entity(kind), .. } => match row.cells.get(*column) {
                Some(Cell::Text(id)) => Ok(Target::Is(uid_of(kind, id)?)),
                // A null in a required attribute is the projection's error.
                Some(Cell::Null) | None => Ok(Target::Nothing),
                Some(Cell::Bool(_) | Cell::Int(_) | Cell::Instant(_) | Cell::List(_)) => Err(no_entity()),
            },
            Attribute::ActingTenant => self.acting_tenant(uid, entry, row),
            Attribute::Column { .. }
            | Attribute::Constant(_)
            | Attribute::Within(_)
            | Attribute::Any(_)
            | Attribute::Set { .. } => Err(no_entity()),
        }
    }

    fn acting_tenant(&self, uid: &EntityUid, entry: &Entry<'m>, row: &Row) -> Result<Target, FactsError> {
        let Some(tenancy) = self.mapping.tenancy.as_ref().filter(|_| *uid == self.asking.principal) else {
            return Ok(Target::Nothing);
        };
        let Some(rows) = entry.relations.get(&tenancy.relation) else { return Ok(Target::Nothing) };
        let Some(rows) = rows else { return Ok(Target::Unknown) };
        let principal =
            FactEntity { row: row.clone(), relations: BTreeMap::from([(tenancy.relation.clone(), rows.clone())]) };
        let (_, acting) =
            projection::acting_tenant(self.mapping, &principal, self.asking.now, self.asking.said_tenant.as_deref());
        acting.map_or(Ok(Target::Nothing), |tenant| Ok(Target::Is(uid_of(&tenancy.tenant_type, &tenant)?)))
    }

    /// Loads parents that may have parents of their own: on an entity that is not there, `in` is silently false.
    fn follow_parents(&mut self) -> Result<bool, FactsError> {
        let mut found = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| !entry.has_followed_parents) {
            if let Some(parents) = entry.parents_with_parents(self.mapping, self.asking)? {
                entry.has_followed_parents = true;
                found.extend(parents);
            }
        }
        let any = !found.is_empty();
        for (parent, kind) in found {
            self.need(parent, None, Some((kind, "parents".into())))?;
        }
        Ok(any)
    }
}

enum Target {
    Unknown,
    Nothing,
    Is(EntityUid),
}

enum Key {
    Unknown,
    Null,
    Is(Arc<str>),
}

impl Entry<'_> {
    fn needed_relations(&self) -> Vec<Arc<str>> {
        match self.own {
            Own::Absent => Vec::new(),
            Own::Unknown | Own::Present(_) => {
                self.relations.iter().filter(|(_, rows)| rows.is_none()).map(|(name, _)| name.clone()).collect()
            }
        }
    }

    /// The cell that a relation goes by.
    fn key_cell(&self, column: usize, relation: &Arc<str>) -> Result<Key, FactsError> {
        let Own::Present(row) = &self.own else { return Ok(Key::Unknown) };
        match row.cells.get(column) {
            Some(Cell::Null) => Ok(Key::Null),
            Some(Cell::Text(id)) => Ok(Key::Is(id.clone())),
            Some(Cell::Int(id)) => Ok(Key::Is(id.to_string().into())),
            Some(Cell::Bool(_) | Cell::Instant(_) | Cell::List(_)) | None => {
                let place = Place { kind: self.kind.clone(), relation: Some(relation.clone()) };
                let column = self.mapping.columns.get(column).map_or_else(|| "?".into(), |column| column.name.clone());
                Err(FactsError::MissingColumn { place, column })
            }
        }
    }

    /// Those of its parents whose type has parents itself; `None`: not known yet.
    ///
    /// Filters are not applied here (they may speak of things that are not loaded yet), so this may be more than the
    /// projection will use, never less.
    fn parents_with_parents(
        &self,
        mapping: &Mapping,
        asking: &Asking,
    ) -> Result<Option<Vec<(EntityUid, Arc<str>)>>, FactsError> {
        let row = match &self.own {
            Own::Unknown => return Ok(None),
            Own::Absent => return Ok(Some(Vec::new())),
            Own::Present(row) => row,
        };
        let mut found = Vec::new();
        for parent in &self.mapping.parents {
            if mapping.entity(&parent.kind).is_none_or(|entity| entity.parents.is_empty()) {
                continue;
            }
            let rows: Vec<&Row> = match &parent.from {
                None => vec![row],
                Some(selection) => {
                    let Some(Some(rows)) = self.relations.get(&selection.relation) else { return Ok(None) };
                    let relation = self.mapping.relations.get(&selection.relation);
                    let is_active = |row: &&Row| {
                        relation.is_none_or(|relation| {
                            matches!(projection::row_state(relation, row, asking.now), RowState::Active { .. })
                        })
                    };
                    rows.iter().filter(|row| selection.rows == Rows::Every || is_active(row)).collect()
                }
            };
            for row in rows {
                let id = match &parent.id {
                    ParentId::Constant(id) => Some(id.clone()),
                    ParentId::Column(column) => match row.cells.get(*column) {
                        Some(Cell::Text(id)) => Some(id.clone()),
                        _ => None,
                    },
                };
                if let Some(id) = id {
                    found.push((uid_of(&parent.kind, &id)?, self.kind.clone()));
                }
            }
        }
        Ok(Some(found))
    }
}

fn id_of(uid: &EntityUid) -> Arc<str> {
    AsRef::<str>::as_ref(uid.id()).into()
}

fn uid_of(kind: &Arc<str>, id: &str) -> Result<EntityUid, FactsError> {
    projection::uid(kind, id).map_err(|_cause| FactsError::TypeName { name: kind.clone() })
}
