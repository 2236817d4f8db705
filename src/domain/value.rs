//! Values: what a database cell holds, and what a Cedar attribute holds.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::{EntityUid, RestrictedExpression};
use jiff::Timestamp;

/// One cell of a fact row, typed by the mapping that asked for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Text(Arc<str>),
    Instant(Timestamp),
    /// A list of words: JSON text in the database, or an array.
    List(Arc<[Arc<str>]>),
}

/// One attribute value of a projected entity, or a part of one.
///
/// Ordered and comparable, so that membership (`set.contains(value)`) can be traced back to the row that brought it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Bool(bool),
    Long(i64),
    Text(Arc<str>),
    Entity(EntityUid),
    Set(Vec<Value>),
    Record(BTreeMap<Arc<str>, Value>),
}

impl Value {
    /// The same value for Cedar's evaluator.
    pub fn to_cedar(&self) -> RestrictedExpression {
        match self {
            Self::Bool(value) => RestrictedExpression::new_bool(*value),
            Self::Long(value) => RestrictedExpression::new_long(*value),
            Self::Text(value) => RestrictedExpression::new_string(value.to_string()),
            Self::Entity(uid) => RestrictedExpression::new_entity_uid(uid.clone()),
            Self::Set(items) => RestrictedExpression::new_set(items.iter().map(Self::to_cedar)),
            // INVARIANT(record-keys): keys come from a `BTreeMap`, so `new_record` cannot meet a duplicate.
            Self::Record(fields) => {
                RestrictedExpression::new_record(fields.iter().map(|(key, value)| (key.to_string(), value.to_cedar())))
                    .unwrap_or_else(|_| RestrictedExpression::new_set([]))
            }
        }
    }
}
