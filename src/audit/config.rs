//! What the operator decides about a trail.

use std::{path::PathBuf, time::Duration};

/// The longest body and leaves that one frame holds; a batch is cut there.
pub(super) const FRAME_BYTES_MAX: u64 = 512 * 1024;
/// A writer's first segment; each next one doubles, up to `segment_bytes`.
pub(super) const FIRST_SEGMENT_BYTES: u64 = 1024 * 1024;
/// Below this a segment holds too few records to be worth a file, and above it a walk at start takes too long.
pub(super) const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 16 * 1024..=1024 * 1024 * 1024;
/// Frames wait in memory for their sync; beyond this the writer waits for the syncer.
pub(super) const UNSYNCED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Without room on disk frames wait in memory for it, though the store holds them; beyond this callers are refused.
pub(super) const ADRIFT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How a trail is kept. Start from [`TrailConfig::at`].
#[derive(Clone, Debug)]
pub struct TrailConfig {
    pub dir: PathBuf,
    /// The size of a full-grown segment.
    pub segment_bytes: u64,
    /// The longest that a written frame waits for a sync that nobody asked for.
    pub sync_after: Duration,
    pub queue_records_max: usize,
    pub queue_bytes_max: usize,
    /// What the folder may take on disk; at 95 % it counts as full.
    pub quota_bytes: Option<u64>,
    /// Refuse to start where something that was on disk is damaged.
    pub strict: bool,
    /// Start on a volume that can vanish, and say so in the trail.
    pub accept_ephemeral: bool,
    /// The key that signs tree heads; without one nothing is signed.
    pub key_file: Option<PathBuf>,
    /// The keys that encrypt records; without them they stand in the clear.
    pub encryption_key_file: Option<PathBuf>,
    /// The time between two checkpoints, if there are new records.
    pub checkpoint_after: Duration,
    /// A folder that gets every checkpoint too, outside of the trail's.
    pub checkpoints_dir: Option<PathBuf>,
    /// Frames are shipped: the tier `remote` may be asked for. A sink is given by `Trail::ship`.
    pub ships: bool,
    /// What is shipped survives the loss of this folder: another machine, or another device.
    pub ships_elsewhere: bool,
    /// How long a sealed segment stays here though the store and a checkpoint hold it; `None`: for ever.
    pub keep_local: Option<Duration>,
    /// The program's version, for the record of the start.
    pub version: String,
}

impl TrailConfig {
    /// The defaults, for a folder.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 * 1024 * 1024,
            sync_after: Duration::from_millis(50),
            queue_records_max: 4096,
            queue_bytes_max: 8 * 1024 * 1024,
            quota_bytes: None,
            strict: false,
            accept_ephemeral: false,
            key_file: None,
            encryption_key_file: None,
            checkpoint_after: Duration::from_secs(60),
            checkpoints_dir: None,
            ships: false,
            ships_elsewhere: false,
            keep_local: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The size of a writer's `number`th segment, counted from 1.
    pub(super) fn segment_size(&self, number: u32) -> u64 {
        let doublings = number.saturating_sub(1).min(20);
        (FIRST_SEGMENT_BYTES << doublings).min(self.segment_bytes)
    }

    /// The longest frame that fits into every segment.
    pub(super) fn frame_bytes_max(&self) -> u64 {
        let room = self.segment_size(1) - super::bytes::len64(super::header::HEADER_BYTES) - self.end_bytes();
        room.min(FRAME_BYTES_MAX)
    }

    /// What every segment keeps free, so that it can always be signed and sealed.
    pub(super) fn end_bytes(&self) -> u64 {
        let checkpoint = if self.key_file.is_some() { super::signing::CHECKPOINT_BYTES_MAX } else { 0 };
        super::frame::SEAL_BYTES + checkpoint
    }
}
