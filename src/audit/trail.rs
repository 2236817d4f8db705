//! The trail as its users hold it: open, append, close.

use std::{
    error::Error as _,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use serde::Serialize;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::{
    config::{SEGMENT_BYTES, TrailConfig},
    decisions::{self, DecisionEntry, DecisionIndex, Recent},
    guard,
    key::SigningKey,
    keyring::EncryptionKeys,
    lock::{FolderLock, LockError},
    merkle::Hash,
    note::{Checkpoint, Signed},
    notices, outside,
    queue::{Pending, Queue, Refusal},
    read::{ReadError, Reader},
    recorded::{AppendError, CloseError, OpenError, Recorded},
    recover::{self, Found},
    retention::{self, Witness},
    segment::{BeginError, Origin},
    ship::{self, ShippingStatus, Sink},
    signing::{LastCheckpoint, Signing},
    state::{Life, Shared, State, Tip},
    storage::{Disk, Storage},
    volume::VolumeKind,
};
use crate::{
    clock::{Clock, new_id},
    domain::{Receipt, Record, RecordKind, Tier, record::FREE_TEXT_CHARS_MAX},
};

/// How a trail is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrailHealth {
    Ok,
    /// No room on disk: every answer waits for the store.
    Adrift,
    /// No room on disk, nor a store: answers are refused until there is some.
    Full,
    /// Sealed and left.
    Closed,
    /// Stopped for good.
    Fatal,
}

/// Where a trail stands.
#[derive(Clone, Debug, Serialize)]
pub struct TrailStatus {
    pub writer: String,
    pub last_seq: u64,
    pub synced_seq: u64,
    pub segment: u32,
    pub health: TrailHealth,
    /// Records written since the start.
    pub appended: u64,
    /// Records waiting to be written.
    pub queued: usize,
    /// Records refused since the start for want of room on disk.
    pub refused: u64,
    /// The last signed tree head of this writer that is on disk.
    pub last_checkpoint: Option<LastCheckpoint>,
    /// Why records go on without checkpoints, or without checkpoints elsewhere, though both were asked for.
    pub checkpoint_trouble: Option<String>,
    pub volume: VolumeKind,
    pub shipping: ShippingStatus,
}

/// The open trail of one folder.
#[derive(Debug)]
pub struct Trail {
    shared: Arc<Shared>,
    volume: VolumeKind,
    writer: Arc<str>,
    encryption: EncryptionKeys,
}

impl Trail {
    /// Whether a process may open the trail in `dir`; says so before it writes anything else.
    ///
    /// # Errors
    ///
    /// [`OpenError::Locked`] where another process holds the folder now.
    pub fn ensure_free(dir: &Path) -> Result<(), OpenError> {
        if dir.is_dir() { take_lock(dir).map(drop) } else { Ok(()) }
    }

    /// Takes the folder, recovers what is there, and begins a new writer.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// Another process holds the folder, the volume can vanish, the folder cannot be written, or `strict` and damage.
    pub fn open(config: TrailConfig, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_on(config, clock, Arc::new(Disk))
    }

    /// The same on any storage.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_on(config: TrailConfig, clock: Arc<dyn Clock>, storage: Arc<dyn Storage>) -> Result<Self, OpenError> {
        if !SEGMENT_BYTES.contains(&config.segment_bytes) {
            let (least, most) = SEGMENT_BYTES.into_inner();
            return Err(OpenError::SegmentBytes { bytes: config.segment_bytes, least, most });
        }
        // Before anything is touched: records that should be encrypted are never written in the clear.
        let encryption = encryption_keys(&config)?;
        let volume = prepare_folder(&config, storage.as_ref())?;
        let lock = take_lock(&config.dir)?;
        let (key, mut trouble) = signing_key(&config);
        trouble = trouble.or_else(|| prepare_checkpoints_dir(&config));
        let kept = |writer| kept_checkpoint(&config, key.as_deref(), writer);
        let witness = Witness { key: key.as_deref(), is_signed: config.key_file.is_some(), encryption: &encryption };
        let pruned = retention::finish(&config.dir, storage.as_ref(), &witness)
            .map_err(io_error("finish the pruning of", &config.dir))?;
        let found = recover::recover(&config.dir, storage.as_ref(), kept).map_err(io_error("recover", &config.dir))?;
        refuse_damage(&config, found.as_ref())?;

        let queue = Queue::new(config.queue_records_max, config.queue_bytes_max);
        let started = notices::started(clock.now(), &config.version, volume, !config.ships_elsewhere, found.as_ref());
        let finished = (pruned.segments > 0).then(|| notices::pruning_finished(clock.now(), &pruned));
        let first = std::iter::once(&started).chain(&finished).map(notices::pending).collect::<Result<_, _>>();
        queue.push_front(first.map_err(|error| OpenError::Header(error.to_string()))?);
        let writer = new_id(clock.as_ref());
        let unsigned = found.as_ref().and_then(|found| found.unsigned_head().map(|head| (found.prev.writer, head)));
        let inherited = key.as_ref().zip(unsigned).map(|(key, (writer, (size, root)))| {
            // No clock goes into it: whoever signs it, and whenever, the note is the same.
            key.head(writer, size, &root, clock.now())
        });
        let mut signing = Signing::begin(key, inherited, clock.elapsed(), config.checkpoint_after);
        signing.trouble = trouble;
        let prev = found.map(|found| found.prev);
        let data_key = encryption.begin(writer).map_err(OpenError::EncryptionKeys)?;
        let origin = Origin { writer, prev, data_key, clock: Arc::clone(&clock), storage, config };
        let mut state = begin_first_segment(&origin, signing)?;
        state.shipping.is_on = origin.config.ships;
        let shared = Arc::new(Shared {
            origin,
            clock,
            queue,
            state: Mutex::new(state),
            bell: Condvar::new(),
            life: watch::Sender::new(Life::Running),
            unshipped: watch::Sender::new(None),
            decisions: Mutex::new(DecisionIndex::default()),
            lock: Mutex::new(Some(lock)),
        });
        guard::start(&shared).map_err(io_error("start the threads for", shared.dir()))?;
        Ok(Self { shared, volume, writer: writer.to_string().into(), encryption })
    }

    /// Appends `record` and returns `value` once its record is as durable as `tier` asks.
    ///
    /// Dropping the future loses nothing: a record that is queued is written, whoever still waits.
    ///
    /// # Errors
    ///
    /// [`AppendError::Full`] when queue, disk or quota have no room: the caller answers 503. [`AppendError::Fatal`]
    /// when the trail stopped for good; whether the record stands is then unknown. For `remote`
    /// [`AppendError::NoRemote`] where nothing is shipped, and [`AppendError::StoreAway`] while the store does not answer:
    /// the record may stand in the folder then, but its answer must not leave.
    pub async fn append<T>(&self, value: T, mut record: Record, tier: Tier) -> Result<Recorded<T>, AppendError> {
        let tier = self.raised(tier)?;
        cap_free_text(&mut record);
        let rest = notices::rest(&record).map_err(AppendError::Encode)?;
        let bytes_max = super::bytes::index(self.shared.origin.config.frame_bytes_max()).saturating_sub(256);
        if rest.len() > bytes_max {
            return Err(AppendError::TooLarge { bytes: rest.len(), bytes_max });
        }
        let decision = match record.kind {
            RecordKind::Decision => record.decision_id.map(|id| (id, record.caller.unwrap_or_default())),
            RecordKind::Outcome
            | RecordKind::Grant
            | RecordKind::Review
            | RecordKind::Admin
            | RecordKind::Policy
            | RecordKind::System => None,
        };
        let (answer, heard) = oneshot::channel();
        let pending = Pending { rest, tier, answer: Some(answer), decision };
        self.shared.queue.push(pending, || self.shared.clock.now()).map_err(AppendError::from)?;
        // A writer that vanished without an answer is no proof of a record.
        let (seq, durability) = heard.await.unwrap_or(Err(Refusal::Fatal)).map_err(AppendError::from)?;
        Ok(Recorded::new(value, Receipt { writer: self.writer.to_string(), seq, durability }))
    }

    /// The tier that keeps what `tier` promises: on a volume that can vanish, `disk` promises nothing.
    fn raised(&self, tier: Tier) -> Result<Tier, AppendError> {
        let config = &self.shared.origin.config;
        let is_raised = self.volume.is_ephemeral() && config.ships_elsewhere;
        let tier = if is_raised && tier == Tier::Disk { Tier::Remote } else { tier };
        if tier == Tier::Remote {
            if !config.ships {
                return Err(AppendError::NoRemote);
            }
            if self.shared.state().shipping.is_away() {
                return Err(AppendError::StoreAway);
            }
        }
        Ok(tier)
    }

    /// Begins to ship, on a thread of its own; `open` is called there. Once for each trail, and only where
    /// [`TrailConfig::ships`] is set.
    ///
    /// # Errors
    ///
    /// No thread could be started.
    pub fn ship(&self, open: impl FnOnce() -> Box<dyn Sink> + Send + 'static) -> std::io::Result<()> {
        ship::start(&self.shared, open)
    }

    /// The keys that open what this trail and those before it encrypted.
    pub fn encryption_keys(&self) -> EncryptionKeys {
        self.encryption.clone()
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.shared.origin
    }

    pub(super) fn signing_key(&self) -> Option<Arc<SigningKey>> {
        self.shared.state().signing.key.clone()
    }

    /// For tests of what no caller sees.
    #[cfg(test)]
    pub(super) fn shared_for_test<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.shared.state())
    }

    /// Where the trail stands now.
    pub fn status(&self) -> TrailStatus {
        let (queued, refused, full) = self.shared.queue.counts();
        let state = self.shared.state();
        let health = match state.life {
            Life::Running if full => TrailHealth::Full,
            Life::Running if state.is_adrift => TrailHealth::Adrift,
            Life::Running => TrailHealth::Ok,
            Life::Closed => TrailHealth::Closed,
            Life::Fatal(_) => TrailHealth::Fatal,
        };
        TrailStatus {
            writer: self.writer.to_string(),
            last_seq: state.tip.seq,
            synced_seq: state.synced_seq,
            segment: state.segment.number,
            health,
            appended: state.tip.seq,
            queued,
            refused,
            last_checkpoint: state.signing.last,
            checkpoint_trouble: state.signing.trouble.clone(),
            volume: self.volume,
            shipping: state.shipping.status(state.synced_seq),
        }
    }

    /// Who asked for a recorded decision: from memory for the recent ones, else by reading the folder, which blocks.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn decision(&self, decision_id: &str) -> Result<Option<DecisionEntry>, ReadError> {
        let recent = self.shared.decisions.lock().unwrap_or_else(PoisonError::into_inner).find(decision_id);
        if let Some(Recent { seq, caller }) = recent {
            let writer = self.shared.origin.writer.to_string();
            return Ok(Some(DecisionEntry { writer, seq, caller: caller.to_string() }));
        }
        let mut reader = Reader::open(self.shared.dir(), self.encryption.clone())?;
        while let Some(stored) = reader.next_record()? {
            if let Some(entry) = decisions::in_line(&stored.writer, &stored.line, decision_id) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Writes and syncs what is queued, seals the trail and lets the folder go. Asking twice changes nothing.
    ///
    /// # Errors
    ///
    /// The trail stopped for good before, or the store did not take all of it.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.shared.queue.close();
        let mut life = self.shared.life.subscribe();
        let end = life.wait_for(|life| *life != Life::Running).await.map(|life| life.clone());
        match end {
            Ok(Life::Fatal(why)) => Err(CloseError::Fatal(why)),
            // The sender lives in `shared`, so the channel cannot close under us.
            Ok(Life::Closed | Life::Running) | Err(_) => self.shipped().await,
        }
    }

    /// Waits until the shipper left, which has little time for what is not shipped yet.
    async fn shipped(&self) -> Result<(), CloseError> {
        if !self.shared.state().shipping.has_started {
            return Ok(());
        }
        let mut left = self.shared.unshipped.subscribe();
        let unshipped = left.wait_for(Option::is_some).await.map(|unshipped| unshipped.unwrap_or_default());
        match unshipped {
            Ok(0) | Err(_) => Ok(()),
            Ok(records) => Err(CloseError::Unshipped { records }),
        }
    }

    /// Resolves with the cause when the trail stopped for good: the process should end. Never resolves otherwise.
    pub fn fatal(&self) -> impl Future<Output = String> + Send + 'static {
        let mut life = self.shared.life.subscribe();
        async move {
            let end = life.wait_for(|life| matches!(life, Life::Fatal(_))).await.map(|life| life.clone());
            match end {
                Ok(Life::Fatal(why)) => why,
                Ok(Life::Running | Life::Closed) | Err(_) => std::future::pending().await,
            }
        }
    }
}

impl Drop for Trail {
    /// Lets the threads seal the trail and end, without waiting for them.
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl From<Refusal> for AppendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::Full,
            Refusal::Away => Self::StoreAway,
            Refusal::Fatal => Self::Fatal,
            Refusal::Closed => Self::Closed,
        }
    }
}

/// Whoever builds a record caps its free text; here it is made sure of.
fn cap_free_text(record: &mut Record) {
    if let Some(text) = &mut record.access_reason
        && let Some((at, _)) = text.char_indices().nth(FREE_TEXT_CHARS_MAX)
    {
        text.truncate(at);
    }
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { action, path: path.to_owned(), source }
}

fn prepare_folder(config: &TrailConfig, storage: &dyn Storage) -> Result<VolumeKind, OpenError> {
    if !config.dir.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(&config.dir).map_err(io_error("create", &config.dir))?;
        if let Some(parent) = config.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            storage.sync_dir(parent).map_err(io_error("sync", parent))?;
        }
    }
    let volume = VolumeKind::of(&config.dir).map_err(io_error("look at the volume of", &config.dir))?;
    if volume.is_ephemeral() && !config.accept_ephemeral && !config.ships_elsewhere {
        return Err(OpenError::Ephemeral { dir: config.dir.clone(), kind: volume.as_str() });
    }
    Ok(volume)
}

fn take_lock(dir: &Path) -> Result<FolderLock, OpenError> {
    FolderLock::take(dir).map_err(|error| match error {
        LockError::Taken(pid) => OpenError::Locked { dir: dir.to_owned(), pid },
        LockError::Io(source) => OpenError::Io { action: "lock", path: dir.join(super::lock::LOCK_NAME), source },
    })
}

/// The key, and why there is none where one is configured: records then go on unsigned, since an answer without a
/// record is worse than a record without a signature.
fn signing_key(config: &TrailConfig) -> (Option<Arc<SigningKey>>, Option<String>) {
    let Some(path) = &config.key_file else { return (None, None) };
    match SigningKey::read(path) {
        Ok(key) => (Some(Arc::new(key)), None),
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            let why = format!("records are not signed: {error}{cause}");
            tracing::error!(why, "the trail goes on without checkpoints");
            (None, Some(why))
        }
    }
}

/// Unlike a missing signature, a record in the clear cannot be made good: without its keys the trail does not open.
fn encryption_keys(config: &TrailConfig) -> Result<EncryptionKeys, OpenError> {
    match &config.encryption_key_file {
        Some(path) => EncryptionKeys::read(path).map_err(OpenError::EncryptionKeys),
        None => Ok(EncryptionKeys::default()),
    }
}

fn prepare_checkpoints_dir(config: &TrailConfig) -> Option<String> {
    let dir = config.checkpoints_dir.as_ref()?;
    let error = DirBuilder::new().recursive(true).mode(0o755).create(dir).err()?;
    tracing::error!(dir = %dir.display(), %error, "the folder for checkpoints cannot be made");
    Some(format!("checkpoints cannot be kept in `audit.checkpoints_dir`: {error}"))
}

/// The last checkpoint of a writer that was kept outside, if this key signed it.
fn kept_checkpoint(config: &TrailConfig, key: Option<&SigningKey>, writer: Uuid) -> Option<Checkpoint> {
    let (dir, key) = (config.checkpoints_dir.as_ref()?, key?);
    match outside::last(dir, writer) {
        Ok(kept) => kept.filter(|kept| kept.writer == writer && kept.judged_by(&[key.verifier()]) == Signed::Valid),
        Err(error) => {
            tracing::error!(dir = %dir.display(), %error, "the checkpoints that were kept cannot be read");
            None
        }
    }
}

fn refuse_damage(config: &TrailConfig, found: Option<&Found>) -> Result<(), OpenError> {
    let Some(found) = found.filter(|found| found.prev.damaged) else { return Ok(()) };
    let prev = &found.prev;
    if found.contradicted {
        tracing::error!(writer = %prev.writer, "a checkpoint says otherwise than the records: they were changed or cut off");
    }
    tracing::error!(
        writer = %prev.writer, segment = prev.segment, after_seq = prev.seq,
        "the trail is damaged where it had been on disk: run `chaperone audit verify`"
    );
    if !config.strict {
        return Ok(());
    }
    Err(OpenError::Damaged {
        dir: config.dir.clone(),
        writer: prev.writer.to_string(),
        segment: prev.segment,
        seq: prev.seq,
    })
}

fn begin_first_segment(origin: &Origin, signing: Signing) -> Result<State, OpenError> {
    let dir = &origin.config.dir;
    let segment = origin.create(1).map_err(io_error("create a segment in", dir))?;
    let encoded = origin.begin(&segment, &Tip::at_birth(Hash([0; 32]))).map_err(|error| match error {
        BeginError::Header(error) => OpenError::Header(error.to_string()),
        BeginError::Io(source) => OpenError::Io { action: "write to", path: segment.path.clone(), source },
    })?;
    Ok(State::at_birth(segment, Hash::of(&[&encoded]), signing))
}
