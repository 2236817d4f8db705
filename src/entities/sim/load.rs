//! Simulated loads: each statement is sent after its mark was taken, sees its snapshot, and comes back, or is lost.

use std::sync::{Arc, Mutex};

use super::world::World;
use crate::entities::{fed::Departure, keep::Lane, load::unanswered};

/// Lanes that have departed and have no task yet.
#[derive(Debug, Default)]
pub(super) struct Dock(Mutex<Vec<Lane>>);

impl Departure for Dock {
    fn depart(&self, lane: Lane) {
        self.0.lock().unwrap().push(lane);
    }
}

impl Dock {
    pub(super) fn departed(&self) -> Vec<Lane> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

pub(super) async fn fly(world: Arc<World>, mut lane: Lane) {
    // The wait for a connection.
    world.gate().await;
    while let Some(wanted) = lane.next() {
        let key = wanted.key.clone();
        world.note(|| format!("load of {:?} {}: sent", key.relation, key.id));
        world.gate().await;
        let rows = world.state().log.rows(&key);
        world.note(|| {
            format!("load of {:?} {}: snapshot {:?}", key.relation, key.id, rows.first().map(|row| &row.cells))
        });
        world.gate().await;
        let (is_lost, breaks) = {
            let mut state = world.state();
            (state.loses_load(), state.dice.in_hundred(20))
        };
        let rows = match (is_lost, breaks) {
            (false, _) => Ok(rows),
            // The statement's own timeout.
            (true, false) => unanswered(&wanted.borrowed()),
            // The connection: the lane lands what is left as it goes.
            (true, true) => return,
        };
        lane.done(rows);
        world.note(|| format!("load of {:?} {}: landed", key.relation, key.id));
    }
}
