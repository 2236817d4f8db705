//! How durable a record is before its answer may leave.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Durability of one record, named in every receipt. Ordered from weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Written to the kernel: survives the death of this process.
    Process,
    /// Synced to the device: survives loss of power.
    Disk,
    /// Committed in the store: survives loss of the node.
    Remote,
}

impl Tier {
    /// The word in receipts, annotations and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Disk => "disk",
            Self::Remote => "remote",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Proof that a record stands in the trail: who wrote it, at which place, and how durable it was when the answer left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub writer: String,
    pub seq: u64,
    pub durability: Tier,
}
