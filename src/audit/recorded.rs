//! The proof that something stands in the trail, and the reasons why it does not.

use std::path::PathBuf;

use super::key::KeyError;
use crate::domain::Receipt;

/// A value whose record is in the trail.
///
/// Only [`Trail::append`](super::Trail::append) makes one: the fields are private to this room. The HTTP and gRPC
/// answers accept nothing else, so an answer without a record does not compile.
#[derive(Debug)]
pub struct Recorded<T> {
    value: T,
    receipt: Receipt,
}

impl<T> Recorded<T> {
    pub(super) fn new(value: T, receipt: Receipt) -> Self {
        Self { value, receipt }
    }

    /// For unit tests of answers; not in the shipped program.
    #[cfg(test)]
    pub(crate) fn for_test(value: T, receipt: Receipt) -> Self {
        Self { value, receipt }
    }

    pub fn value(&self) -> &T {
        &self.value
    }

    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    pub fn into_parts(self) -> (T, Receipt) {
        (self.value, self.receipt)
    }
}

/// Why a record is not known to be in the trail. The answer must not leave.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The queue, the disk or the quota is full. The caller answers 503.
    #[error("the trail has no room")]
    Full,
    #[error("the trail stopped for good")]
    Fatal,
    #[error("the trail is closed")]
    Closed,
    /// `remote` promises what a folder alone cannot keep, so nothing weaker is passed off as it.
    #[error("durability `remote` needs a store, and none is configured")]
    NoRemote,
    /// The record stands in the folder at most, and its answer must not leave before the store has it.
    #[error("the store does not answer, and this record must be in it")]
    StoreAway,
    #[error("the record takes {bytes} bytes, the longest that fits is {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("the record cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

/// Why a trail did not open. Nothing was answered, nothing was lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the trail in `{}` is in use by process {pid}: stop it, or give this one a folder of its own", dir.display()
    )]
    Locked { dir: PathBuf, pid: String },
    #[error(
        "`{}` is on a volume that can vanish ({kind}): use a persistent one, or ship the trail to a store elsewhere \
         (`audit.ship`), or set `audit.accept_ephemeral: true`",
        dir.display()
    )]
    Ephemeral { dir: PathBuf, kind: &'static str },
    #[error(
        "the trail of writer {writer} in `{}` is damaged where it had been on disk (segment {segment}, after record \
         {seq}) and `audit.strict` is set: run `chaperone audit verify`", dir.display()
    )]
    Damaged { dir: PathBuf, writer: String, segment: u32, seq: u64 },
    #[error("`audit.segment_bytes` is {bytes}, it must be from {least} to {most}")]
    SegmentBytes { bytes: u64, least: u64, most: u64 },
    #[error("cannot {action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "`audit.encryption_key_file` is set, and its keys cannot be used: no record is written in the clear instead"
    )]
    EncryptionKeys(#[source] KeyError),
    #[error("the header of a new segment cannot be written: {0}")]
    Header(String),
}

/// Why a trail did not end with its seal. What was acknowledged is in it all the same.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    #[error("the trail stopped for good before it could be sealed: {0}")]
    Fatal(String),
    #[error(
        "{records} records are in the folder alone: the store did not take them in time; the next start ships them"
    )]
    Unshipped { records: u64 },
}
