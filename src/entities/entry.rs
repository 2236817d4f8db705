//! One entity of a slice while it is gathered.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::EntityUid;
use jiff::Timestamp;

use super::{
    error::{FactsError, Place},
    keep::Slot,
    load::FactKey,
};
use crate::domain::{
    Cell, EntityPlan, Row,
    mapping::{EntityMapping, Mapping, ParentId, RowState, Rows},
    projection,
};

/// One entity that the plan reached; reached twice, it is loaded once with the relations of both.
pub(super) struct Entry<'m> {
    pub(super) kind: Arc<str>,
    pub(super) mapping: &'m EntityMapping,
    /// The attribute that led here; `None` for the two entities of the question, which may be absent.
    pub(super) referrer: Option<Referrer>,
    pub(super) own: Own,
    /// `None`: needed and not there yet.
    pub(super) relations: BTreeMap<Arc<str>, Option<Arc<[Row]>>>,
    pub(super) has_followed_parents: bool,
}

/// The attribute that names another entity.
#[derive(Clone)]
pub(super) struct Referrer {
    pub(super) kind: Arc<str>,
    pub(super) attribute: Arc<str>,
}

/// A way to an entity, and what is needed about it on this way.
pub(super) struct Lead<'m> {
    pub(super) uid: EntityUid,
    pub(super) plan: Option<&'m EntityPlan>,
    pub(super) referrer: Option<Referrer>,
}

pub(super) enum Own {
    Unknown,
    Absent,
    Present(Row),
}

pub(super) enum Key {
    Unknown,
    Null,
    Is(Arc<str>),
}

impl<'m> Entry<'m> {
    pub(super) fn needed_relations(&self) -> Vec<Arc<str>> {
        match self.own {
            Own::Absent => Vec::new(),
            Own::Unknown | Own::Present(_) => {
                self.relations.iter().filter(|(_, rows)| rows.is_none()).map(|(name, _)| name.clone()).collect()
            }
        }
    }

    /// Where a fact of this entity is kept.
    pub(super) fn slot(&self, key: &FactKey) -> Slot {
        let Some(relation) = &key.relation else { return Slot::OfEntity(0) };
        let is_by_id = self.mapping.relations.get(relation).is_some_and(|relation| relation.key.is_none());
        let position = self.mapping.relations.keys().position(|name| name == relation);
        match position.and_then(|position| u16::try_from(position + 1).ok()) {
            Some(number) if is_by_id => Slot::OfEntity(number),
            Some(_) | None => Slot::Alone,
        }
    }

    /// The cell that a relation goes by.
    pub(super) fn key_cell(&self, column: usize, relation: &Arc<str>) -> Result<Key, FactsError> {
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
    pub(super) fn parents_with_parents(
        &self,
        mapping: &Mapping,
        instants: &[Timestamp],
    ) -> Result<Option<Vec<Lead<'m>>>, FactsError> {
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
                            let is_active =
                                |at| matches!(projection::row_state(relation, row, at), RowState::Active { .. });
                            instants.iter().copied().any(is_active)
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
                    let referrer = Some(Referrer { kind: self.kind.clone(), attribute: "parents".into() });
                    found.push(Lead { uid: uid_of(&parent.kind, &id)?, plan: None, referrer });
                }
            }
        }
        Ok(Some(found))
    }
}

pub(super) fn id_of(uid: &EntityUid) -> Arc<str> {
    AsRef::<str>::as_ref(uid.id()).into()
}

pub(super) fn uid_of(kind: &Arc<str>, id: &str) -> Result<EntityUid, FactsError> {
    projection::uid(kind, id).map_err(|_cause| FactsError::TypeName { name: kind.clone() })
}
