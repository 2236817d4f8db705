//! What leaves the folder of the trail for the store: frames as they are stored, and an index over their records.

use std::sync::Arc;

use serde::Serialize;

use super::Timestamp;

/// How a writer began: what its first frame goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShippedHeader {
    /// The first 4,096 bytes of its first segment; their digest begins its chain.
    pub bytes: Arc<Vec<u8>>,
    /// `2026-03`: when it began.
    pub month: String,
    /// Whom it followed in its folder.
    pub prev: Option<ShippedPredecessor>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShippedPredecessor {
    pub writer: String,
    /// Its last record, as its successor found it.
    pub seq: u64,
    /// It had sealed its trail and left.
    pub clean: bool,
}

/// One frame, byte for byte as it stands in its segment.
#[derive(Clone, Debug)]
pub struct ShippedFrame {
    pub frame: u64,
    /// Its first record, or that of the next frame that has any.
    pub first_seq: u64,
    pub bytes: Arc<Vec<u8>>,
    /// So many of the bytes are bound by the chain.
    pub bound: usize,
    /// The chain after it, as it claims itself.
    pub chain: [u8; 32],
    /// One for each record.
    pub rows: Vec<IndexRow>,
    pub note: Option<ShippedNote>,
}

/// A signed tree head that stands in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShippedNote {
    pub writer: String,
    pub size: u64,
    pub note: String,
}

/// What queries find a record by. Everything in it stands in the record's line too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IndexRow {
    /// `2026-03`, of `at`.
    pub month: String,
    pub seq: u64,
    pub frame: u64,
    /// As the record has it.
    pub at: String,
    pub decision_id: Option<String>,
    pub kind: String,
    pub tenant: Option<String>,
    pub principal: Option<String>,
    pub principal_type: Option<String>,
    pub action: Option<String>,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    pub client: Option<String>,
    pub resource_tenant: Option<String>,
    pub decision: Option<String>,
    pub reason: Option<String>,
    pub grant_id: Option<String>,
    /// The record itself; none where it is encrypted.
    pub line: Option<String>,
}

/// Up to where a store holds a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub frame: u64,
    pub seq: u64,
    /// Its last checkpoints there: its own, and what others said of it. Nothing is known of their signatures.
    pub notes: Vec<String>,
    /// A cloned or a restored volume.
    pub alarm: Option<String>,
}

/// Records that a store is to let go: a writer's, from its first that is held up to `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunedRange {
    pub writer: String,
    /// The last frame and record, and the chain after them.
    pub frame: u64,
    pub seq: u64,
    pub chain: [u8; 32],
    /// Nothing of the writer is left.
    pub is_all: bool,
    /// The latest instant of them.
    pub to: Timestamp,
    /// The signed note that stays in their place, as a folder has it.
    pub stub: String,
    /// Writer and number of the record that says that this pruning was begun.
    pub begun: (String, u64),
}
