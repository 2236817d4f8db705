//! Facts: rows of the application's and of Chaperone's databases, as one complete [`Slice`](crate::domain::Slice).
//!
//! [`Facts::connect`] opens read-only pools, [`Facts::check`] compares a mapping with what the databases really have,
//! [`Facts::slice`] reads what one question needs. A slice is complete or it is an error: nothing here returns less
//! than was asked for.
//!
//! Deliberately absent: windows and filters (the rows of a relation are read whole, `domain::projection` judges them),
//! and anything that writes to a database that facts come from, the tables of the feed aside.

mod barrier;
mod caution;
mod check;
mod decode;
mod entry;
mod error;
mod facts;
mod fed;
mod feed;
mod follow;
mod fresh;
mod gather;
mod glance;
mod hot;
mod keep;
mod load;
mod loader;
mod own;
mod pool;
mod primary;
mod probe;
mod read;
#[cfg(test)]
mod sim;
mod source;

pub use barrier::{BarrierError, Passed};
pub use caution::Caution;
pub use check::Problem;
pub use error::{Cause, ConnectError, FactsError, Place};
pub use facts::{Asking, Facts, FactsOptions, Gathered, OnLoad};
pub use fed::Trust;
pub use feed::{Examined, FeedDatabase, FeedTask, InstallError, Installed, Mode, Notify, Proof, doctor, install};
pub use follow::{FeedReport, FollowOptions, Follower, OnLag};
pub use fresh::{Entered, Hold};
pub use keep::KeepStats;
pub use load::FactKey;
pub use pool::PoolOptions;
