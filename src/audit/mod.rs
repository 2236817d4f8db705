//! The trail (stub: the room is being built).

use crate::domain::Receipt;

/// A value whose record is in the trail.
#[derive(Debug)]
pub struct Recorded<T> {
    value: T,
    receipt: Receipt,
}

impl<T> Recorded<T> {
    pub fn value(&self) -> &T {
        &self.value
    }

    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// A record that no trail holds, for unit tests of what takes a recorded value.
    #[cfg(test)]
    pub(crate) fn for_test(value: T, receipt: Receipt) -> Self {
        Self { value, receipt }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the queue of the trail is full")]
    Full,
    #[error("the trail stopped")]
    Fatal,
}
