//! Chaperone's own tables, opened for writing: one shape over SQLite and PostgreSQL.
//!
//! [`Store::open`] reads an address and connects later, [`Store::begin`] gives a transaction that may write,
//! [`Store::install`] brings the tables up to date, forward only, and [`Store::check`] says which migration is missing.
//! Its connections are its own: facts are read by `entities/` on others, and no writer can hold those up.
//!
//! Deliberately absent: what the rows mean. Rooms above bring their SQL as [`Sql`], in both dialects, and bind
//! [`Value`]s to it: nothing that a caller says becomes text of a statement.

mod error;
mod guard;
mod migration;
mod pool;
mod rights;
#[cfg(test)]
mod tests;
mod trail;
mod transaction;
mod value;

pub use error::{Cause, StoreError};
pub use migration::{Migration, Part};
pub use pool::{Dialect, Store, StoreOptions};
pub use rights::Right;
pub use trail::{
    Arrived, FOUND_AT_ONCE, FoundRow, Gone, HeldFrame, HeldNote, HeldWriter, HeldWriters, INDEX_COLUMNS, KnownBefore,
    PruneStoreError, RecordFilter, RowPlace, TornWriter, TrailError, TrailFinder, TrailPruner, TrailReader, TrailStore,
    trail_url,
};
pub use transaction::{Sql, StoredRow, Transaction};
pub use value::Value;
