//! Shipping: each frame of the folder, its own and those that dead writers left, to a second sink, exactly once.
//!
//! The [`Sink`] says up to where it holds a writer and takes only what follows; a lost answer is asked again. So nothing
//! is remembered here between two starts. Only frames that are on disk are shipped, unless somebody waits for the store.

mod frames;
mod orphans;
mod shipper;
mod spool;
mod state;
mod sweep;

pub(super) use frames::rows_of;
pub(super) use shipper::start;
pub(super) use spool::Spool;
pub(super) use state::Shipping;

use serde::Serialize;

use crate::domain::{Held, ShippedFrame, ShippedHeader};

/// Where frames go. Its calls block, and end in time.
pub trait Sink: Send {
    /// Up to where it holds a writer; `None`: it knows none of that name.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    fn held(&mut self, writer: &str) -> Result<Option<Held>, SinkError>;

    /// Appends frames, all of them or none. The header is needed for a writer that it does not know.
    ///
    /// # Errors
    ///
    /// [`SinkError::Away`]: nobody knows whether it has them, asking again is right. [`SinkError::Refused`]: never.
    fn append(
        &mut self,
        writer: &str,
        header: Option<&ShippedHeader>,
        frames: &[ShippedFrame],
    ) -> Result<Held, SinkError>;
}

/// Why frames are not held by the sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// It does not answer, or cannot take any frame now.
    #[error("{0}")]
    Away(String),
    /// It does not take these frames: they leave a gap, or contradict what it holds.
    #[error("{0}")]
    Refused(String),
}

/// How shipping is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShippingStatus {
    /// The trail is shipped.
    pub is_on: bool,
    /// Records that the sink took from here since the start.
    pub shipped: u64,
    /// Records that are on disk and not held by the sink, of all writers in the folder.
    pub lag: u64,
    /// Why the sink takes nothing now.
    pub away: Option<String>,
    /// Writers whose shipping stopped, and volumes that look cloned or restored: somebody has to look.
    pub alarms: Vec<String>,
}
