//! Between the callers and the writer: bounded in records and in bytes, full at once rather than late.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::domain::{Tier, Timestamp};

/// What a caller hears about its record: its number, and how durable it is.
pub(super) type Answer = Result<(u64, Tier), Refusal>;

/// Why a record was turned away, or its fate is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    /// The store has to hold the record, and does not answer.
    Away,
    Fatal,
    Closed,
}

impl Refusal {
    /// The word in a record.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Away => "store_away",
            Self::Fatal => "fatal",
            Self::Closed => "closed",
        }
    }
}

/// A record on its way to the writer.
#[derive(Debug)]
pub(super) struct Pending {
    /// The record's JSON without the opening brace: the writer puts `v` and `seq` in front.
    pub(super) rest: Vec<u8>,
    pub(super) tier: Tier,
    /// Nobody waits for the trail's own records.
    pub(super) answer: Option<oneshot::Sender<Answer>>,
    /// For a decision: its id and who asked for it.
    pub(super) decision: Option<(String, String)>,
}

impl Pending {
    pub(super) fn refuse(self, refusal: Refusal) {
        if let Some(answer) = self.answer {
            // A caller that went away needs no answer.
            let _caller_left = answer.send(Err(refusal)).is_err();
        }
    }
}

/// Answers that never went out while there was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) count: u64,
}

#[derive(Debug)]
struct Inner {
    records: VecDeque<Pending>,
    bytes: usize,
    writer_waits: bool,
    /// The shift that may take records.
    shift: u64,
    /// Set while there is no room on disk.
    full: bool,
    refused: Option<Refused>,
    refused_total: u64,
    closed: Option<Refusal>,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    bell: Condvar,
    records_max: usize,
    bytes_max: usize,
}

/// What the writer got.
pub(super) enum Taken {
    Batch(Vec<Pending>),
    /// Nothing came within the time given.
    Idle,
    /// Nothing is left and nothing will come.
    Closed,
    /// Another shift is at work.
    Superseded,
}

impl Queue {
    pub(super) fn new(records_max: usize, bytes_max: usize) -> Self {
        let inner = Inner {
            records: VecDeque::new(),
            bytes: 0,
            writer_waits: false,
            shift: 1,
            full: false,
            refused: None,
            refused_total: 0,
            closed: None,
        };
        Self { inner: Mutex::new(inner), bell: Condvar::new(), records_max, bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enqueues, or says at once why not. `now` is asked only while there is no room on disk.
    pub(super) fn push(&self, pending: Pending, now: impl FnOnce() -> Timestamp) -> Result<(), Refusal> {
        let mut inner = self.lock();
        if let Some(refusal) = inner.closed {
            return Err(refusal);
        }
        if inner.full {
            inner.note_refused(now(), 1);
            return Err(Refusal::Full);
        }
        if inner.records.len() >= self.records_max || inner.bytes + pending.rest.len() > self.bytes_max {
            return Err(Refusal::Full);
        }
        inner.bytes += pending.rest.len();
        inner.records.push_back(pending);
        let ring = inner.writer_waits;
        drop(inner);
        if ring {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Puts records in front of all that wait, whatever the limits: the trail's own, and a batch not yet written.
    pub(super) fn push_front(&self, batch: Vec<Pending>) {
        let mut inner = self.lock();
        if inner.closed == Some(Refusal::Fatal) {
            drop(inner);
            batch.into_iter().for_each(|pending| pending.refuse(Refusal::Fatal));
            return;
        }
        for pending in batch.into_iter().rev() {
            inner.bytes += pending.rest.len();
            inner.records.push_front(pending);
        }
        drop(inner);
        self.bell.notify_all();
    }

    /// Enqueues a record of the trail's own behind all that wait, also while there is no room on disk; false if the trail
    /// ends or too many wait.
    pub(super) fn push_own(&self, pending: Pending) -> bool {
        let mut inner = self.lock();
        // Callers' own limit, and as much again: each of these stands for a caller that has left.
        if inner.closed.is_some() || inner.records.len() >= self.records_max.saturating_mul(2) {
            return false;
        }
        inner.bytes += pending.rest.len();
        inner.records.push_back(pending);
        drop(inner);
        self.bell.notify_all();
        true
    }

    /// Takes what is queued, as much as fits into one frame by `cost`.
    pub(super) fn take(
        &self,
        shift: u64,
        wait: Option<Duration>,
        budget: u64,
        cost: impl Fn(&Pending) -> u64,
    ) -> Taken {
        let mut inner = self.lock();
        loop {
            if inner.shift != shift {
                return Taken::Superseded;
            }
            if !inner.records.is_empty() {
                return Taken::Batch(inner.batch(budget, cost));
            }
            if inner.closed.is_some() {
                return Taken::Closed;
            }
            inner.writer_waits = true;
            let timed_out;
            (inner, timed_out) = match wait {
                Some(wait) => {
                    let (inner, result) = self.bell.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner);
                    (inner, result.timed_out())
                }
                None => (self.bell.wait(inner).unwrap_or_else(PoisonError::into_inner), false),
            };
            inner.writer_waits = false;
            if timed_out && inner.records.is_empty() && inner.shift == shift && inner.closed.is_none() {
                return Taken::Idle;
            }
        }
    }

    /// From here on only `shift` takes records.
    pub(super) fn hand_over(&self, shift: u64) {
        self.lock().shift = shift;
        self.bell.notify_all();
    }

    /// No more records; those that wait are still taken.
    pub(super) fn close(&self) {
        self.lock().closed.get_or_insert(Refusal::Closed);
        self.bell.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// The trail stopped: all that wait hear it, and all that come.
    pub(super) fn fail(&self) {
        let mut inner = self.lock();
        inner.closed = Some(Refusal::Fatal);
        inner.bytes = 0;
        let waiting = std::mem::take(&mut inner.records);
        drop(inner);
        self.bell.notify_all();
        for pending in waiting {
            pending.refuse(Refusal::Fatal);
        }
    }

    /// There is no room: all that wait are refused and counted, and all that come.
    pub(super) fn set_full(&self, now: Timestamp) {
        let mut inner = self.lock();
        inner.full = true;
        inner.bytes = 0;
        // The trail's own records are kept: nobody would repeat them.
        let (own, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut inner.records).into_iter().partition(|pending| pending.answer.is_none());
        inner.bytes = own.iter().map(|pending| pending.rest.len()).sum();
        inner.records = own.into();
        inner.note_refused(now, super::bytes::len64(waiting.len()));
        drop(inner);
        for pending in waiting {
            pending.refuse(Refusal::Full);
        }
    }

    /// Drops what is left of the trail's own records: it ends without room for them.
    pub(super) fn discard(&self) {
        let mut inner = self.lock();
        inner.bytes = 0;
        let left = std::mem::take(&mut inner.records);
        drop(inner);
        left.into_iter().for_each(|pending| pending.refuse(Refusal::Full));
    }

    /// There is room again; returns what was refused meanwhile.
    pub(super) fn set_room(&self) -> Option<Refused> {
        let mut inner = self.lock();
        inner.full = false;
        inner.refused.take()
    }

    /// Records waiting, refused so far for want of disk, and whether there is no room now.
    pub(super) fn counts(&self) -> (usize, u64, bool) {
        let inner = self.lock();
        (inner.records.len(), inner.refused_total, inner.full)
    }
}

impl Inner {
    fn note_refused(&mut self, now: Timestamp, count: u64) {
        if count == 0 {
            return;
        }
        self.refused_total += count;
        let refused = self.refused.get_or_insert(Refused { from: now, to: now, count: 0 });
        refused.to = now;
        refused.count += count;
    }

    fn batch(&mut self, budget: u64, cost: impl Fn(&Pending) -> u64) -> Vec<Pending> {
        let mut left = budget;
        let mut batch = Vec::new();
        while let Some(next) = self.records.front() {
            let cost = cost(next);
            if (cost > left || batch.len() >= usize::from(u16::MAX)) && !batch.is_empty() {
                break;
            }
            left = left.saturating_sub(cost);
            if let Some(next) = self.records.pop_front() {
                self.bytes = self.bytes.saturating_sub(next.rest.len());
                batch.push(next);
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(bytes: usize) -> Pending {
        Pending { rest: vec![b' '; bytes], tier: Tier::Process, answer: None, decision: None }
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn the_trails_own_records_have_as_much_room_again_as_those_of_callers_and_no_more() {
        let queue = Queue::new(2, 1_000);
        for _ in 0..2 {
            queue.push(pending(400), now).unwrap();
        }
        assert_eq!(queue.push(pending(1), now), Err(Refusal::Full));
        // Beyond the bytes of callers too: each of these stands for one of theirs that has left.
        assert!(queue.push_own(pending(400)) && queue.push_own(pending(400)));
        assert!(!queue.push_own(pending(1)), "one beyond the limit");
        assert_eq!(queue.counts().0, 4);
        let Taken::Batch(taken) = queue.take(1, None, 1, |_| 1) else { panic!("four wait") };
        assert_eq!(taken.len(), 1);
        assert!(queue.push_own(pending(1)), "there is room for one again");
        assert!(!queue.push_own(pending(1)));
    }

    #[test]
    fn the_trails_own_records_wait_for_room_on_disk_and_are_refused_by_a_trail_that_ends() {
        let queue = Queue::new(2, 1_000);
        queue.set_full(now());
        assert_eq!(queue.push(pending(1), now), Err(Refusal::Full));
        assert!(queue.push_own(pending(1)), "nobody would repeat it");
        queue.set_full(now());
        assert_eq!(queue.counts().0, 1, "kept");
        queue.close();
        assert!(!queue.push_own(pending(1)));
        queue.fail();
        assert!(!queue.push_own(pending(1)));
    }
}
