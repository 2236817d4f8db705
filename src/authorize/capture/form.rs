//! The form of what is kept: one line of JSON each, the same for the same facts.

use std::{collections::BTreeMap, sync::Arc};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::domain::{
    Cell, Entities, FactEntity, Loaded, Mode, Row, Timestamp,
    projection::{ProjectError, uid},
};

pub(super) const VERSION: u32 = 1;

/// The longest label: an id, a code, a word of a list, a time zone.
const LABEL_BYTES_MAX: usize = 256;

/// Why a decision is not captured, or cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(in crate::authorize) enum UnkeepableError {
    /// The place alone is said: what stands there may be somebody's.
    #[error("`{place}` holds a text that is neither an id nor a label")]
    Text { place: String },
    #[error("too much waits to be written")]
    NoRoom,
    #[error("it cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("an entity type is none")]
    Type(#[from] ProjectError),
}

/// Whether a text is shaped like an id or a label. Sentences and names of people have blanks, or letters beyond ASCII.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn label(text: &Arc<str>, place: impl Fn() -> String) -> Result<Arc<str>, UnkeepableError> {
    if is_label(text) { Ok(Arc::clone(text)) } else { Err(UnkeepableError::Text { place: place() }) }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptSlice {
    v: u32,
    entities: Vec<KeptEntity>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptEntity {
    #[serde(rename = "type")]
    kind: Arc<str>,
    id: Arc<str>,
    /// None: it is known to be absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    row: Option<KeptRow>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    relations: BTreeMap<Arc<str>, Vec<KeptRow>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRow {
    id: Arc<str>,
    cells: Vec<KeptCell>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum KeptCell {
    Null(()),
    Bool(bool),
    Int(i64),
    Text(Arc<str>),
    Instant { at: Timestamp },
    List { list: Vec<Arc<str>> },
}

impl KeptSlice {
    pub(super) fn of(entities: &Entities) -> Result<Self, UnkeepableError> {
        let entity = |(uid, loaded): (&cedar_policy::EntityUid, &Loaded)| {
            let kind: Arc<str> = uid.type_name().to_string().into();
            let (row, relations) = match loaded {
                Loaded::Absent => (None, BTreeMap::new()),
                Loaded::Present(entity) => {
                    let rows = |(name, rows): (&Arc<str>, &Arc<[Row]>)| {
                        let place = || format!("{kind}.{name}");
                        let rows = rows.iter().map(|row| KeptRow::of(row, &place)).collect::<Result<_, _>>()?;
                        Ok::<_, UnkeepableError>((Arc::clone(name), rows))
                    };
                    let relations = entity.relations.iter().map(rows).collect::<Result<_, _>>()?;
                    (Some(KeptRow::of(&entity.row, &|| kind.to_string())?), relations)
                }
            };
            let id = Arc::from(AsRef::<str>::as_ref(uid.id()));
            Ok::<_, UnkeepableError>(KeptEntity { kind, id, row, relations })
        };
        Ok(Self { v: VERSION, entities: entities.iter().map(entity).collect::<Result<_, _>>()? })
    }

    pub(super) fn entities(&self) -> Result<Entities, UnkeepableError> {
        let mut entities = BTreeMap::new();
        for kept in &self.entities {
            let loaded = kept.row.as_ref().map_or(Loaded::Absent, |row| {
                let rows = |rows: &Vec<KeptRow>| rows.iter().map(KeptRow::row).collect();
                let relations = kept.relations.iter().map(|(name, kept)| (Arc::clone(name), rows(kept))).collect();
                Loaded::Present(FactEntity { row: row.row(), relations })
            });
            entities.insert(uid(&kept.kind, &kept.id)?, loaded);
        }
        Ok(entities.into())
    }

    pub(super) fn to_line(&self) -> Result<Vec<u8>, UnkeepableError> {
        Ok(serde_json::to_vec(self)?)
    }
}

impl KeptRow {
    fn of(row: &Row, place: &dyn Fn() -> String) -> Result<Self, UnkeepableError> {
        let cell = |cell: &Cell| {
            Ok::<_, UnkeepableError>(match cell {
                Cell::Null => KeptCell::Null(()),
                Cell::Bool(value) => KeptCell::Bool(*value),
                Cell::Int(value) => KeptCell::Int(*value),
                Cell::Text(text) => KeptCell::Text(label(text, place)?),
                Cell::Instant(at) => KeptCell::Instant { at: *at },
                Cell::List(list) => {
                    KeptCell::List { list: list.iter().map(|word| label(word, place)).collect::<Result<_, _>>()? }
                }
            })
        };
        Ok(Self { id: Arc::clone(&row.id), cells: row.cells.iter().map(cell).collect::<Result<_, _>>()? })
    }

    fn row(&self) -> Row {
        let cell = |kept: &KeptCell| match kept {
            KeptCell::Null(()) => Cell::Null,
            KeptCell::Bool(value) => Cell::Bool(*value),
            KeptCell::Int(value) => Cell::Int(*value),
            KeptCell::Text(text) => Cell::Text(Arc::clone(text)),
            KeptCell::Instant { at } => Cell::Instant(*at),
            KeptCell::List { list } => Cell::List(list.as_slice().into()),
        };
        Row { id: Arc::clone(&self.id), cells: self.cells.iter().map(cell).collect() }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptQuestion {
    pub(super) v: u32,
    /// The one reading of the clock that the facts were judged by.
    pub(super) at: Timestamp,
    pub(super) behind: SignedDuration,
    pub(super) ahead: SignedDuration,
    pub(super) subject_type: String,
    pub(super) resource_type: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) mode: Option<Mode>,
    /// By dotted key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(super) context: BTreeMap<String, KeptValue>,
    /// Attributes that the caller asserted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(super) subject: BTreeMap<String, KeptValue>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(super) resource: BTreeMap<String, KeptValue>,
}

impl KeptQuestion {
    pub(super) fn to_line(&self) -> Result<Vec<u8>, UnkeepableError> {
        Ok(serde_json::to_vec(self)?)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum KeptValue {
    Bool(bool),
    Long(i64),
    Text(String),
    /// The text stands in the record.
    Of {
        of: OfRecord,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OfRecord {
    Record,
}

impl KeptValue {
    pub(super) const fn of_the_record() -> Self {
        Self::Of { of: OfRecord::Record }
    }

    /// `None`: the record has it.
    pub(super) fn to_json(&self) -> Option<Json> {
        match self {
            Self::Bool(value) => Some((*value).into()),
            Self::Long(value) => Some((*value).into()),
            Self::Text(text) => Some(text.as_str().into()),
            Self::Of { .. } => None,
        }
    }
}

pub(super) fn json_of(kept: &BTreeMap<String, KeptValue>) -> Map<String, Json> {
    kept.iter().filter_map(|(name, value)| Some((name.clone(), value.to_json()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(cells: Vec<Cell>) -> Entities {
        let row = Row { id: "A1".into(), cells: cells.into() };
        let relations = BTreeMap::from([("assignments".into(), vec![row.clone()].into())]);
        let client = uid(&"Client".into(), "C 1").unwrap();
        Entities::from([
            (client, Loaded::Present(FactEntity { row, relations })),
            (uid(&"User".into(), "ana").unwrap(), Loaded::Absent),
        ])
    }

    #[test]
    fn a_slice_comes_back_as_it_was_and_the_same_one_has_the_same_bytes() {
        let all = slice(vec![
            Cell::Null,
            Cell::Bool(true),
            Cell::Int(-7),
            Cell::Text("clin.note".into()),
            Cell::Instant("2026-03-10T15:00:00.000000001Z".parse().unwrap()),
            Cell::List(["a".into(), "b".into()].into()),
            Cell::List([].into()),
        ]);
        let line = KeptSlice::of(&all).unwrap().to_line().unwrap();
        let back: KeptSlice = serde_json::from_slice(&line).unwrap();
        assert_eq!(back.entities().unwrap(), all);
        assert_eq!(back.to_line().unwrap(), line);
    }

    #[test]
    fn a_slice_with_a_text_in_it_is_not_kept_and_the_text_is_not_said() {
        for text in ["Jane Roe", "José", "two\nlines", &"x".repeat(LABEL_BYTES_MAX + 1)] {
            for cell in [Cell::Text(text.into()), Cell::List(["a".into(), text.into()].into())] {
                let refused = KeptSlice::of(&slice(vec![cell])).unwrap_err().to_string();
                assert!(refused.contains("`Client.assignments`") && !refused.contains(text), "{refused}");
            }
        }
        assert!(KeptSlice::of(&slice(vec![Cell::Text("x".repeat(LABEL_BYTES_MAX).into())])).is_ok());
    }
}
