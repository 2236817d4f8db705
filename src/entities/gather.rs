//! What a slice still needs, and what became of what it had: the walk along a slice plan, without any database.
//!
//! [`Gather::wants`] names facts, [`Gather::take`] receives them, until nothing is wanted any more. A fact that two
//! entities share is wanted once.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::EntityUid;
use jiff::Timestamp;

use super::{
    entry::{Entry, Key, Lead, Own, Referrer, id_of, uid_of},
    error::FactsError,
    facts::Asking,
    keep::Slot,
    load::{FactKey, Want},
};
use crate::domain::{
    Cell, EntityPlan, FactEntity, Loaded, Row, Skew, SlicePlan, Value,
    mapping::{Attribute, Mapping, Scalar},
    projection,
};

pub(super) struct Gather<'m> {
    mapping: &'m Mapping,
    asking: &'m Asking,
    /// What the clocks may show: rows that are active at any of these count.
    instants: [Timestamp; 3],
    rows_max: usize,
    rows: usize,
    entries: BTreeMap<EntityUid, Entry<'m>>,
    /// Plans whose attributes are not followed yet.
    plans: Vec<(EntityUid, &'m EntityPlan)>,
    wanted: BTreeMap<FactKey, Vec<EntityUid>>,
}

impl<'m> Gather<'m> {
    pub(super) fn new(
        mapping: &'m Mapping,
        plan: &'m SlicePlan,
        asking: &'m Asking,
        skew: Skew,
        rows_max: usize,
    ) -> Result<Self, FactsError> {
        let (earliest, latest) = skew.around(asking.now);
        let mut gather = Self {
            mapping,
            asking,
            instants: [earliest, asking.now, latest],
            rows_max,
            rows: 0,
            entries: BTreeMap::new(),
            plans: Vec::new(),
            wanted: BTreeMap::new(),
        };
        for (uid, plan) in [(&asking.principal, &plan.principal), (&asking.resource, &plan.resource)] {
            gather.need(Lead { uid: uid.clone(), plan: Some(plan), referrer: None })?;
        }
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
                let want = Want {
                    key: key.clone(),
                    query,
                    columns: &entry.mapping.columns,
                    rows_max: 1,
                    slot: Slot::OfEntity(0),
                };
                wants.insert(key, want);
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
                let want = Want {
                    key: key.clone(),
                    query: &relation.query,
                    columns: &relation.columns,
                    rows_max: self.rows_max,
                    slot: entry.slot(&key),
                };
                wants.insert(key, want);
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
                    (None, Some(Referrer { kind, attribute })) => {
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
    fn need(&mut self, lead: Lead<'m>) -> Result<(), FactsError> {
        let Lead { uid, plan, referrer } = lead;
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
            match self.leads(&uid, plan)? {
                None => waiting.push((uid, plan)),
                Some(leads) => {
                    any = true;
                    for lead in leads {
                        self.need(lead)?;
                    }
                }
            }
        }
        self.plans = waiting;
        Ok(self.follow_parents()? || any)
    }

    /// Where the attributes of one plan lead; `None`: not known yet.
    fn leads(&self, uid: &EntityUid, plan: &'m EntityPlan) -> Result<Option<Vec<Lead<'m>>>, FactsError> {
        let mut leads = Vec::new();
        let Some(entry) = self.entries.get(uid) else { return Ok(Some(leads)) };
        for (attribute, next) in &plan.follow {
            match self.target(uid, entry, attribute)? {
                Target::Unknown => return Ok(None),
                Target::Nothing => {}
                Target::Is(uid) => {
                    let referrer = Some(Referrer { kind: entry.kind.clone(), attribute: attribute.clone() });
                    leads.push(Lead { uid, plan: Some(next), referrer });
                }
            }
        }
        Ok(Some(leads))
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
            if let Some(parents) = entry.parents_with_parents(self.mapping, &self.instants)? {
                entry.has_followed_parents = true;
                found.extend(parents);
            }
        }
        let any = !found.is_empty();
        for lead in found {
            self.need(lead)?;
        }
        Ok(any)
    }
}

enum Target {
    Unknown,
    Nothing,
    Is(EntityUid),
}
