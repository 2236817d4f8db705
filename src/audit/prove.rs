//! One record, and what ties it to a signed tree head: a file that needs neither the folder nor its other records.
//!
//! The form is [c2sp.org/tlog-proof](https://c2sp.org/tlog-proof), with the record's stored line as its extra data.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use uuid::Uuid;

use super::{
    bytes::{index, len64},
    cipher::{self, CipherError, DataKey},
    folder::{Folder, WriterFiles},
    frame::{Frame, Kind},
    header::{HEADER_BYTES, Header},
    keyring::{EncryptionKeys, SealedError},
    merkle::{self, Frontier, Hash},
    note::{self, Checkpoint, NoteError, Signed, VerifierKey},
    outside,
    walk::Position,
};
use crate::domain::record::RECORD_VERSION;

const MARK: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^64 records is no deeper.
const PATH_MAX: usize = 64;

/// Why a record could not be proved.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error("cannot read `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no writer `{0}` is in this folder")]
    NoWriter(String),
    #[error("writer {writer} has no record {seq}: its last is {last}")]
    NoRecord { writer: Uuid, seq: u64, last: u64 },
    #[error("record {seq} of writer {writer} is no longer here: its segment was removed")]
    Pruned { writer: Uuid, seq: u64 },
    #[error("the segments of writer {writer} break off after record {seq}")]
    Broken { writer: Uuid, seq: u64 },
    #[error("no checkpoint covers record {seq} of writer {writer}")]
    NoCheckpoint { writer: Uuid, seq: u64 },
    #[error("the checkpoint over {size} records of writer {writer} is not of these records")]
    Contradicted { writer: Uuid, size: u64 },
    #[error(transparent)]
    Sealed(#[from] SealedError),
    #[error("record {seq} of writer {writer} is damaged: what is stored does not open with its key")]
    Changed { writer: Uuid, seq: u64 },
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("it is no proof: {0}")]
    Form(&'static str),
    #[error("its checkpoint cannot be read")]
    Checkpoint(#[source] NoteError),
    #[error("its checkpoint is signed by {0}, which is none of the given keys")]
    UnknownKey(String),
    #[error("the signature of its checkpoint is false")]
    Signature,
    #[error("the record is not among those of its checkpoint")]
    NotIncluded,
}

/// A record with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    line: Vec<u8>,
    index: u64,
    path: Vec<Hash>,
    checkpoint: Checkpoint,
}

/// Takes a record out of a folder together with its proof. `checkpoints` is a folder of checkpoints that were kept
/// outside, for a record that none in the trail covers; `keys` open a record that is encrypted.
///
/// # Errors
///
/// The record is not there, no checkpoint covers it, or what is there does not fit together.
pub fn prove(
    dir: &Path,
    writer: &str,
    seq: u64,
    checkpoints: Option<&Path>,
    keys: &EncryptionKeys,
) -> Result<Proof, ProveError> {
    let folder = Folder::list(dir).map_err(at(dir))?;
    let no_writer = || ProveError::NoWriter(writer.to_owned());
    let id = Uuid::try_parse(writer).map_err(|_uuid| no_writer())?;
    let files = folder.writers.iter().find(|files| files.writer == id).ok_or_else(no_writer)?;
    let key = files.header.as_ref().map(|header| keys.open(header)).transpose()?.flatten();
    let mut seen = Seen { key, ..Seen::nothing(id, seq) };
    for segment in &files.segments {
        let stored = fs::read(&segment.path).map_err(at(&segment.path))?;
        seen.segment(&stored)?;
        if seen.checkpoint.is_some() {
            break;
        }
    }
    let last = seen.pruned + len64(seen.leaves.len());
    if seq == 0 || seq > last {
        return Err(ProveError::NoRecord { writer: id, seq, last });
    }
    let line = seen.line.take().ok_or(ProveError::Pruned { writer: id, seq })?;
    let found = match seen.checkpoint.take() {
        Some(checkpoint) => Some(checkpoint),
        None => elsewhere(&folder, id, seq, last, checkpoints)?,
    };
    let checkpoint = found.ok_or(ProveError::NoCheckpoint { writer: id, seq })?;
    let tree = Tree { pruned: seen.pruned, nodes: perfect(seen.pruned, &seen.frontier), leaves: &seen.leaves };
    let path = tree.path(0, checkpoint.size, seq - 1).ok_or(ProveError::Broken { writer: id, seq: last })?;
    let proof = Proof { line, index: seq - 1, path, checkpoint };
    if proof.is_included() {
        Ok(proof)
    } else {
        Err(ProveError::Contradicted { writer: id, size: proof.checkpoint.size })
    }
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> ProveError {
    let path = path.to_owned();
    move |source| ProveError::Io { path, source }
}

/// A checkpoint of the writer that covers the record and stands in its successor's chain, or outside.
pub(super) fn elsewhere(
    folder: &Folder,
    writer: Uuid,
    seq: u64,
    last: u64,
    checkpoints: Option<&Path>,
) -> Result<Option<Checkpoint>, ProveError> {
    let fits = |checkpoint: &Checkpoint| checkpoint.writer == writer && (seq..=last).contains(&checkpoint.size);
    if let Some(dir) = checkpoints {
        let mut kept = outside::read(dir).map_err(at(dir))?;
        let kept = kept.remove(&writer).unwrap_or_default().into_iter().filter_map(|kept| kept.checkpoint.ok());
        if let Some(checkpoint) = kept.filter(fits).min_by_key(|checkpoint| checkpoint.size) {
            return Ok(Some(checkpoint));
        }
    }
    let follows = |files: &&WriterFiles| {
        files.header.as_ref().and_then(|header| header.prev.as_ref()).is_some_and(|prev| prev.writer == writer)
    };
    for segment in folder.writers.iter().filter(follows).flat_map(|files| files.segments.first()) {
        let stored = fs::read(&segment.path).map_err(at(&segment.path))?;
        let Ok(header) = Header::decode(&stored) else { continue };
        let (mut position, mut offset) = (Position::before(&header, &stored), HEADER_BYTES);
        while let Ok(frame) = position.step(&stored, offset) {
            offset += frame.len;
            if let Some(checkpoint) = checkpoint_in(&frame).filter(fits) {
                return Ok(Some(checkpoint));
            }
        }
    }
    Ok(None)
}

fn checkpoint_in(frame: &Frame<'_>) -> Option<Checkpoint> {
    if frame.head.kind == Kind::Checkpoint { Checkpoint::parse(frame.body).ok() } else { None }
}

/// What is needed of a writer's segments, up to the first checkpoint that covers the record.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) writer: Uuid,
    pub(super) seq: u64,
    at: Option<Position>,
    /// Records before the first segment that is here, and their tree.
    pub(super) pruned: u64,
    pub(super) frontier: Vec<Hash>,
    pub(super) leaves: Vec<Hash>,
    line: Option<Vec<u8>>,
    key: Option<Arc<DataKey>>,
    pub(super) checkpoint: Option<Checkpoint>,
    /// The last checkpoint of the writer, whatever it covers.
    pub(super) latest: Option<Checkpoint>,
}

impl Seen {
    /// Nothing yet, of the records up to `seq`.
    pub(super) fn nothing(writer: Uuid, seq: u64) -> Self {
        Self { writer, seq, ..Self::default() }
    }

    pub(super) fn segment(&mut self, stored: &[u8]) -> Result<(), ProveError> {
        let Ok(header) = Header::decode(stored) else { return Ok(()) };
        let (mut local, mut offset) = (Position::before(&header, stored), HEADER_BYTES);
        match self.at {
            None => {
                self.pruned = local.seq;
                self.frontier.clone_from(&header.frontier);
                self.at = Some(local);
            }
            Some(at) if local.frame > at.frame => {
                return Err(ProveError::Broken { writer: self.writer, seq: at.seq });
            }
            Some(_) => {}
        }
        while self.checkpoint.is_none()
            && let Ok(frame) = local.step(stored, offset)
        {
            offset += frame.len;
            if self.at.is_none_or(|at| frame.head.frame > at.frame) {
                self.frame(&frame)?;
                self.at = Some(local);
            }
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), ProveError> {
        self.leaves.extend(frame.leaves.as_chunks::<32>().0.iter().map(|leaf| Hash(*leaf)));
        if frame.head.kind == Kind::Records
            && let Some(nth) = self.seq.checked_sub(frame.head.first_seq)
            && nth < u64::from(frame.head.count)
        {
            self.line = match cipher::clear(frame, self.key.as_deref()) {
                Ok(body) => cipher::lines(&body).nth(index(nth)).map(<[u8]>::to_vec),
                // Whoever only wants leaves asks without a key.
                Err(CipherError::NoKey) => None,
                Err(CipherError::Changed | CipherError::Encrypt) => {
                    return Err(ProveError::Changed { writer: self.writer, seq: self.seq });
                }
            };
        }
        let Some(own) = checkpoint_in(frame).filter(|checkpoint| checkpoint.writer == self.writer) else {
            return Ok(());
        };
        self.checkpoint = Some(own.clone()).filter(|checkpoint| checkpoint.size >= self.seq);
        self.latest = Some(own);
        Ok(())
    }
}

/// The perfect subtrees over the first `size` leaves, by the range of each.
pub(super) fn perfect(size: u64, nodes: &[Hash]) -> Vec<(u64, u64, Hash)> {
    let (mut from, mut rest, mut ranges) = (0, size, Vec::new());
    for node in nodes {
        let Some(highest) = rest.checked_ilog2() else { break };
        let len = 1 << highest;
        ranges.push((from, from + len, *node));
        from += len;
        rest -= len;
    }
    ranges
}

/// A writer's tree: subtrees of what was pruned, leaves of the rest.
pub(super) struct Tree<'a> {
    pub(super) pruned: u64,
    pub(super) nodes: Vec<(u64, u64, Hash)>,
    pub(super) leaves: &'a [Hash],
}

impl Tree<'_> {
    /// RFC 6962 §2.1.1, for the leaf at `at` in the leaves from `from` to `to`: the leaf's sibling first.
    fn path(&self, from: u64, to: u64, at: u64) -> Option<Vec<Hash>> {
        if to.checked_sub(from)? <= 1 {
            return Some(Vec::new());
        }
        let middle = from + split(to - from);
        let (mut path, sibling) = if at < middle {
            (self.path(from, middle, at)?, self.root(middle, to)?)
        } else {
            (self.path(middle, to, at)?, self.root(from, middle)?)
        };
        path.push(sibling);
        Some(path)
    }

    pub(super) fn root(&self, from: u64, to: u64) -> Option<Hash> {
        if from >= self.pruned {
            let mut tree = Frontier::default();
            let leaves = self.leaves.get(index(from - self.pruned)..index(to - self.pruned))?;
            leaves.iter().for_each(|leaf| tree.push(*leaf));
            return Some(tree.root());
        }
        if let Some((.., node)) = self.nodes.iter().find(|(first, end, _)| (*first, *end) == (from, to)) {
            return Some(*node);
        }
        if to <= self.pruned {
            return None;
        }
        let middle = from + split(to - from);
        Some(merkle::node(&self.root(from, middle)?, &self.root(middle, to)?))
    }
}

/// The largest power of two below `len`, which is at least 2.
pub(super) fn split(len: u64) -> u64 {
    1 << (len - 1).checked_ilog2().unwrap_or(0)
}

impl Proof {
    /// The record as it is stored, without its newline.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The writer of the record.
    pub fn writer(&self) -> String {
        self.checkpoint.writer.to_string()
    }

    pub fn seq(&self) -> u64 {
        self.index.saturating_add(1)
    }

    /// How many records the checkpoint covers.
    pub fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Reads a proof. Nothing in it is to be believed before [`verify`](Self::verify).
    ///
    /// # Errors
    ///
    /// It has not the form of one.
    pub fn parse(text: &[u8]) -> Result<Self, ProofError> {
        let text = std::str::from_utf8(text).map_err(|_utf8| ProofError::Form("it is not text"))?;
        let (head, note) = text.split_once("\n\n").ok_or(ProofError::Form("it has no checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(MARK) {
            return Err(ProofError::Form("its first line is not the mark of a proof"));
        }
        let line = lines.next().and_then(|line| line.strip_prefix("extra "));
        let line = line.and_then(|line| BASE64_STANDARD.decode(line).ok());
        let line = line.ok_or(ProofError::Form("its second line does not hold the record"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(|text| text.parse().ok().filter(|index: &u64| index.to_string() == text));
        let index = index.ok_or(ProofError::Form("its third line does not say which record it is"))?;
        let path: Option<Vec<Hash>> = lines.map(note::root_of).collect();
        let path =
            path.filter(|path| path.len() <= PATH_MAX).ok_or(ProofError::Form("its path is not one of digests"))?;
        let checkpoint = Checkpoint::parse(note.as_bytes()).map_err(ProofError::Checkpoint)?;
        Ok(Self { line, index, path, checkpoint })
    }

    /// Whether one of the keys signed a tree that has exactly this record at this place.
    ///
    /// # Errors
    ///
    /// It does not follow, or is signed by another.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<(), ProofError> {
        match self.checkpoint.judged_by(keys) {
            Signed::Valid => {}
            Signed::Unknown => return Err(ProofError::UnknownKey(self.checkpoint.signers())),
            Signed::Bad => return Err(ProofError::Signature),
        }
        if self.is_included() { Ok(()) } else { Err(ProofError::NotIncluded) }
    }

    /// RFC 9162 §2.1.3.2, and the record says the place that it has.
    fn is_included(&self) -> bool {
        let states_its_place =
            self.line.starts_with(format!("{{\"v\":{RECORD_VERSION},\"seq\":{},", self.seq()).as_bytes());
        let Some(mut last) = self.checkpoint.size.checked_sub(1) else { return false };
        let (mut at, mut hash) = (self.index, merkle::leaf(&self.line));
        if at > last || !states_its_place {
            return false;
        }
        for sibling in &self.path {
            if last == 0 {
                return false;
            }
            if at & 1 == 1 || at == last {
                hash = merkle::node(sibling, &hash);
                while at & 1 == 0 && at != 0 {
                    at >>= 1;
                    last >>= 1;
                }
            } else {
                hash = merkle::node(&hash, sibling);
            }
            at >>= 1;
            last >>= 1;
        }
        last == 0 && hash == self.checkpoint.root
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MARK}\nextra {}\nindex {}", BASE64_STANDARD.encode(&self.line), self.index)?;
        for hash in &self.path {
            writeln!(f, "{hash}")?;
        }
        write!(f, "\n{}", self.checkpoint.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With everything there, and with any number of the first leaves pruned, the path is one and the same.
    #[test]
    fn paths_lead_to_the_root_also_behind_pruned_records() {
        let leaves: Vec<Hash> = (0u8..40).map(|n| merkle::leaf(&[n])).collect();
        for size in 1..=leaves.len() {
            let mut whole = Frontier::default();
            leaves[..size].iter().for_each(|leaf| whole.push(*leaf));
            for pruned in 0..size {
                let mut before = Frontier::default();
                leaves[..pruned].iter().for_each(|leaf| before.push(*leaf));
                let tree = Tree {
                    pruned: len64(pruned),
                    nodes: perfect(len64(pruned), before.nodes()),
                    leaves: &leaves[pruned..size],
                };
                for at in pruned..size {
                    let path = tree.path(0, len64(size), len64(at)).unwrap();
                    assert_eq!(path, full_path(&leaves[..size], at), "{at} of {size}, {pruned} pruned");
                }
            }
            assert_eq!(whole.root(), root(&leaves[..size]));
        }
    }

    fn root(leaves: &[Hash]) -> Hash {
        let mut tree = Frontier::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree.root()
    }

    fn full_path(leaves: &[Hash], at: usize) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let middle = leaves.len().next_power_of_two() / 2;
        let (mut path, sibling) = if at < middle {
            (full_path(&leaves[..middle], at), root(&leaves[middle..]))
        } else {
            (full_path(&leaves[middle..], at - middle), root(&leaves[..middle]))
        };
        path.push(sibling);
        path
    }
}
