//! Pruning: first its record, then the stubs, then the segments. A stub that is in its place decides: what it stands for
//! goes, at the latest when the trail is opened again; without it nothing has gone.

use std::{collections::BTreeSet, fs, io, path::Path};

use serde_json::json;

use super::{
    Plan,
    stub::{file_name, is_unfinished, making_name},
};
use crate::{
    audit::{
        folder::Folder,
        recorded::AppendError,
        storage::{self, Storage},
        trail::Trail,
    },
    domain::{Record, RecordKind, Tier, Timestamp, record::PrincipalRecord},
};

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
    trail.append((), record(plan, by, at, "prune_begun"), Tier::Disk).await?;
    let origin = trail.origin();
    let (dir, storage) = (origin.config.dir.as_path(), origin.storage.as_ref());
    let key = trail.signing_key();
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

fn record(plan: &Plan, by: &str, at: Timestamp, event: &str) -> Record {
    let mut record = Record::new(RecordKind::Admin, at);
    record.principal = Some(PrincipalRecord { kind: "User".to_owned(), id: by.to_owned(), roles: Vec::new() });
    record.action = Some("audit:prune".to_owned());
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

/// Finishes a pruning that was cut off: segments that a stub stands for go, half a stub goes. Returns how many segments.
pub(in crate::audit) fn finish(dir: &Path, storage: &dyn Storage) -> io::Result<usize> {
    let folder = Folder::list(dir)?;
    let mut left = BTreeSet::new();
    for stub in folder.stubs.iter().map(|file| &file.stub) {
        let files = folder.writers.iter().filter(|files| files.writer == stub.writer);
        let gone = files.flat_map(|files| &files.segments).filter(|segment| segment.number <= stub.segment);
        left.extend(gone.map(|segment| segment.path.clone()));
    }
    let segments = left.len();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_unfinished) {
            left.insert(path);
        }
    }
    if left.is_empty() {
        return Ok(0);
    }
    // A stub whose name is not on disk yet must not go before its segments do.
    storage.sync_dir(dir)?;
    for path in &left {
        storage.unlink(path)?;
    }
    storage.sync_dir(dir)?;
    tracing::warn!(segments, "a pruning that was cut off is finished");
    Ok(segments)
}
