//! Simulated callers: each asks, decides as `authorize` does, and asks again. And those who call barriers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    feed::MAPPING,
    load::Dock,
    log::{CLIENTS, PARTS, Part},
    world::{STALENESS, SimClock, World},
};
use crate::{
    clock::Clock as _,
    domain::{Row, mapping::Query},
    entities::{
        barrier,
        error::FactsError,
        fed::{Fact, Fed, Trust, Visit},
        fresh::{Hold, InFlight, Validity},
        hot::HotFact,
        keep::{Keep, Room},
        load::{FactKey, Want},
    },
};

/// How long the timers of the real code wait. The simulated clock moves none: a caller that hangs up stands for them.
const FAR: Duration = Duration::from_secs(1 << 20);
const KEEP_BYTES: u64 = 1 << 20;
const STAMPS: usize = 64;

/// What every caller asks of.
pub(super) struct Office {
    pub(super) world: Arc<World>,
    pub(super) validity: Arc<Validity>,
    pub(super) dock: Arc<Dock>,
    fed: Fed,
    in_flight: Arc<InFlight>,
    keys: Vec<(FactKey, Part)>,
    query: Query,
    /// What was used last about each client, whole: the next caller may use it again.
    hot: Mutex<BTreeMap<String, Vec<Used>>>,
}

/// A fact of a slice, and its rows.
type Used = (HotFact, Arc<[Row]>);

struct Decided {
    is_allow: bool,
    is_kept: bool,
    hold: Hold,
    used: Vec<(FactKey, Arc<[Row]>)>,
}

impl Office {
    pub(super) fn new(world: Arc<World>) -> Self {
        let clock: SimClock = world.clock.clone();
        let validity = Arc::new(Validity::with_stamps(STAMPS));
        let dock = Arc::new(Dock::default());
        let room = Room {
            flights: Arc::default(),
            validity: Arc::clone(&validity),
            keep: Arc::new(Keep::new(KEEP_BYTES, clock.elapsed())),
            clock: Arc::new(clock),
        };
        let departure: Arc<Dock> = Arc::clone(&dock);
        let fed = Fed { room, departure, staleness: STALENESS };
        let keys = world.state().log.facts.iter().map(|fact| (fact.key.clone(), fact.part)).collect();
        let query = Query { sqlite: "".into(), postgres: "".into() };
        Self { world, validity, dock, fed, in_flight: Arc::default(), keys, query, hot: Mutex::default() }
    }

    /// One caller, for good.
    pub(super) async fn ask(self: Arc<Self>) {
        loop {
            self.world.gate().await;
            self.decide().await;
        }
    }

    /// As `Authorizer::authorize` does, with a log of commits instead of policies and a gate instead of a trail.
    async fn decide(&self) {
        let world = &self.world;
        let client = {
            let state = &mut *world.state();
            state.dice.of(&CLIENTS)
        };
        let _entered = self.in_flight.enter();
        for trust in [Trust::Feed, Trust::LoadsAlone] {
            let decided = match self.evaluate(client, trust).await {
                Ok(decided) => decided,
                Err(error) => {
                    world.note(|| format!("denied: {error}"));
                    world.state().tally.failed += 1;
                    return;
                }
            };
            world.note(|| format!("decided on {client} with {trust:?}: allow {}", decided.is_allow));
            // The record is written.
            world.gate().await;
            if !decided.is_allow {
                world.state().tally.denied += 1;
                return;
            }
            if decided.hold.is_good(world.clock.elapsed()) {
                world.judge_released(&decided.used);
                // Between its last look at the facts and its end another thread may go on.
                world.gate().await;
                world.judge_left(&decided.used);
                let tally = &mut world.state().tally;
                tally.allowed += 1;
                tally.allowed_by_kept += u64::from(decided.is_kept);
                return;
            }
            world.note(|| "withheld".into());
            world.state().tally.withheld += 1;
            // So is the record that it was withheld.
            world.gate().await;
        }
        world.state().tally.stale += 1;
    }

    async fn evaluate(&self, client: &str, trust: Trust) -> Result<Decided, FactsError> {
        let visit = self.fed.visit(MAPPING, trust);
        self.world.gate().await;
        let (is_again, is_at_once, first) = {
            let dice = &mut self.world.state().dice;
            (dice.in_hundred(30), dice.in_hundred(50), dice.of(&PARTS))
        };
        if is_again && let Some(decided) = self.again(&visit, client) {
            return Ok(decided);
        }
        let mut facts = self.facts(&visit, client, |part| is_at_once || part == first).await?;
        if !is_at_once {
            self.world.gate().await;
            facts.extend(self.facts(&visit, client, |part| part != first).await?);
        }
        let hot = facts.iter().map(|fact| (HotFact::of(fact), Arc::clone(&fact.rows))).collect();
        drop(self.hot.lock().unwrap().insert(client.to_owned(), hot));
        let mut hold = Hold::new(Some(Arc::clone(&self.validity)), None);
        let (mut is_allow, mut is_kept, mut used) = (true, true, Vec::new());
        for fact in facts {
            let part = self.keys.iter().find(|(key, _)| key == fact.key()).unwrap().1;
            is_allow &= part.permits(&fact.rows);
            is_kept &= fact.is_kept;
            used.push((fact.key().clone(), fact.rows));
            hold.pin(fact.pin);
        }
        Ok(Decided { is_allow: is_allow && used.len() == PARTS.len(), is_kept, hold, used })
    }

    /// The slice of an earlier question, as `Facts::again` uses it.
    fn again(&self, visit: &Visit<'_>, client: &str) -> Option<Decided> {
        let hot = self.hot.lock().unwrap().get(client)?.clone();
        let (marks, rows): (Vec<_>, Vec<_>) = hot.into_iter().unzip();
        let (_, pins) = visit.still(&marks)?;
        let mut hold = Hold::new(Some(Arc::clone(&self.validity)), None);
        let used: Vec<_> = marks.into_iter().map(|mark| mark.key).zip(rows).collect();
        pins.into_iter().for_each(|pin| hold.pin(pin));
        let part = |key: &FactKey| self.keys.iter().find(|(known, _)| known == key).unwrap().1;
        let is_allow = used.len() == PARTS.len() && used.iter().all(|(key, rows)| part(key).permits(rows));
        self.world.state().tally.again += 1;
        Some(Decided { is_allow, is_kept: true, hold, used })
    }

    async fn facts(
        &self,
        visit: &Visit<'_>,
        client: &str,
        is_wanted: impl Fn(Part) -> bool,
    ) -> Result<Vec<Fact>, FactsError> {
        let wanted = self.keys.iter().filter(|(key, part)| *key.id == *client && is_wanted(*part));
        let wants = wanted.map(|(key, part)| Want {
            key: key.clone(),
            query: &self.query,
            columns: &[],
            rows_max: 10,
            slot: part.slot(),
        });
        visit.facts(wants.collect(), FAR).await
    }

    /// Somebody who calls one barrier after the other, mostly for what was just written.
    pub(super) async fn revoke(self: Arc<Self>) {
        loop {
            self.world.gate().await;
            let is_writer = {
                let state = &mut *self.world.state();
                !state.weather.is_calm && state.dice.in_hundred(50)
            };
            if is_writer {
                let writes = self.world.writes();
                self.world.commit(writes);
            }
            let called = self.world.clock.elapsed();
            let floor = self.world.state().log.position();
            self.world.note(|| format!("barrier called after {floor} commits"));
            self.validity.renewed_since(called).await;
            barrier::grace(&self.in_flight).await;
            self.world.barrier_returned(floor);
        }
    }
}
