//! Time as a parameter. Nothing else in the project reads a clock; `clippy.toml` refuses it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

/// Where instants come from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock, in UTC. Windows are judged by it.
    fn now(&self) -> Timestamp;

    /// Time since some fixed instant that never goes back and counts while the machine sleeps (`CLOCK_BOOTTIME`).
    /// Ages, deadlines and latencies are measured by it.
    fn elapsed(&self) -> Duration;

    /// Whether [`Self::now`] goes on by itself, so that it can be compared with other clocks.
    fn is_wall(&self) -> bool {
        false
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        boot_time()
    }

    fn is_wall(&self) -> bool {
        true
    }
}

/// A wall clock that stands still until it is moved: the demo's, and the tests'. Elapsed time stays real.
#[derive(Clone, Debug)]
pub struct FrozenClock(Arc<Mutex<Timestamp>>);

impl FrozenClock {
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Moves the wall clock, in either direction.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for FrozenClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> Duration {
        boot_time()
    }
}

fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// A UUIDv7 whose time is the clock's: ids sort by time, also under a frozen clock.
pub fn new_id(clock: &dyn Clock) -> uuid::Uuid {
    let now = clock.now();
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}
