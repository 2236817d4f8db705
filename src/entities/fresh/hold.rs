//! What a decision rests on, so that it can be asked again before it leaves.

use std::{sync::Arc, time::Duration};

use super::{
    bug::{Bug, is_seeded},
    validity::Validity,
};
use crate::{domain::mapping::Source, entities::FactKey};

/// One fact that a slice was made of.
#[derive(Debug)]
pub(in crate::entities) struct Pin {
    pub(in crate::entities) key: FactKey,
    /// The tick that a kept fact is valid by; `None`: read for this question, so only its age counts.
    pub(in crate::entities) tick: Option<u64>,
    /// Beyond this instant of the clock's elapsed time the fact may be staler than promised.
    pub(in crate::entities) until: Duration,
}

/// Every fact of one slice, with the instant until which an allow may rest on it.
#[derive(Debug, Default)]
pub struct Hold {
    app: Option<Arc<Validity>>,
    store: Option<Arc<Validity>>,
    pins: Vec<Pin>,
}

impl Hold {
    pub(in crate::entities) const fn new(app: Option<Arc<Validity>>, store: Option<Arc<Validity>>) -> Self {
        Self { app, store, pins: Vec::new() }
    }

    pub(in crate::entities) fn pin(&mut self, pin: Pin) {
        self.pins.push(pin);
    }

    /// Whether an allow may leave now: no fact is too old, and none has changed as far as the feed knows.
    pub fn is_good(&self, elapsed: Duration) -> bool {
        is_seeded(Bug::NoCheckBeforeRelease) || self.pins.iter().all(|pin| elapsed <= pin.until && self.is_valid(pin))
    }

    fn is_valid(&self, pin: &Pin) -> bool {
        let Some(tick) = pin.tick else { return true };
        let validity = match pin.key.source {
            Source::App => &self.app,
            Source::Store => &self.store,
        };
        validity.as_ref().is_some_and(|validity| validity.is_valid(pin.key.name(), tick))
    }
}
