//! The PDP core: an immutable, validated policy bundle and one pure function over it.
//!
//! Nothing here awaits, reads a clock or touches a database. What a request needs to know arrives as a
//! [`crate::domain::Slice`]; what leaves is a [`crate::domain::Evaluation`], not yet recorded and therefore not yet an
//! answer.

pub mod actions;
pub mod bundle;
pub mod clauses;
pub mod index;
pub mod mapping_file;
pub mod plan;
pub mod probes;
pub mod problem;
pub mod reasons;
pub mod reasons_check;
pub mod schema_types;
pub mod taxonomy;

pub use bundle::Bundle;
