//! Pruning: first its record, then the stubs, then the segments. A stub that is in its place decides: what it stands for
//! goes, at the latest when the trail is opened again (`finish.rs`); without it nothing has gone.

use std::{io, path::Path};

use serde::Deserialize;
use serde_json::json;

use super::{
    Plan, Stub,
    stub::{file_name, making_name},
};
use crate::{
    audit::{
        keyring::EncryptionKeys,
        read::{Filter, ReadError, records},
        recorded::AppendError,
        storage,
        trail::Trail,
    },
    domain::{Record, RecordKind, Tier, Timestamp, record::PrincipalRecord},
};

const ACTION: &str = "audit:prune";
const BEGUN: &str = "prune_begun";

/// What was pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub segments: usize,
    pub records: u64,
    pub bytes: u64,
}

/// Why pruning stopped. What is in between is finished, or never happened, when the trail is opened again.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// An unsigned stub would be damage to whoever verifies with the key, and could not be finished either.
    #[error("`audit.key_file` is set and its key could not be loaded: nothing is pruned without a signed stub")]
    NoKey,
    #[error("the pruning could not be recorded")]
    Unrecorded(#[from] AppendError),
    #[error("a stub cannot be written")]
    Stub(#[source] serde_json::Error),
    #[error("the folder of the trail cannot be changed; the next start finishes what was begun")]
    Io(#[from] io::Error),
}

/// Prunes what a plan says, which was made of the folder of this trail, after it was opened.
///
/// # Errors
///
/// [`PruneError`].
pub async fn prune(trail: &Trail, plan: &Plan, by: &str, at: Timestamp) -> Result<Pruned, PruneError> {
    let pruned = Pruned { segments: plan.segments(), records: plan.records(), bytes: plan.bytes() };
    if plan.writers.is_empty() {
        return Ok(pruned);
    }
    let origin = trail.origin();
    let (dir, storage) = (origin.config.dir.as_path(), origin.storage.as_ref());
    let key = trail.signing_key();
    if origin.config.key_file.is_some() && key.is_none() {
        return Err(PruneError::NoKey);
    }
    trail.append((), record(plan, by, at, BEGUN), Tier::Disk).await?;
    for writer in &plan.writers {
        let text = writer.stub.encode(key.as_deref()).map_err(PruneError::Stub)?;
        let making = dir.join(making_name(writer.stub.writer));
        if making.exists() {
            storage.unlink(&making)?;
        }
        let file = storage.create(&making)?;
        storage::write_all(file.as_ref(), text.as_bytes(), 0)?;
        file.sync()?;
        storage.rename(&making, &dir.join(file_name(writer.stub.writer)))?;
    }
    // No segment goes before what stands for it is there to stay.
    storage.sync_dir(dir)?;
    for path in plan.writers.iter().flat_map(|writer| &writer.paths) {
        storage.unlink(path)?;
    }
    storage.sync_dir(dir)?;
    trail.append((), record(plan, by, at, "pruned"), Tier::Disk).await?;
    Ok(pruned)
}

pub(super) fn record(plan: &Plan, by: &str, at: Timestamp, event: &str) -> Record {
    let mut record = Record::new(RecordKind::Admin, at);
    record.principal = Some(PrincipalRecord { kind: "User".to_owned(), id: by.to_owned(), roles: Vec::new() });
    record.action = Some(ACTION.to_owned());
    record.crud = Some('D');
    let mut say = |key: &str, value| drop(record.detail.insert(key.to_owned(), value));
    say("event", json!(event));
    say("segments", json!(plan.segments()));
    say("records", json!(plan.records()));
    let of = |writer: &super::WriterPlan| {
        json!({
            "writer": writer.writer, "segment": writer.stub.segment, "seq": writer.stub.seq,
            "root": writer.stub.root.to_string(), "to": writer.to.to_string(),
        })
    };
    say("writers", plan.writers.iter().map(of).collect::<Vec<_>>().into());
    record
}

/// Up to where a pruning that was begun was to go, of one writer.
#[derive(Debug, Deserialize)]
pub(super) struct Begun {
    writer: String,
    segment: u32,
    seq: u64,
    root: String,
}

impl Begun {
    pub(super) fn names(&self, stub: &Stub) -> bool {
        (self.segment, self.seq) == (stub.segment, stub.seq)
            && self.writer == stub.writer.to_string()
            && self.root == stub.root.to_string()
    }
}

/// All prunings that the records of a folder say were begun.
pub(super) fn begun(dir: &Path, keys: EncryptionKeys) -> Result<Vec<Begun>, ReadError> {
    let mut found = Vec::new();
    let mark = memchr::memmem::Finder::new(BEGUN);
    for stored in records(dir, Filter { keys, ..Filter::default() })? {
        let stored = stored?;
        if mark.find(&stored.line).is_none() {
            continue;
        }
        let Ok(mut record) = serde_json::from_slice::<Record>(&stored.line) else { continue };
        let is_one = record.kind == RecordKind::Admin && record.action.as_deref() == Some(ACTION);
        if !is_one || record.detail.get("event").and_then(|event| event.as_str()) != Some(BEGUN) {
            continue;
        }
        let writers = record.detail.remove("writers").unwrap_or_default();
        found.extend(serde_json::from_value::<Vec<Begun>>(writers).unwrap_or_default());
    }
    Ok(found)
}
