//! Facts: rows of the application's and of Chaperone's databases, as one complete [`Slice`](crate::domain::Slice).
//!
//! [`Facts::connect`] opens read-only pools, [`Facts::check`] compares a mapping with what the databases really have,
//! [`Facts::slice`] reads what one question needs. A slice is complete or it is an error: nothing here returns less
//! than was asked for.
//!
//! Deliberately absent: windows and filters (the rows of a relation are read whole, `domain::projection` judges them),
//! anything that writes, and any memory of facts between two questions.

mod check;
mod decode;
mod entry;
mod error;
mod facts;
mod gather;
mod load;
mod pool;
mod read;

pub use check::Problem;
pub use error::{Cause, ConnectError, FactsError, Place};
pub use facts::{Asking, Facts, FactsOptions, OnLoad};
pub use load::FactKey;
pub use pool::PoolOptions;
