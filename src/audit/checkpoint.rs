//! The writer's part in checkpoints: it signs between two frames, where the tree at hand is the one on its way to disk.

use std::{sync::Arc, time::Duration};

use super::{
    frame::Kind,
    key::SigningKey,
    signing::{CHECKPOINT_BYTES_MAX, Head},
    state::State,
    writer::{Content, Halt, Writer},
};

/// What is still on its way to a folder outside gets this long at the end; then the trail ends without it.
const LEAVING_MAX: Duration = Duration::from_secs(2);

impl Writer {
    /// How long until a checkpoint is due.
    pub(super) fn checkpoint_due_in(&self) -> Option<Duration> {
        let state = self.shared.state();
        state.signing.due_in(self.tip.seq, self.shared.clock.elapsed())
    }

    /// The first act of a writer with a key: the head of the writer before it, if that one could not sign it itself.
    pub(super) fn sign_for_the_dead(&mut self) -> Result<(), Halt> {
        let inherited = self.shared.state().signing.inherited.clone();
        match inherited {
            Some(head) => self.append_head(head),
            None => Ok(()),
        }
    }

    pub(super) fn checkpoint_if_due(&mut self) -> Result<(), Halt> {
        if self.checkpoint_due_in() != Some(Duration::ZERO) {
            return Ok(());
        }
        match self.make_room(CHECKPOINT_BYTES_MAX) {
            Ok(()) => self.checkpoint(),
            // It can wait; what room there is belongs to records.
            Err(Halt::Full) => {
                let later = self.shared.clock.elapsed() + self.shared.origin.config.checkpoint_after;
                self.shared.state().signing.due = later;
                Ok(())
            }
            Err(halt) => Err(halt),
        }
    }

    /// Signs what stands now, if it is more than what is signed. Every segment keeps room for this and its seal.
    pub(super) fn checkpoint(&mut self) -> Result<(), Halt> {
        match self.head() {
            Some(head) => self.append_head(head),
            None => Ok(()),
        }
    }

    fn head(&self) -> Option<Head> {
        let key: Arc<SigningKey> = {
            let state = self.shared.state();
            state.signing.key.clone().filter(|_| self.tip.seq > state.signing.size)?
        };
        let origin = &self.shared.origin;
        Some(key.head(origin.writer, self.tip.seq, &self.tip.tree.root(), self.shared.clock.now()))
    }

    /// As its frame joins those on their way to disk.
    pub(super) fn note_signed(&self, state: &mut State, head: Head) {
        let origin = &self.shared.origin;
        if head.writer == origin.writer {
            state.signing.size = head.size;
            state.signing.due = self.shared.clock.elapsed() + origin.config.checkpoint_after;
        } else {
            state.signing.inherited = None;
        }
        state.signing.composed(self.tip.frame, head);
    }

    fn append_head(&mut self, head: Head) -> Result<(), Halt> {
        let note = Arc::clone(&head.note);
        self.commit(Content { head: Some(head), ..Content::bare(Kind::Checkpoint, 0, note.as_bytes()) })
    }

    /// Gives the last checkpoints a moment to leave.
    pub(super) fn wait_until_published(&self) {
        let mut state = self.shared.state();
        let until = self.shared.clock.elapsed() + LEAVING_MAX;
        state.signing.end();
        while !state.publisher_left {
            let left = until.saturating_sub(self.shared.clock.elapsed());
            if left.is_zero() {
                tracing::error!(
                    "the last checkpoint stands in the trail alone: `audit.checkpoints_dir` does not answer"
                );
                return;
            }
            state = self.shared.wait(state, left);
        }
    }
}
