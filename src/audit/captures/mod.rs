//! What decisions were made of, kept beside the trail so that they can be made again: blobs by their SHA-256.
//!
//! A record names the digests, and the chain binds the record: a blob that was changed is no longer found. Keeping one
//! never waits and never fails a decision: a record whose blobs could not be taken names none. What a crash finds in memory
//! is missing afterwards, which whoever derives decisions again is told.

mod reader;
pub(super) mod room;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

pub use reader::CapturedBlobs;

use super::{bytes::len64, merkle::Hash};

/// In the trail's folder.
pub(super) const FOLDER: &str = "captured";
pub(super) const EXTENSION: &str = "jsonl";
/// A blob is known again within one file, so that a file can go without the ones that follow it.
pub(super) const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Digests remembered of one file: 8 MiB.
const KNOWN_MAX: usize = 131_072;
/// The longest blob.
const BLOB_BYTES_MAX: usize = 1024 * 1024;
/// Of the blobs that wait to be written. Each counts for so much more than it has, so that no more than 4,096 wait.
const WAITING_BYTES_MAX: u64 = 16 * 1024 * 1024;
const PLACE_BYTES: u64 = 4 * 1024;

/// Keeps blobs; one for a process.
#[derive(Debug)]
pub struct Captures {
    known: Arc<Mutex<Known>>,
    waiting: Arc<AtomicU64>,
    orders: Mutex<Option<Sender<Order>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Known {
    digests: HashSet<Hash>,
    /// Of the file at hand.
    bytes: u64,
}

#[derive(Debug)]
enum Order {
    Keep(Vec<u8>),
    NextFile,
}

impl Captures {
    /// Begins to keep blobs in the trail's folder `dir`, in files named after its `writer`, `bytes_max` of them in all, and no
    /// more than the trail leaves of its `quota`: the oldest files go first.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or no thread can be started.
    pub fn open(dir: &Path, writer: &str, bytes_max: u64, quota: Option<u64>) -> io::Result<Self> {
        let folder = dir.join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let (sender, orders) = channel();
        let (known, waiting) = (Arc::<Mutex<Known>>::default(), Arc::<AtomicU64>::default());
        let mut desk = Desk {
            dir: dir.to_owned(),
            folder,
            writer: writer.to_owned(),
            bytes_max,
            quota,
            number: 0,
            file: None,
            known: Arc::clone(&known),
            waiting: Arc::clone(&waiting),
            is_failing: false,
        };
        let thread = std::thread::Builder::new().name("captures".to_owned()).spawn(move || desk.run(&orders))?;
        Ok(Self { known, waiting, orders: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Takes a blob and gives its digest, in base64; `None` if it is too long, too many wait, or this was closed. A blob is
    /// one line: it holds no line end.
    pub fn keep(&self, blob: Vec<u8>) -> Option<String> {
        let len = len64(blob.len()) + 1;
        if blob.len() > BLOB_BYTES_MAX || blob.contains(&b'\n') {
            return None;
        }
        let digest = Hash::of(&[&blob]);
        let orders = lock(&self.orders);
        let orders = orders.as_ref()?;
        let mut known = lock(&self.known);
        if known.digests.contains(&digest) {
            return Some(digest.to_string());
        }
        let weight = len + PLACE_BYTES;
        if self.waiting.load(Ordering::Acquire) + weight > WAITING_BYTES_MAX {
            return None;
        }
        if known.bytes + len > FILE_BYTES || known.digests.len() >= KNOWN_MAX {
            orders.send(Order::NextFile).ok()?;
            *known = Known::default();
        }
        self.waiting.fetch_add(weight, Ordering::AcqRel);
        if orders.send(Order::Keep(blob)).is_err() {
            self.waiting.fetch_sub(weight, Ordering::AcqRel);
            return None;
        }
        known.digests.insert(digest);
        known.bytes += len;
        Some(digest.to_string())
    }

    /// Writes and syncs what waits. Blocks on the disk; asking twice changes nothing.
    pub fn close(&self) {
        drop(lock(&self.orders).take());
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps what decisions were made of panicked");
        }
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own.
struct Desk {
    dir: PathBuf,
    folder: PathBuf,
    writer: String,
    bytes_max: u64,
    quota: Option<u64>,
    number: u32,
    file: Option<File>,
    known: Arc<Mutex<Known>>,
    waiting: Arc<AtomicU64>,
    is_failing: bool,
}

impl Desk {
    fn run(&mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            let blob = match order {
                Order::NextFile => {
                    self.end_file();
                    continue;
                }
                Order::Keep(blob) => blob,
            };
            let written = self.write(&blob);
            self.waiting.fetch_sub(len64(blob.len()) + 1 + PLACE_BYTES, Ordering::AcqRel);
            match written {
                Ok(()) => self.is_failing = false,
                Err(error) => {
                    // What was not written is not known: it is taken again when it comes again.
                    (*lock(&self.known), self.file) = (Known::default(), None);
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::error!(%error, folder = %self.folder.display(), "what decisions are made of is not kept for now: they cannot be derived again");
                    }
                }
            }
        }
        self.end_file();
    }

    fn write(&mut self, blob: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                room::make_room(&self.dir, self.bytes_max, self.quota)?;
                self.number += 1;
                let path = self.folder.join(format!("{}.{:06}.{EXTENSION}", self.writer, self.number));
                let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
                self.file.insert(file)
            }
        };
        let mut line = Vec::with_capacity(blob.len() + 1);
        line.extend_from_slice(blob);
        line.push(b'\n');
        file.write_all(&line)
    }

    fn end_file(&mut self) {
        if let Some(file) = self.file.take()
            && let Err(error) = file.sync_data()
        {
            tracing::warn!(%error, "what decisions were made of may not survive a loss of power");
        }
    }
}
