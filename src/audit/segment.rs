//! Making segments: a spare ahead of need, and its header when its turn comes.

use std::{io, path::PathBuf, sync::Arc};

use uuid::Uuid;

use super::{
    captures::room,
    cipher::DataKey,
    config::TrailConfig,
    folder,
    header::{self, Header, HeaderError, Predecessor},
    state::Tip,
    storage::{self, Storage, StorageFile},
};
use crate::clock::Clock;

/// A segment this writer created.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) file: Arc<dyn StorageFile>,
}

/// What all segments of one writer have in common.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) writer: Uuid,
    pub(super) config: TrailConfig,
    pub(super) prev: Option<Predecessor>,
    /// What the records are encrypted with, and what each header says of it.
    pub(super) data_key: Option<(DataKey, header::Key)>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) storage: Arc<dyn Storage>,
}

/// Why a segment could not be begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum BeginError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Origin {
    /// Creates and allocates the `number`th segment; its file and name are on disk when this returns.
    pub(super) fn create(&self, number: u32) -> io::Result<Segment> {
        let size = self.config.segment_size(number);
        self.within_quota(size)?;
        let path = self.config.dir.join(folder::segment_name(self.writer, number));
        let file = self.storage.create(&path)?;
        if let Err(error) = self.prepare(&file, size) {
            // Half a spare is no spare. Should it stay behind, it is zeros, and recovery takes it away.
            if let Err(left) = self.storage.unlink(&path) {
                tracing::warn!(%left, "an unfinished segment stays behind");
            }
            return Err(error);
        }
        Ok(Segment { number, path, size, file })
    }

    fn prepare(&self, file: &Arc<dyn StorageFile>, size: u64) -> io::Result<()> {
        file.allocate(size)?;
        file.sync()?;
        self.storage.sync_dir(&self.config.dir)
    }

    fn within_quota(&self, more: u64) -> io::Result<()> {
        let Some(quota) = self.config.quota_bytes else { return Ok(()) };
        let used = room::used_by_trail(&self.config.dir)?;
        if used.saturating_add(more) > quota / 100 * 70 {
            tracing::warn!(used, quota, "the trail takes more than 70 % of its quota");
        }
        let Some(left) = room::most_of(quota).checked_sub(used.saturating_add(more)) else {
            return Err(io::ErrorKind::QuotaExceeded.into());
        };
        // What was captured counts as well, and no record is refused for its sake.
        if let Err(error) = room::yield_room(&self.config.dir, left) {
            tracing::warn!(%error, "what decisions were made of cannot be taken away: the quota may be passed");
        }
        Ok(())
    }

    /// Writes and syncs the header of a segment that goes on after `before`, and returns it as stored: no frame may
    /// stand behind a header that is not on disk.
    pub(super) fn begin(&self, segment: &Segment, before: &Tip) -> Result<Vec<u8>, BeginError> {
        let header = Header {
            v: Header::VERSION,
            writer: self.writer,
            segment: segment.number,
            first_frame: before.frame + 1,
            first_seq: before.seq + 1,
            chain: (segment.number > 1).then_some(before.chain),
            frontier: before.tree.nodes().to_vec(),
            created: self.clock.now(),
            prev: self.prev.clone(),
            key: self.data_key.as_ref().map(|(_, said)| said.clone()),
        };
        let encoded = header.encode()?;
        storage::write_all(segment.file.as_ref(), &encoded, 0)?;
        segment.file.sync()?;
        Ok(encoded)
    }
}
