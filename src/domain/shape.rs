//! What one row contributes: a value, a parent, or the members of a set.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    mapping::{ParentId, Part, Scalar, Shape},
    projection::{ProjectError, uid},
    slice::Row,
    value::{Cell, Value},
};

pub(super) fn parent_id(id: &ParentId, row: &Row) -> Option<Arc<str>> {
    match id {
        ParentId::Constant(id) => Some(id.clone()),
        ParentId::Column(column) => match row.cells.get(*column) {
            Some(Cell::Text(id)) => Some(id.clone()),
            _ => None,
        },
    }
}

pub(super) fn scalar_value(cell: &Cell, scalar: &Scalar) -> Result<Option<Value>, ProjectError> {
    Ok(match (cell, scalar) {
        (Cell::Bool(value), Scalar::Bool) => Some(Value::Bool(*value)),
        (Cell::Int(value), Scalar::Long) => Some(Value::Long(*value)),
        (Cell::Text(value), Scalar::Text) => Some(Value::Text(value.clone())),
        (Cell::Text(value), Scalar::Entity(kind)) => Some(Value::Entity(uid(kind, value)?)),
        (Cell::Null | Cell::Bool(_) | Cell::Int(_) | Cell::Text(_) | Cell::Instant(_) | Cell::List(_), _) => None,
    })
}

/// The members one row contributes: one, or one for each word of its list columns.
pub(super) fn contributed(shape: &Shape, row: &Row) -> Result<Vec<Value>, ProjectError> {
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
                // A bar that names what nobody knows bars the whole: it was meant to bar something.
                let is_understood = when_empty.is_empty() || words.iter().all(|word| when_empty.contains(word));
                let words = if words.is_empty() || !is_understood { when_empty } else { words };
                words
                    .iter()
                    .map(|word| scalar_value(&Cell::Text(word.clone()), scalar)?.ok_or_else(|| wrong(*column)))
                    .collect()
            }
            Some(_) | None => Err(wrong(*column)),
        },
    }
}
