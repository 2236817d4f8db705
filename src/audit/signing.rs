//! When a writer's tree head is signed, and how a signed one leaves.
//!
//! A head is signed by the writer thread, between two frames, and stands in the chain as a frame of its own. It leaves
//! only once that frame is on disk: a checkpoint kept elsewhere never speaks of records that the loss of power can take.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError},
    },
    time::Duration,
};

use serde::Serialize;
use uuid::Uuid;

use super::{frame, key::SigningKey, merkle::Hash, note::NOTE_BYTES_MAX, outside, state::Shared};
use crate::domain::Timestamp;

/// A frame that holds the longest note.
pub(super) const CHECKPOINT_BYTES_MAX: u64 = frame::encoded_len(0, NOTE_BYTES_MAX) as u64;
/// The first checkpoint of a writer does not wait for the whole time between two: then a monitor knows early.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// Heads that wait for a slow folder; beyond it they are left out there, and stand in the chain alone.
pub(super) const WAITING_MAX: usize = 64;

/// A signed tree head.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) writer: Uuid,
    pub(super) size: u64,
    pub(super) at: Timestamp,
    pub(super) note: Arc<str>,
}

/// The last checkpoint of this writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LastCheckpoint {
    /// The records it covers.
    pub size: u64,
    pub at: Timestamp,
}

/// Where a writer is with its checkpoints; part of the trail's state.
#[derive(Debug, Default)]
pub(super) struct Signing {
    /// Without a key nothing here moves.
    pub(super) key: Option<Arc<SigningKey>>,
    /// Records that the last signed head covers: no two heads have one size.
    pub(super) size: u64,
    /// When the next one is due.
    pub(super) due: Duration,
    /// The head of the writer before, until it stands in the chain.
    pub(super) inherited: Option<Head>,
    /// Signed, in a frame of this number, not known to be on disk.
    unsynced: VecDeque<(u64, Head)>,
    /// To where they leave.
    publisher: Option<SyncSender<Head>>,
    pub(super) last: Option<LastCheckpoint>,
    /// Why records go on without checkpoints, or without checkpoints elsewhere.
    pub(super) trouble: Option<String>,
}

impl Signing {
    pub(super) fn begin(key: Option<Arc<SigningKey>>, inherited: Option<Head>, now: Duration, after: Duration) -> Self {
        Self { key, inherited, due: now + after.min(FIRST_AFTER), ..Self::default() }
    }

    pub(super) fn leave_by(&mut self, publisher: SyncSender<Head>) {
        self.publisher = Some(publisher);
    }

    /// How long until the head of `seq` records is to be signed; none when there is nothing new, or no key.
    pub(super) fn due_in(&self, seq: u64, now: Duration) -> Option<Duration> {
        (self.key.is_some() && seq > self.size).then(|| self.due.saturating_sub(now))
    }

    /// The head stands in a frame that was written.
    pub(super) fn composed(&mut self, frame: u64, head: Head) {
        self.unsynced.push_back((frame, head));
    }

    /// All frames up to this one are on disk.
    pub(super) fn synced(&mut self, frame: u64) {
        while self.unsynced.front().is_some_and(|(at, _)| *at <= frame) {
            let Some((_, head)) = self.unsynced.pop_front() else { break };
            let Some(publisher) = &self.publisher else { continue };
            match publisher.try_send(head) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    self.trouble = Some("checkpoints do not leave: `audit.checkpoints_dir` does not answer".to_owned());
                }
                Err(TrySendError::Disconnected(_)) => self.publisher = None,
            }
        }
    }

    /// No further head will be signed: the publisher ends once it has dealt with those it has.
    pub(super) fn end(&mut self) {
        self.publisher = None;
    }
}

impl SigningKey {
    pub(super) fn head(&self, writer: Uuid, size: u64, root: &Hash, at: Timestamp) -> Head {
        Head { writer, size, at, note: self.sign(writer, size, root).into() }
    }
}

/// The publisher's life. It has a thread of its own, so that a folder that hangs cannot hold up the trail.
pub(super) fn publish(shared: &Shared, heads: &Receiver<Head>) {
    while let Ok(head) = heads.recv() {
        // The note is no secret: the more places know it, the harder it is to rewrite what it covers.
        tracing::info!(writer = %head.writer, size = head.size, note = &*head.note, "checkpoint");
        let dir = shared.origin.config.checkpoints_dir.as_deref();
        let kept = dir.map_or(Ok(()), |dir| outside::append(dir, head.writer, &head.note));
        let trouble = kept.err().map(|error| {
            tracing::error!(%error, "a checkpoint could not be kept outside of the trail");
            format!("checkpoints cannot be kept in `audit.checkpoints_dir`: {error}")
        });
        let mut state = shared.state();
        if head.writer == shared.origin.writer {
            state.signing.last = Some(LastCheckpoint { size: head.size, at: head.at });
        }
        state.signing.trouble = trouble;
    }
    shared.state().publisher_left = true;
    shared.bell.notify_all();
}
