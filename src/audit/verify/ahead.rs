//! Looking at segments ahead of the one pass that puts them together: other threads read them and do the hashing, which
//! is nearly all of the work and asks nothing of what came before but the segment's own header.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::lines::first_bad_record;
use crate::audit::{
    cipher::{self, CipherError, DataKey},
    header::{HEADER_BYTES, Header},
    walk::Position,
};

/// More threads than this wait for the disk.
const THREADS_MAX: usize = 8;
/// A segment is held in memory as a whole: larger ones are read when their turn comes.
const AHEAD_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Below this the threads cost more than they bring.
const WORTH_BYTES: u64 = 8 * 1024 * 1024;

/// A segment as it was read, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) stored: Vec<u8>,
    /// So many frames from the first on continue each other from the header's position, and their records are those
    /// that their leaves name.
    pub(super) good: usize,
}

/// One segment to look at.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) path: PathBuf,
    pub(super) key: Option<Arc<DataKey>>,
}

/// Reads a segment and does the hashing.
pub(super) fn look(path: &Path, key: Option<&DataKey>) -> io::Result<Looked> {
    let stored = fs::read(path)?;
    let good = Header::decode(&stored).map_or(0, |header| good_frames(&header, &stored, key));
    Ok(Looked { stored, good })
}

fn good_frames(header: &Header, stored: &[u8], key: Option<&DataKey>) -> usize {
    let (mut position, mut at, mut good) = (Position::before(header, stored), HEADER_BYTES, 0);
    while let Ok(frame) = position.step(stored, at) {
        let is_good = match cipher::clear(&frame, key) {
            Ok(body) => first_bad_record(&frame, &body).is_none(),
            Err(CipherError::NoKey) => true,
            Err(CipherError::Changed | CipherError::Encrypt) => false,
        };
        if !is_good {
            break;
        }
        at += frame.len;
        good += 1;
    }
    good
}

/// What the threads share with the pass.
pub(super) struct Ahead {
    jobs: Vec<Job>,
    threads: usize,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    /// The next job that nobody has.
    next: usize,
    /// The pass stands at this one.
    wanted: usize,
    done: BTreeMap<usize, io::Result<Looked>>,
    is_over: bool,
}

impl Ahead {
    /// `jobs` in the order in which the pass asks for them. A small trail is not worth a thread.
    pub(super) fn new(jobs: Vec<Job>) -> Self {
        let bytes: u64 = jobs.iter().filter_map(|job| Some(fs::metadata(&job.path).ok()?.len())).sum();
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        Self::with(if bytes < WORTH_BYTES { 0 } else { threads }, jobs)
    }

    fn with(threads: usize, jobs: Vec<Job>) -> Self {
        Self { jobs, threads, state: Mutex::default(), bell: Condvar::new() }
    }

    /// Runs `pass` with the threads beside it.
    pub(super) fn run<T>(&self, pass: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            // However the pass ends, nobody works on for it.
            let _end = End(self);
            for _ in 0..self.threads {
                scope.spawn(|| self.work());
            }
            pass()
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        // A thread that panics must not leave the pass waiting for it.
        let end = End(self);
        while let Some(number) = self.next() {
            let Some(job) = self.jobs.get(number) else { break };
            let is_large = fs::metadata(&job.path).is_ok_and(|stat| stat.len() > AHEAD_BYTES_MAX);
            let looked =
                if is_large { Err(io::ErrorKind::FileTooLarge.into()) } else { look(&job.path, job.key.as_deref()) };
            self.state().done.insert(number, looked);
            self.bell.notify_all();
        }
        std::mem::forget(end);
    }

    fn next(&self) -> Option<usize> {
        let mut state = self.state();
        while !state.is_over && state.next < self.jobs.len() && state.next > state.wanted + self.threads {
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let number = state.next.max(state.wanted);
        if state.is_over || number >= self.jobs.len() {
            return None;
        }
        state.next = number + 1;
        Some(number)
    }

    /// What was seen of the segment in this file; those before it are not asked for any more.
    pub(super) fn take(&self, path: &Path, key: Option<&DataKey>) -> io::Result<Looked> {
        let mut state = self.state();
        let from = state.wanted;
        let place = self.jobs.iter().skip(from).position(|job| job.path == path).map(|nth| from + nth);
        let Some(number) = place else {
            drop(state);
            return look(path, key);
        };
        state.wanted = number;
        state.done.retain(|of, _| *of >= number);
        self.bell.notify_all();
        // What nobody has begun yet is not waited for.
        let looked = loop {
            if let Some(looked) = state.done.remove(&number) {
                break Some(looked);
            }
            if state.is_over {
                break None;
            }
            if state.next <= number {
                state.next = number + 1;
                break None;
            }
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.wanted = number + 1;
        drop(state);
        self.bell.notify_all();
        match looked {
            Some(Ok(looked)) => Ok(looked),
            // It may have been taken away, or be there only now: the pass sees for itself.
            Some(Err(_)) | None => look(path, key),
        }
    }
}

struct End<'a>(&'a Ahead);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.bell.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_taken_as_it_stands_in_order_and_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..40).map(|n| dir.path().join(format!("{n}"))).collect();
        for (n, path) in paths.iter().enumerate() {
            crate::audit::key::write_file(path, n.to_string().as_bytes()).unwrap();
        }
        let jobs = |paths: &[PathBuf]| paths.iter().map(|path| Job { path: path.clone(), key: None }).collect();
        let ahead = Ahead::with(3, jobs(&paths));
        let taken = ahead.run(|| {
            // All, then every third with some left out, then one again.
            let order: Vec<usize> = (0..20).chain((20..40).step_by(3)).chain([3]).collect();
            let take = |n: &usize| String::from_utf8(ahead.take(&paths[*n], None).unwrap().stored).unwrap();
            order.iter().map(|n| (*n, take(n))).collect::<Vec<_>>()
        });
        assert!(taken.iter().all(|(n, text)| n.to_string() == *text), "{taken:?}");
        // A pass that ends at once, and a file that is not there.
        assert_eq!(Ahead::with(3, jobs(&paths)).run(|| 7), 7);
        let none = Ahead::with(3, jobs(&[dir.path().join("none")]));
        assert!(none.run(|| none.take(&dir.path().join("none"), None)).is_err());
    }
}
