//! The PDP core: an immutable, validated policy bundle and one pure function over it.
//!
//! Nothing here awaits, reads a clock or touches a database. What a request needs to know arrives as a
//! [`crate::domain::Slice`]; what leaves is a [`crate::domain::Evaluation`], not yet recorded and therefore not yet an
//! answer.

pub mod bundle;
pub mod check;
mod finding;
pub mod guard;
pub mod live;
pub mod nearest;
pub mod policies;
pub mod problem;
pub mod reasons;
pub mod schema;
pub mod source;
pub mod taxonomy;
pub mod taxonomy_file;
pub mod validated;
pub mod yaml;

pub use bundle::Bundle;

