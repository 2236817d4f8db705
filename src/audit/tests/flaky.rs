//! A disk that fails when told to, remembers all it was asked, and can say what a power loss would leave.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::audit::{Disk, Storage, StorageFile};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An input/output error.
    Io,
    /// No space is left.
    Full,
    /// Half of the bytes are written, then an error.
    Short,
    /// It does not return until the test ends.
    Hang,
}

/// What a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Create,
    Unlink,
    Rename,
    SyncDir,
    Pwrite,
    Allocate,
    Sync,
    Punch,
}

/// What happened, in order.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Create(PathBuf),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
    /// Names up to this event are durable.
    SyncDir(usize),
    Pwrite(PathBuf, u64, Vec<u8>),
    Allocate(PathBuf, u64),
    /// What was written to the file before this event is durable.
    Sync(PathBuf, usize),
    /// What was written to the file before this event may be lost for good, whatever later syncs say.
    SyncFailed(PathBuf, usize),
    /// A caller got its receipt.
    Acknowledged {
        seq: u64,
        writer: String,
        disk: bool,
    },
}

type Plan = Box<dyn Fn(usize, Call) -> Option<Fault> + Send + Sync>;

pub(super) struct FlakyDisk {
    plan: Plan,
    calls: AtomicUsize,
    struck: AtomicUsize,
    events: Mutex<Vec<Event>>,
    hang: (Mutex<bool>, Condvar),
}

impl std::fmt::Debug for FlakyDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlakyDisk")
    }
}

/// The handle that the trail gets.
#[derive(Clone, Debug)]
pub(super) struct Handle(pub(super) Arc<FlakyDisk>);

impl FlakyDisk {
    /// `plan` gets the number of the call, from 1, and what it is.
    pub(super) fn new(plan: impl Fn(usize, Call) -> Option<Fault> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            plan: Box::new(plan),
            calls: AtomicUsize::new(0),
            struck: AtomicUsize::new(0),
            events: Mutex::new(Vec::new()),
            hang: (Mutex::new(true), Condvar::new()),
        })
    }

    pub(super) fn storage(self: &Arc<Self>) -> Arc<dyn Storage> {
        Arc::new(Handle(Arc::clone(self)))
    }

    pub(super) fn struck(&self) -> usize {
        self.struck.load(Ordering::SeqCst)
    }

    pub(super) fn note(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    fn now(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// Lets hanging calls go.
    pub(super) fn release(&self) {
        *self.hang.0.lock().unwrap() = false;
        self.hang.1.notify_all();
    }

    fn strike(&self, call: Call) -> Option<Fault> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = (self.plan)(number, call)?;
        self.struck.fetch_add(1, Ordering::SeqCst);
        if fault == Fault::Hang {
            let mut held = self.hang.0.lock().unwrap();
            while *held {
                held = self.hang.1.wait(held).unwrap();
            }
        }
        Some(fault)
    }

    fn fail(&self, call: Call) -> io::Result<()> {
        match self.strike(call) {
            None => Ok(()),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Io | Fault::Short | Fault::Hang) => Err(io::Error::other("input/output error")),
        }
    }
}

impl Storage for Handle {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.0.fail(Call::Create)?;
        let file = Disk.create(path)?;
        self.0.note(Event::Create(path.to_owned()));
        Ok(Arc::new(FlakyFile { disk: Arc::clone(&self.0), path: path.to_owned(), file }))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.0.fail(Call::Unlink)?;
        Disk.unlink(path)?;
        self.0.note(Event::Unlink(path.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.fail(Call::Rename)?;
        Disk.rename(from, to)?;
        self.0.note(Event::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let upto = self.0.now();
        self.0.fail(Call::SyncDir)?;
        self.0.note(Event::SyncDir(upto));
        Ok(())
    }
}

#[derive(Debug)]
struct FlakyFile {
    disk: Arc<FlakyDisk>,
    path: PathBuf,
    file: Arc<dyn StorageFile>,
}

impl FlakyFile {
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        // Noted first: a write that fails half-way may have reached the disk all the same.
        self.disk.note(Event::Pwrite(self.path.clone(), offset, bytes.to_vec()));
        self.file.pwrite(bytes, offset)
    }
}

impl StorageFile for FlakyFile {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match self.disk.strike(Call::Pwrite) {
            None => self.write(bytes, offset),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Io) => Err(io::Error::other("input/output error")),
            Some(Fault::Short) => {
                self.write(&bytes[..bytes.len() / 2], offset)?;
                Err(io::Error::other("input/output error"))
            }
            // It goes through in the end, long after another thread took over.
            Some(Fault::Hang) => self.write(bytes, offset),
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.fail(Call::Allocate)?;
        self.file.allocate(len)?;
        self.disk.note(Event::Allocate(self.path.clone(), len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let upto = self.disk.now();
        if let Err(error) = self.disk.fail(Call::Sync) {
            self.disk.note(Event::SyncFailed(self.path.clone(), upto));
            return Err(error);
        }
        self.disk.note(Event::Sync(self.path.clone(), upto));
        Ok(())
    }

    fn punch(&self, offset: u64, end: u64) -> io::Result<()> {
        self.disk.fail(Call::Punch)?;
        self.file.punch(offset, end)
    }
}

/// A small generator of choices, by seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn is_head(&mut self) -> bool {
        self.roll().is_multiple_of(2)
    }
}

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// The process alone: all that the kernel has stays.
    Process,
    /// The machine: of what was not synced any part may be missing, page by page.
    Power,
    /// The machine: nothing is there that was not synced.
    AllLost,
    /// The machine: all is there but the oldest of what was not synced.
    OldestLost,
    /// The machine: nothing is there of it but the newest.
    NewestAlone,
    /// The machine: all is there, the last write in part, cut at any byte.
    Torn,
}

#[derive(Default)]
struct FileImage {
    bytes: Vec<u8>,
    exists: bool,
}

/// What a crash after these events leaves, as a folder.
pub(super) fn image(events: &[Event], crash: Crash, dice: &mut Dice) -> tempfile::TempDir {
    image_on(None, events, crash, dice)
}

/// The same where a folder was there before the first event, all of it on disk.
pub(super) fn image_on(base: Option<&Path>, events: &[Event], crash: Crash, dice: &mut Dice) -> tempfile::TempDir {
    let mut files: BTreeMap<PathBuf, FileImage> = BTreeMap::new();
    for entry in base.into_iter().flat_map(|base| std::fs::read_dir(base).unwrap()) {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        files.insert(path, FileImage { bytes, exists: true });
    }
    let open: Vec<usize> = (0..events.len()).filter(|at| !is_durable(events, *at)).collect();
    let last_write = open.iter().rfind(|at| matches!(events[**at], Event::Pwrite(..))).copied();
    for (at, event) in events.iter().enumerate() {
        let is_kept = |durable: bool, dice: &mut Dice| {
            durable
                || match crash {
                    Crash::Process | Crash::Torn => true,
                    Crash::Power => dice.is_head(),
                    Crash::AllLost => false,
                    Crash::OldestLost => open.first() != Some(&at),
                    Crash::NewestAlone => open.last() == Some(&at),
                }
        };
        match event {
            Event::Create(path) => {
                let kept = is_kept(names_synced(events, at), dice);
                files.entry(path.clone()).or_default().exists = kept;
            }
            Event::Unlink(path) => {
                if is_kept(names_synced(events, at), dice) {
                    files.entry(path.clone()).or_default().exists = false;
                }
            }
            Event::Rename(from, to) => {
                if is_kept(names_synced(events, at), dice) {
                    let bytes = std::mem::take(files.entry(from.clone()).or_default()).bytes;
                    files.insert(to.clone(), FileImage { bytes, exists: true });
                }
            }
            Event::Allocate(path, len) => {
                if is_kept(synced(events, at, path), dice) {
                    let bytes = &mut files.entry(path.clone()).or_default().bytes;
                    let len = usize::try_from(*len).unwrap().max(bytes.len());
                    bytes.resize(len, 0);
                }
            }
            Event::Pwrite(path, offset, written) if crash == Crash::Torn && last_write == Some(at) => {
                let cut = usize::try_from(dice.roll()).unwrap() % written.len();
                write_pages(&mut files.entry(path.clone()).or_default().bytes, *offset, &written[..cut], || true);
            }
            Event::Pwrite(path, offset, written) => {
                let durable = synced(events, at, path);
                write_pages(&mut files.entry(path.clone()).or_default().bytes, *offset, written, || {
                    is_kept(durable, dice)
                });
            }
            Event::SyncDir(_) | Event::Sync(..) | Event::SyncFailed(..) | Event::Acknowledged { .. } => {}
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for (path, file) in files.iter().filter(|(_, file)| file.exists) {
        std::fs::write(dir.path().join(path.file_name().unwrap()), &file.bytes).unwrap();
    }
    dir
}

fn is_durable(events: &[Event], at: usize) -> bool {
    match &events[at] {
        Event::Create(_) | Event::Unlink(_) | Event::Rename(..) => names_synced(events, at),
        Event::Allocate(path, _) | Event::Pwrite(path, ..) => synced(events, at, path),
        Event::SyncDir(_) | Event::Sync(..) | Event::SyncFailed(..) | Event::Acknowledged { .. } => true,
    }
}

fn names_synced(events: &[Event], at: usize) -> bool {
    events[at..].iter().any(|event| matches!(event, Event::SyncDir(upto) if *upto > at))
}

/// Whether the first sync of the file that covers the event succeeded. After a failed one no later one counts.
fn synced(events: &[Event], at: usize, path: &Path) -> bool {
    events[at..]
        .iter()
        .find_map(|event| match event {
            Event::Sync(of, upto) if of == path && *upto > at => Some(true),
            Event::SyncFailed(of, upto) if of == path && *upto > at => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

fn write_pages(bytes: &mut Vec<u8>, offset: u64, written: &[u8], mut is_kept: impl FnMut() -> bool) {
    let (mut at, mut rest) = (usize::try_from(offset).unwrap(), written);
    while !rest.is_empty() {
        let (page, after) = rest.split_at(rest.len().min(512 - at % 512));
        if is_kept() {
            let end = at + page.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(page);
        }
        (at, rest) = (at + page.len(), after);
    }
}
