//! The guard thread: watches writer and syncer, and sends in another shift when one fails or hangs.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::{
    signing,
    state::{Life, Shared, Shift, Spare},
    syncer, writer,
};

/// A write or sync that takes longer counts as failed; its thread is left behind.
const CALL_MS_MAX: u64 = 1_000;
/// The rescue of unsynced frames may move megabytes.
const TAKEOVER_CALL_MS_MAX: u64 = 5_000;
/// While every answer waits for the store, a disk that failed is tried again after this.
const DISK_AGAIN: Duration = Duration::from_secs(10);
const WATCH_POLL: Duration = Duration::from_millis(200);

/// Starts the guard and the first shift.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let shift = Arc::clone(&shared.state().shift);
    start_publisher(shared)?;
    send_in(shared, &shift)?;
    let shared = Arc::clone(shared);
    thread::Builder::new().name("trail-guard".to_owned()).spawn(move || {
        let _abort = AbortOnPanic;
        watch(&shared);
    })?;
    Ok(())
}

/// The publisher outlives shifts: what it waits for is no part of the trail.
fn start_publisher(shared: &Arc<Shared>) -> io::Result<()> {
    if shared.state().signing.key.is_none() {
        return Ok(());
    }
    let (leaving, heads) = mpsc::sync_channel(signing::WAITING_MAX);
    let for_publisher = Arc::clone(shared);
    thread::Builder::new().name("trail-publisher".to_owned()).spawn(move || {
        let _abort = AbortOnPanic;
        signing::publish(&for_publisher, &heads);
    })?;
    let mut state = shared.state();
    state.signing.leave_by(leaving);
    state.publisher_left = false;
    Ok(())
}

fn send_in(shared: &Arc<Shared>, shift: &Arc<Shift>) -> io::Result<()> {
    let (for_writer, for_syncer) = ((Arc::clone(shared), Arc::clone(shift)), (Arc::clone(shared), Arc::clone(shift)));
    thread::Builder::new().name("trail-syncer".to_owned()).spawn(move || {
        let _abort = AbortOnPanic;
        syncer::run(&for_syncer.0, &for_syncer.1);
    })?;
    thread::Builder::new().name("trail-writer".to_owned()).spawn(move || {
        let _abort = AbortOnPanic;
        writer::run(for_writer.0, for_writer.1);
    })?;
    Ok(())
}

fn watch(shared: &Arc<Shared>) {
    loop {
        let mut state = shared.state();
        if state.life != Life::Running {
            return;
        }
        let hangs = hang(shared, &state.shift, state.taking_over);
        let Some(why) = state.poison.take().or(hangs) else {
            drop(shared.wait(state, WATCH_POLL));
            continue;
        };
        if state.taking_over && !state.shipping.stands() {
            drop(state);
            shared.fail(&why);
            return;
        }
        if state.taking_over {
            // Both segments failed. The store carries on alone, and a disk that hangs costs no more than two threads a try.
            state.disk_again = shared.clock.elapsed() + DISK_AGAIN;
        }
        tracing::warn!(why, "another shift takes the trail over");
        let shift = Shift::new(state.shift.number + 1);
        state.shift = Arc::clone(&shift);
        state.taking_over = true;
        if matches!(state.spare, Spare::Broken(..)) {
            state.spare = Spare::Wanted;
        }
        // A hanging thread may still bring the spare it was making into being.
        state.next_number += 1;
        drop(state);
        shared.queue.hand_over(shift.number);
        shared.bell.notify_all();
        if let Err(error) = send_in(shared, &shift) {
            shared.fail(&format!("no thread could be started: {error}"));
            return;
        }
    }
}

/// What hangs, if something does.
fn hang(shared: &Shared, shift: &Shift, taking_over: bool) -> Option<String> {
    let now = shared.elapsed_ms() + 1;
    let limit = if taking_over { TAKEOVER_CALL_MS_MAX } else { CALL_MS_MAX };
    let over = |call: &AtomicU64| {
        let began = call.load(Ordering::Acquire);
        began != 0 && now.saturating_sub(began) > limit
    };
    if over(&shift.writer_call) {
        Some(format!("a write took longer than {limit} ms"))
    } else if over(&shift.syncer_call) {
        Some(format!("a sync took longer than {limit} ms"))
    } else {
        None
    }
}

/// A thread of the trail that panics knows less of the trail's state than anyone: the process ends at once.
pub(super) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}
