//! One seed: who works, and in which order.

use std::{sync::Arc, time::Duration};

use super::{
    crew::{Crew, Role, Work},
    decide::Office,
    feed::SimConnect,
    load::fly,
    world::{STALENESS, Tally, Weather, World},
};
use crate::entities::feed::{FeedState, run};

/// Steps within which everything must work again once all is calm.
const CALM_STEPS: usize = 1_500;

/// What came of a seed.
pub(super) struct Ended {
    pub(super) tally: Tally,
    pub(super) wrong: Option<String>,
    pub(super) trace: Vec<String>,
}

/// How fast everybody is, for a while.
struct Mood {
    /// Of the clock, of those who write and break things, and of each role.
    weights: [u64; 6],
    /// The most that the clock moves at once, in milliseconds.
    stride: u64,
    left: u64,
}

const ROLES: [Role; 4] = [Role::Feed, Role::Load, Role::Caller, Role::Barrier];

pub(super) fn seed(seed: u64, steps: usize, is_traced: bool) -> Ended {
    let world = Arc::new(World::new(seed, is_traced));
    let office = Arc::new(Office::new(Arc::clone(&world)));
    let mut crew = Crew::default();
    crew.hire(&world, Role::Feed, follow(&office));
    let callers = world.state().dice.of(&[1, 2, 4]);
    for _ in 0..callers {
        crew.hire(&world, Role::Caller, Box::pin(Arc::clone(&office).ask()));
    }
    crew.hire(&world, Role::Barrier, Box::pin(Arc::clone(&office).revoke()));
    let mut mood = Mood::new(&world);
    for _ in 0..steps {
        mood.step(&world, &office, &mut crew);
        if world.state().wrong.is_some() {
            break;
        }
    }
    if seed.is_multiple_of(8) && world.state().wrong.is_none() {
        calm(&world, &office, &mut crew);
    }
    let trace = world.trace();
    let state = world.state();
    Ended { tally: state.tally, wrong: state.wrong.clone(), trace }
}

fn follow(office: &Arc<Office>) -> Work {
    let office = Arc::clone(office);
    Box::pin(async move {
        let (state, clock) = (FeedState::default(), office.world.clock.clone());
        run(&mut SimConnect(Arc::clone(&office.world)), &office.validity, &state, &clock, &|_lag| ()).await;
    })
}

impl Mood {
    fn new(world: &World) -> Self {
        let dice = &mut world.state().dice;
        let weights = [
            dice.of(&[1, 2, 4]),
            dice.of(&[1, 1, 3]),
            dice.of(&[0, 1, 4, 8, 16]),
            dice.of(&[0, 2, 8, 16]),
            dice.of(&[1, 8, 16, 24]),
            dice.of(&[0, 2, 8]),
        ];
        Self { weights, stride: dice.of(&[1, 20, 100, 400, 1_500]), left: dice.within(10, 40) }
    }

    fn step(&mut self, world: &Arc<World>, office: &Arc<Office>, crew: &mut Crew) {
        if self.left == 0 {
            *self = Self::new(world);
        }
        self.left -= 1;
        // Whatever happens takes some time.
        world.clock.pass(Duration::from_micros(1));
        let mut ready: Vec<(u64, Choice)> = vec![(self.weights[0], Choice::Clock), (self.weights[1], Choice::Nature)];
        for (role, weight) in ROLES.into_iter().zip(&self.weights[2..]) {
            if *weight > 0 && crew.ready(role).next().is_some() {
                ready.push((*weight, Choice::Work(role)));
            }
        }
        match choose(world, &ready) {
            Choice::Clock => {
                let time = Duration::from_millis(world.state().dice.within(1, self.stride));
                world.clock.pass(time);
                world.note(|| format!("{time:?} pass"));
            }
            Choice::Nature => nature(world, office, crew),
            Choice::Work(role) => {
                let ready: Vec<usize> = crew.ready(role).collect();
                let number = world.state().dice.of(&ready);
                crew.step(world, number);
            }
        }
        land_tasks(world, office, crew);
    }
}

#[derive(Clone, Copy)]
enum Choice {
    Clock,
    Nature,
    Work(Role),
}

fn choose(world: &World, ready: &[(u64, Choice)]) -> Choice {
    let all: u64 = ready.iter().map(|(weight, _)| weight).sum();
    let mut at = world.state().dice.within(1, all);
    for (weight, choice) in ready {
        if at <= *weight {
            return *choice;
        }
        at -= weight;
    }
    Choice::Clock
}

fn land_tasks(world: &Arc<World>, office: &Office, crew: &mut Crew) {
    for lane in office.dock.departed() {
        crew.hire(world, Role::Load, Box::pin(fly(Arc::clone(world), lane)));
    }
}

/// Writes, transactions that stay open, broken lines, and callers who hang up.
fn nature(world: &Arc<World>, office: &Arc<Office>, crew: &mut Crew) {
    let roll = world.state().dice.within(1, 100);
    // What is down comes back sooner than it went.
    if roll.is_multiple_of(3) {
        let weather = &mut world.state().weather;
        (weather.is_feed_down, weather.are_loads_down) = (false, false);
    }
    match roll {
        1..=45 => {
            let writes = world.writes();
            world.commit(writes);
        }
        46..=60 => {
            let writes = world.writes();
            world.note(|| format!("transaction opened: {writes:?}"));
            world.state().open.push(writes);
        }
        61..=84 => {
            let writes = {
                let state = &mut *world.state();
                let open = state.open.len();
                (open > 0).then(|| state.open.swap_remove(state.dice.below(open)))
            };
            let is_rolled_back = world.state().dice.in_hundred(20);
            if let Some(writes) = writes.filter(|_| !is_rolled_back) {
                world.commit(writes);
            }
        }
        85..=90 => {
            let state = &mut *world.state();
            state.weather.is_feed_down = !state.weather.is_feed_down && state.dice.in_hundred(50);
        }
        91..=94 => {
            let state = &mut *world.state();
            state.weather.are_loads_down = !state.weather.are_loads_down && state.dice.in_hundred(50);
        }
        _ => {
            let (role, work): (Role, Work) = if roll <= 98 {
                (Role::Caller, Box::pin(Arc::clone(office).ask()))
            } else {
                (Role::Barrier, Box::pin(Arc::clone(office).revoke()))
            };
            let all: Vec<usize> = crew.all_of(role).collect();
            let number = world.state().dice.of(&all);
            world.state().tally.given_up += 1;
            world.note(|| format!("{role:?} gives up"));
            crew.replace(world, number, work);
        }
    }
}

/// Nothing breaks and nobody writes any more: kept facts allow again, barriers return, and nobody waits for good.
fn calm(world: &Arc<World>, office: &Arc<Office>, crew: &mut Crew) {
    world.state().weather = Weather { is_calm: true, ..Weather::default() };
    world.state().open.clear();
    let facts = world.state().log.facts.len();
    world.commit((0..facts).map(|number| (number, true)).collect());
    world.clock.pass(STALENESS);
    let before = world.state().tally;
    for step in 0..CALM_STEPS {
        world.clock.pass(Duration::from_millis(1));
        let role = ROLES[step % ROLES.len()];
        let ready: Vec<usize> = crew.ready(role).collect();
        if let Some(number) = ready.get(step / ROLES.len() % ready.len().max(1)) {
            crew.step(world, *number);
        }
        land_tasks(world, office, crew);
        let now = world.state().tally;
        if now.allowed_by_kept > before.allowed_by_kept && now.barriers > before.barriers {
            return;
        }
        if world.state().wrong.is_some() {
            return;
        }
    }
    let now = world.state().tally;
    world.state().wrong = Some(format!("nothing recovered within {CALM_STEPS} steps: {before:?} {now:?}"));
}
