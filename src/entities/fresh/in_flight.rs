//! Decisions under way, counted so that a barrier can wait for those that had begun.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::sync::{Mutex, Notify};

/// Two counters that take turns: while one empties, newcomers are counted by the other.
#[derive(Debug, Default)]
pub(in crate::entities) struct InFlight {
    turn: AtomicUsize,
    counts: [AtomicUsize; 2],
    left: Notify,
    /// One sweep at a time.
    sweep: Mutex<()>,
}

/// A decision that has begun; leaves when dropped.
#[derive(Debug)]
#[must_use = "a decision counts while this lives"]
pub struct Entered {
    in_flight: Arc<InFlight>,
    turn: usize,
}

impl InFlight {
    pub(in crate::entities) fn enter(self: &Arc<Self>) -> Entered {
        loop {
            let turn = self.turn.load(SeqCst);
            self.count(turn).fetch_add(1, SeqCst);
            let entered = Entered { in_flight: Arc::clone(self), turn };
            // A sweep that turned meanwhile may not have seen this one: counted again, on the other side.
            if self.turn.load(SeqCst) == turn {
                return entered;
            }
        }
    }

    /// Waits until every decision that had entered before this call has left.
    pub(in crate::entities) async fn drained(&self) {
        let _sweep = self.sweep.lock().await;
        // A sweep that was given up leaves some on the side where newcomers would be counted.
        let turn = self.turn.load(SeqCst);
        self.emptied(1 - turn).await;
        self.turn.store(1 - turn, SeqCst);
        self.emptied(turn).await;
    }

    async fn emptied(&self, turn: usize) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.count(turn).load(SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }

    const fn count(&self, turn: usize) -> &AtomicUsize {
        let [even, odd] = &self.counts;
        if turn == 0 { even } else { odd }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.in_flight.count(self.turn).fetch_sub(1, SeqCst) == 1 {
            self.in_flight.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }

    #[test]
    fn waits_for_those_before_and_not_for_those_after() {
        let in_flight = Arc::new(InFlight::default());
        let before = in_flight.enter();
        let mut drained = pin!(in_flight.drained());
        assert!(poll(drained.as_mut()).is_pending());
        let _after = in_flight.enter();
        assert!(poll(drained.as_mut()).is_pending());
        drop(before);
        assert!(poll(drained.as_mut()).is_ready());
    }

    #[test]
    fn a_sweep_that_was_given_up_loses_nobody() {
        let in_flight = Arc::new(InFlight::default());
        let first = in_flight.enter();
        {
            let mut given_up = pin!(in_flight.drained());
            assert!(poll(given_up.as_mut()).is_pending());
        }
        let mut drained = pin!(in_flight.drained());
        assert!(poll(drained.as_mut()).is_pending());
        drop(first);
        assert!(poll(drained.as_mut()).is_ready());
    }
}
