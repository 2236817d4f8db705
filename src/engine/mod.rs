//! The PDP core: an immutable, validated policy bundle and one pure function over it.
//!
//! Nothing here awaits, reads a clock or touches a database. What a request needs to know arrives as a
//! [`crate::domain::Slice`]; what leaves is a [`crate::domain::Evaluation`], not yet recorded and therefore not yet an
//! answer.

pub mod actions;
pub mod bundle;
mod certain;
pub mod check;
pub mod clauses;
pub mod evaluate;
mod exception;
mod explain;
mod finding;
pub mod guard;
pub mod index;
mod judge;
pub mod kept;
pub mod live;
pub mod load;
pub mod mapping_file;
mod matched;
pub mod nearest;
pub mod plan;
pub mod policies;
pub mod probes;
pub mod problem;
pub mod question;
pub mod reasons;
pub mod reasons_check;
mod remedies;
pub mod schema;
pub mod schema_shape;
pub mod scope;
pub mod source;
pub mod taxonomy;
pub mod taxonomy_file;
pub mod validated;
mod words;
mod world;
pub mod yaml;

pub use bundle::Bundle;
