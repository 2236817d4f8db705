//! Tasks on one thread, one step at a time, in an order that is somebody else's to choose.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
};

use super::world::World;

/// Whose work a task is: the scheduler lets some run faster than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Feed,
    Load,
    Caller,
    Barrier,
}

pub(super) type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

struct Task {
    role: Role,
    work: Work,
    is_woken: Arc<Flag>,
    waker: Waker,
    is_at_gate: bool,
}

#[derive(Default)]
pub(super) struct Crew(Vec<Task>);

impl Crew {
    /// Takes a task on, and runs it up to its first wait.
    pub(super) fn hire(&mut self, world: &World, role: Role, work: Work) {
        let is_woken = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&is_woken));
        self.0.push(Task { role, work, is_woken, waker, is_at_gate: false });
        self.step(world, self.0.len() - 1);
    }

    /// The tasks of a role that can go on.
    pub(super) fn ready(&self, role: Role) -> impl Iterator<Item = usize> {
        let is_ready = move |task: &Task| task.role == role && (task.is_at_gate || task.is_woken.0.load(SeqCst));
        self.0.iter().enumerate().filter(move |(_, task)| is_ready(task)).map(|(number, _)| number)
    }

    pub(super) fn all_of(&self, role: Role) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(move |(_, task)| task.role == role).map(|(number, _)| number)
    }

    /// Lets a task go on until it waits again.
    pub(super) fn step(&mut self, world: &World, number: usize) {
        let task = &mut self.0[number];
        task.is_woken.0.store(false, SeqCst);
        world.open_gate(task.is_at_gate);
        let is_over = task.work.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready();
        task.is_at_gate = world.has_stopped_at_gate();
        if is_over {
            drop(self.0.swap_remove(number));
        }
    }

    /// Somebody gives up, and somebody else comes in their place.
    pub(super) fn replace(&mut self, world: &World, number: usize, work: Work) {
        let role = self.0.swap_remove(number).role;
        self.hire(world, role, work);
    }
}
