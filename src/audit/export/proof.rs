//! What ties exported lines to signed tree heads: for each writer one checkpoint, and the few nodes of its tree that the
//! lines themselves do not give.
//!
//! It proves that every line stands in the trail, at its place and unchanged. That no other line belonged into the file
//! it cannot prove: whoever asks that asks the trail again.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::super::{
    bytes::len64,
    folder::Folder,
    header::id,
    merkle::{self, Hash},
    note::{Checkpoint, NoteError, Signed, VerifierKey},
    prove::{ProveError, Seen, Tree, at, elsewhere, perfect, split},
};
use crate::{audit::query::Found, domain::record::RECORD_VERSION};

/// The records of a file in its order, as stretches of one writer's consecutive numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Runs(Vec<Run>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    #[serde(with = "id")]
    writer: Uuid,
    first: u64,
    last: u64,
}

/// One writer's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WriterProof {
    #[serde(with = "id")]
    writer: Uuid,
    /// The signed note; `null` if nothing of this writer is signed.
    checkpoint: Option<String>,
    /// Subtrees without a line of the file: from (counted from 0), up to, and the hash.
    nodes: Vec<(u64, u64, String)>,
}

/// The proof of a file of stored lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportProof {
    schema_version: u32,
    records: u64,
    /// Of the whole file, in hex.
    sha256: String,
    runs: Runs,
    writers: Vec<WriterProof>,
}

/// Why a proof does not prove its file.
#[derive(Debug, thiserror::Error)]
pub enum ExportProofError {
    #[error("it is no proof of an export")]
    Form(#[source] serde_json::Error),
    #[error("the file is not the one that was exported: its digest is another")]
    Digest,
    #[error("line {0} is not the record that the proof names")]
    Line(u64),
    #[error("the proof is of {said} records, the file has {found}")]
    Count { said: u64, found: u64 },
    #[error("a checkpoint of it cannot be read")]
    Checkpoint(#[source] NoteError),
    #[error("the checkpoint of writer {writer} is signed by {signers}, which is none of the given keys")]
    UnknownKey { writer: Uuid, signers: String },
    #[error("the signature of the checkpoint of writer {0} is false")]
    Signature(Uuid),
    #[error("the lines of writer {0} are not those of its checkpoint")]
    NotIncluded(Uuid),
}

/// What a proof proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    pub records: u64,
    /// Lines that were written after the last checkpoint, or by a writer that signed nothing.
    pub unsigned: u64,
}

impl Runs {
    pub fn push(&mut self, found: &Found) {
        let writer = found.place().writer;
        match self.0.last_mut() {
            Some(run) if run.writer == writer && run.last.checked_add(1) == Some(found.seq) => run.last = found.seq,
            Some(_) | None => self.0.push(Run { writer, first: found.seq, last: found.seq }),
        }
    }

    fn seqs(&self) -> BTreeMap<Uuid, Vec<u64>> {
        let mut seqs: BTreeMap<Uuid, Vec<u64>> = BTreeMap::new();
        for run in &self.0 {
            seqs.entry(run.writer).or_default().extend(run.first..=run.last);
        }
        seqs.values_mut().for_each(|seqs| seqs.sort_unstable());
        seqs
    }

    fn places(&self) -> impl Iterator<Item = (Uuid, u64)> {
        self.0.iter().flat_map(|run| (run.first..=run.last).map(|seq| (run.writer, seq)))
    }
}

impl ExportProof {
    /// Makes the proof of a file with these records. `checkpoints` is a folder of those that were kept outside.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or what is there does not fit together.
    pub fn make(dir: &Path, runs: Runs, sha256: String, checkpoints: Option<&Path>) -> Result<Self, ProveError> {
        let folder = Folder::list(dir).map_err(at(dir))?;
        let seqs = runs.seqs();
        let records = seqs.values().map(|seqs| len64(seqs.len())).sum();
        let writers = seqs.iter().map(|(writer, seqs)| of_writer(&folder, *writer, seqs, checkpoints));
        Ok(Self { schema_version: 1, records, sha256, runs, writers: writers.collect::<Result<_, _>>()? })
    }

    /// # Errors
    ///
    /// The text is no proof of an export.
    pub fn parse(text: &[u8]) -> Result<Self, ExportProofError> {
        serde_json::from_slice(text).map_err(ExportProofError::Form)
    }

    /// Whether each line of `file` stands where the proof says, under a checkpoint that one of the keys signed.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn verify(&self, file: &[u8], keys: &[VerifierKey]) -> Result<Proved, ExportProofError> {
        if sha256_hex(file) != self.sha256 {
            return Err(ExportProofError::Digest);
        }
        let lines: Vec<&[u8]> =
            file.strip_suffix(b"\n").map(|file| file.split(|byte| *byte == b'\n').collect()).unwrap_or_default();
        if len64(lines.len()) != self.records || self.runs.places().take(lines.len() + 1).count() != lines.len() {
            return Err(ExportProofError::Count { said: self.records, found: len64(lines.len()) });
        }
        let mut leaves: BTreeMap<Uuid, BTreeMap<u64, Hash>> = BTreeMap::new();
        for (nth, ((writer, seq), line)) in self.runs.places().zip(&lines).enumerate() {
            let start = format!("{{\"v\":{RECORD_VERSION},\"seq\":{seq},");
            let is_new = leaves.entry(writer).or_default().insert(seq, merkle::leaf(line)).is_none();
            if !line.starts_with(start.as_bytes()) || !is_new {
                return Err(ExportProofError::Line(len64(nth + 1)));
            }
        }
        let mut unsigned = 0;
        for (writer, leaves) in &leaves {
            unsigned += self.verify_writer(*writer, leaves, keys)?;
        }
        Ok(Proved { records: self.records, unsigned })
    }

    /// How many of the writer's lines no signature covers.
    fn verify_writer(
        &self,
        writer: Uuid,
        leaves: &BTreeMap<u64, Hash>,
        keys: &[VerifierKey],
    ) -> Result<u64, ExportProofError> {
        let proof = self.writers.iter().find(|proof| proof.writer == writer);
        let Some((proof, note)) = proof.and_then(|proof| Some((proof, proof.checkpoint.as_ref()?))) else {
            return Ok(len64(leaves.len()));
        };
        let checkpoint = Checkpoint::parse(note.as_bytes()).map_err(ExportProofError::Checkpoint)?;
        match checkpoint.judged_by(keys) {
            Signed::Valid => {}
            Signed::Unknown => {
                return Err(ExportProofError::UnknownKey { writer, signers: checkpoint.signers() });
            }
            Signed::Bad => return Err(ExportProofError::Signature(writer)),
        }
        let mut folding = Folding { leaves, nodes: proof.nodes.iter() };
        let root = folding.root(0, checkpoint.size);
        if checkpoint.writer != writer || root != Some(checkpoint.root) || folding.nodes.next().is_some() {
            return Err(ExportProofError::NotIncluded(writer));
        }
        Ok(len64(leaves.range(checkpoint.size.saturating_add(1)..).count()))
    }
}

/// The digest of a file as the proof names it.
pub fn sha256_hex(file: &[u8]) -> String {
    hex(&Sha256::digest(file))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_writer(
    folder: &Folder,
    writer: Uuid,
    seqs: &[u64],
    checkpoints: Option<&Path>,
) -> Result<WriterProof, ProveError> {
    let no_writer = || ProveError::NoWriter(writer.to_string());
    let files = folder.writers.iter().find(|files| files.writer == writer).ok_or_else(no_writer)?;
    let seq = seqs.last().copied().unwrap_or(0);
    let mut seen = Seen::nothing(writer, seq);
    for segment in &files.segments {
        seen.segment(&fs::read(&segment.path).map_err(at(&segment.path))?)?;
        if seen.checkpoint.is_some() {
            break;
        }
    }
    let last = seen.pruned + len64(seen.leaves.len());
    let covering = match seen.checkpoint.take() {
        Some(checkpoint) => Some(checkpoint),
        None => elsewhere(folder, writer, seq, last, checkpoints)?.or(seen.latest.take()),
    };
    let Some(checkpoint) = covering else { return Ok(WriterProof { writer, checkpoint: None, nodes: Vec::new() }) };
    let tree = Tree { pruned: seen.pruned, nodes: perfect(seen.pruned, &seen.frontier), leaves: &seen.leaves };
    let broken = || ProveError::Broken { writer, seq: last };
    if tree.root(0, checkpoint.size).ok_or_else(broken)? != checkpoint.root {
        return Err(ProveError::Contradicted { writer, size: checkpoint.size });
    }
    let mut nodes = Vec::new();
    rest(&tree, seqs, 0, checkpoint.size, &mut nodes).ok_or_else(broken)?;
    Ok(WriterProof { writer, checkpoint: Some(checkpoint.note), nodes })
}

/// The largest subtrees without any of `seqs`, from left to right.
fn rest(tree: &Tree<'_>, seqs: &[u64], from: u64, to: u64, nodes: &mut Vec<(u64, u64, String)>) -> Option<()> {
    let first = seqs.partition_point(|seq| *seq <= from);
    let has_any = seqs.get(first).is_some_and(|seq| *seq <= to);
    if from >= to || has_any && to - from == 1 {
        return Some(());
    }
    if !has_any {
        nodes.push((from, to, BASE64_STANDARD.encode(tree.root(from, to)?.0)));
        return Some(());
    }
    let middle = from + split(to - from);
    rest(tree, seqs, from, middle, nodes)?;
    rest(tree, seqs, middle, to, nodes)
}

/// The same walk the other way: from lines and nodes to the root.
struct Folding<'a, N> {
    leaves: &'a BTreeMap<u64, Hash>,
    nodes: N,
}

impl<'a, N: Iterator<Item = &'a (u64, u64, String)>> Folding<'a, N> {
    fn root(&mut self, from: u64, to: u64) -> Option<Hash> {
        if from >= to {
            return None;
        }
        if self.leaves.range(from + 1..=to).next().is_none() {
            let (first, end, hash) = self.nodes.next()?;
            let hash: [u8; 32] = BASE64_STANDARD.decode(hash).ok()?.try_into().ok()?;
            return ((*first, *end) == (from, to)).then_some(Hash(hash));
        }
        if to - from == 1 {
            return self.leaves.get(&to).copied();
        }
        let middle = from + split(to - from);
        let (left, right) = (self.root(from, middle)?, self.root(middle, to)?);
        Some(merkle::node(&left, &right))
    }
}
