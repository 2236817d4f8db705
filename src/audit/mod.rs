//! The trail: every decision is in it before its answer leaves.
//!
//! [`Trail::append`] is the only way to a [`Recorded`] value, and answers take nothing else. One writer thread
//! appends frames, one syncer thread brings them to disk, a guard sends in new ones when a disk fails them.
//! [`verify()`] and [`records`] read a folder as any stranger could: no server, no lock, no key.
//!
//! With a key, tree heads are signed as [C2SP checkpoints](https://c2sp.org/tlog-checkpoint): in the chain, and kept
//! elsewhere; [`prove`] takes one record out of the trail with what ties it to such a head.
//!
//! [`Trail::ship`] sends each frame to a [`Sink`], which `app/` fills from the store; this room knows no database.
//!
//! Records can be encrypted at rest ([`EncryptionKeys`]). The chain binds the stored bytes, so that verifying, proving
//! and shipping need no key; reading does.

mod adrift;
mod bytes;
mod captures;
pub mod changes;
mod checkpoint;
mod cipher;
mod config;
mod decisions;
mod disclosed;
pub mod export;
mod folder;
mod frame;
mod gap;
mod guard;
mod header;
mod key;
mod keyring;
mod lock;
mod merkle;
mod note;
mod notices;
mod outside;
mod prove;
pub mod query;
mod queue;
mod read;
mod reading;
mod recorded;
mod recover;
pub mod retention;
mod segment;
mod ship;
mod signing;
mod state;
mod storage;
mod syncer;
mod takeover;
#[cfg(test)]
mod tests;
mod trail;
mod verify;
mod volume;
mod walk;
mod writer;

pub use captures::{CapturedBlobs, Captures};
pub use config::TrailConfig;
pub use decisions::DecisionEntry;
pub use disclosed::{Disclosed, DisclosedInTrail, disclosed};
pub use folder::{FolderExtent, Missing, extent};
pub use gap::{Gap, HeldThere, Torn};
pub use key::{KeyError, SigningKey};
pub use keyring::{EncryptionKeys, SealedError};
pub use note::{NoteError, VerifierKey, VerifierKeyError};
pub use prove::{Proof, ProofError, ProveError, prove};
pub use read::{Filter, ReadError, Reader, StoredRecord, holds, records};
pub use reading::{Reading, ReadingKind};
pub use recorded::{AppendError, CloseError, OpenError, Recorded};
pub use ship::{ShippingStatus, Sink, SinkError};
pub use signing::LastCheckpoint;
pub use storage::{Disk, Storage, StorageFile};
pub use trail::{Trail, TrailHealth, TrailStatus};
pub use verify::{
    Finding, OpenEnd, PrunedReport, Rebuilt, RebuiltWriter, Report, Signatures, Verdict, VerifyError, VerifyOptions,
    WriterReport, verify,
};
pub use volume::VolumeKind;
