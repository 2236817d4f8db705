//! Where shipping stands; part of the trail's state, under its lock.

use std::{collections::VecDeque, sync::Arc};

use super::{
    super::{bytes::len64, state::Waiter},
    ShippingStatus,
};

/// Frames are kept in memory for the shipper up to this; older ones are on disk, and read there.
const RECENT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Whether the sink answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::audit) enum Contact {
    /// It was not asked yet.
    #[default]
    Unknown,
    Stands,
    Away(String),
}

#[derive(Debug)]
struct Recent {
    frame: u64,
    bytes: Arc<Vec<u8>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::audit) struct Shipping {
    pub(in crate::audit) is_on: bool,
    /// A shipper is at work, or was.
    pub(in crate::audit) has_started: bool,
    /// The last frames that were composed, without a gap.
    recent: VecDeque<Recent>,
    recent_bytes: u64,
    /// Callers whose answer waits for the sink, by frame.
    waiters: VecDeque<(u64, Vec<Waiter>)>,
    /// Of this writer, the last frame and record that the sink holds.
    pub(super) held_frame: u64,
    pub(super) held_seq: u64,
    pub(super) shipped: u64,
    /// Records of dead writers that the sink does not hold yet.
    pub(super) orphan_lag: u64,
    pub(super) contact: Contact,
    /// This writer's shipping stopped for good.
    pub(super) is_stopped: bool,
    pub(super) alarms: Vec<String>,
}

impl Shipping {
    /// The sink takes this writer's frames.
    pub(in crate::audit) fn stands(&self) -> bool {
        self.is_on && !self.is_stopped && self.contact == Contact::Stands
    }

    /// Nobody can wait for the sink now.
    pub(in crate::audit) fn is_away(&self) -> bool {
        self.is_stopped || matches!(self.contact, Contact::Away(_))
    }

    /// A frame was composed; `waiters` are released when the sink holds it.
    pub(in crate::audit) fn composed(&mut self, frame: u64, bytes: &Arc<Vec<u8>>, waiters: Vec<Waiter>) {
        if !self.is_on {
            return;
        }
        if !waiters.is_empty() {
            self.waiters.push_back((frame, waiters));
        }
        self.recent.push_back(Recent { frame, bytes: Arc::clone(bytes) });
        self.recent_bytes += len64(bytes.len());
    }

    /// Lets go of what need not stay in memory: older frames, as long as they are on disk.
    pub(in crate::audit) fn synced(&mut self, synced: u64) {
        while self.recent_bytes > RECENT_BYTES_MAX && self.recent.front().is_some_and(|recent| recent.frame <= synced) {
            self.forget_first();
        }
    }

    /// As if memory had been too small.
    #[cfg(test)]
    pub(in crate::audit) fn forget_all(&mut self) {
        self.recent.clear();
        self.recent_bytes = 0;
    }

    fn forget_first(&mut self) {
        if let Some(recent) = self.recent.pop_front() {
            self.recent_bytes = self.recent_bytes.saturating_sub(len64(recent.bytes.len()));
        }
    }

    pub(in crate::audit) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Frames behind the held one up to `upto`; `None` if the next one is not in memory any more.
    pub(super) fn next(&self, upto: u64, bytes_max: u64) -> Option<Vec<Arc<Vec<u8>>>> {
        let next = self.held_frame + 1;
        if next > upto {
            return Some(Vec::new());
        }
        if self.recent.front().is_none_or(|recent| recent.frame > next) {
            return None;
        }
        let mut len = 0;
        let wanted = self.recent.iter().filter(|recent| recent.frame >= next && recent.frame <= upto);
        let batch = wanted.take_while(|recent| {
            let fits = len == 0 || len + len64(recent.bytes.len()) <= bytes_max;
            len += len64(recent.bytes.len());
            fits
        });
        Some(batch.map(|recent| Arc::clone(&recent.bytes)).collect())
    }

    /// The sink holds this writer up to here; returns who waited for that.
    pub(super) fn advance(&mut self, frame: u64, seq: u64) -> Vec<Waiter> {
        self.contact = Contact::Stands;
        self.shipped += seq.saturating_sub(self.held_seq);
        (self.held_frame, self.held_seq) = (frame, seq);
        while self.recent.front().is_some_and(|recent| recent.frame <= frame) {
            self.forget_first();
        }
        let mut released = Vec::new();
        while self.waiters.front().is_some_and(|(at, _)| *at <= frame) {
            released.extend(self.waiters.pop_front().into_iter().flat_map(|(_, waiters)| waiters));
        }
        released
    }

    /// These, of one frame, wait for the sink now instead of the disk; returns those that need not wait any more.
    pub(in crate::audit) fn wait_instead(&mut self, frame: u64, waiters: Vec<Waiter>) -> Vec<Waiter> {
        if frame <= self.held_frame {
            return waiters;
        }
        if !waiters.is_empty() {
            let at = self.waiters.partition_point(|(other, _)| *other <= frame);
            self.waiters.insert(at, (frame, waiters));
        }
        Vec::new()
    }

    /// The sink holds every frame up to here.
    pub(in crate::audit) fn holds(&self, frame: u64) -> bool {
        self.held_frame >= frame
    }

    /// All that wait for the sink.
    pub(in crate::audit) fn take_waiters(&mut self) -> Vec<Waiter> {
        self.waiters.drain(..).flat_map(|(_, waiters)| waiters).collect()
    }

    pub(super) fn alarm(&mut self, alarm: String) {
        if !self.alarms.contains(&alarm) {
            self.alarms.push(alarm);
        }
    }

    /// As others see it; `synced_seq` is this writer's last record on disk.
    pub(in crate::audit) fn status(&self, synced_seq: u64) -> ShippingStatus {
        ShippingStatus {
            is_on: self.is_on,
            shipped: self.shipped,
            lag: if self.is_on { synced_seq.saturating_sub(self.held_seq) + self.orphan_lag } else { 0 },
            away: match &self.contact {
                Contact::Away(why) => Some(why.clone()),
                Contact::Unknown | Contact::Stands => None,
            },
            alarms: self.alarms.clone(),
        }
    }
}
