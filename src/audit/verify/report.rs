//! What a verification says: in one word, and in detail.

use serde::Serialize;

use crate::domain::Timestamp;

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that the folder says it holds is there, unchanged, and every writer's end is sealed or witnessed by the
    /// next one.
    Whole,
    /// All that is there is unchanged, but the last writer did not say that it ended: it runs, or it died. That
    /// something was cut off behind the end cannot be told from a torn tail without a checkpoint.
    Open,
    /// Something is damaged, missing or changed.
    Damaged,
}

/// One thing that is wrong: the first in its writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub writer: String,
    /// The first record that cannot be relied on.
    pub seq: u64,
    pub segment: u32,
    /// Where in the segment's file.
    pub offset: u64,
    /// A stable word for what is wrong.
    pub problem: &'static str,
    /// The same for a reader.
    pub detail: String,
    /// Whole frames found behind the damage in this segment, and the last record in them.
    pub frames_beyond: u64,
    pub last_seq_beyond: Option<u64>,
}

impl Finding {
    /// Something that is wrong beside the frames; it concerns the records from `seq` on.
    pub fn beside(writer: &str, seq: u64, problem: &'static str, detail: String) -> Self {
        Self {
            writer: writer.to_owned(),
            seq,
            segment: 1,
            offset: 0,
            problem,
            detail,
            frames_beyond: 0,
            last_seq_beyond: None,
        }
    }
}

/// An end that nobody vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenEnd {
    pub writer: String,
    /// The first record that would follow.
    pub next_seq: u64,
    pub segment: u32,
    pub offset: u64,
    /// Bytes behind the end that are no frame: a torn tail, or tampering with what was not yet known to be on disk.
    pub torn_bytes: u64,
}

/// What of one writer was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WriterReport {
    pub writer: String,
    pub segments: usize,
    /// Verified records: `first_seq..=last_seq`; the last is below the first when there are none.
    pub first_seq: u64,
    pub last_seq: u64,
    pub frames: u64,
    /// It ended with its final seal.
    pub sealed: bool,
    /// The root of the tree over all its verified records.
    pub root: String,
    /// Frames whose records are encrypted.
    pub encrypted_frames: u64,
    /// Those of them that were opened, and their lines held against their leaves; the others are verified as stored.
    pub opened_frames: u64,
    /// Why encrypted frames were not opened.
    pub unopened: Option<String>,
    /// Checkpoints of this writer that agree with its records, wherever they stand.
    pub checkpoints: u64,
    /// The records up to this one are covered by a checkpoint; 0 without.
    pub checkpoint_seq: u64,
    /// The records up to this one are covered by a signature of one of the given keys; 0 without.
    pub signed_seq: u64,
}

/// What is known of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signatures {
    /// There are no checkpoints.
    None,
    /// There are, and no key was given to verify them with.
    Unchecked,
    /// One of the given keys signed each of them.
    Verified,
    /// Keys were given, and what they say is among the findings.
    Bad,
}

/// The result of verifying a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub schema_version: u32,
    pub verdict: Verdict,
    pub signatures: Signatures,
    /// In the order of the trail: the first is the first bad record.
    pub findings: Vec<Finding>,
    pub open_ends: Vec<OpenEnd>,
    /// Each after its predecessor.
    pub writers: Vec<WriterReport>,
    /// What was pruned, by the stubs that stay.
    pub pruned: Vec<PrunedReport>,
    pub records: u64,
    pub bytes: u64,
}

/// What a stub says of segments that are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrunedReport {
    pub writer: String,
    /// All up to this one.
    pub segment: u32,
    pub last_seq: u64,
    pub root: String,
    /// Of their records.
    pub from: Timestamp,
    pub to: Timestamp,
    pub pruned: Timestamp,
    /// One of the given keys signed it.
    pub signed: bool,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            schema_version: 1,
            verdict: Verdict::Whole,
            signatures: Signatures::None,
            findings: Vec::new(),
            open_ends: Vec::new(),
            writers: Vec::new(),
            pruned: Vec::new(),
            records: 0,
            bytes: 0,
        }
    }

    pub(super) fn judge(&mut self, with_keys: bool) {
        let checkpoints: u64 = self.writers.iter().map(|writer| writer.checkpoints).sum();
        let is_bad = self.findings.iter().any(|finding| matches!(finding.problem, "signature" | "unsigned"));
        self.signatures = match (with_keys, checkpoints) {
            (true, _) if is_bad => Signatures::Bad,
            (true, 1..) => Signatures::Verified,
            (false, 1..) => Signatures::Unchecked,
            (_, 0) => Signatures::None,
        };
        self.records = self.writers.iter().map(|writer| (writer.last_seq + 1).saturating_sub(writer.first_seq)).sum();
        self.verdict = if !self.findings.is_empty() {
            Verdict::Damaged
        } else if !self.open_ends.is_empty() {
            Verdict::Open
        } else {
            Verdict::Whole
        };
    }

    /// Adds what was found beside the frames, as in the index over them.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.verdict = Verdict::Damaged;
    }

    /// The first thing that is wrong.
    pub fn first_bad(&self) -> Option<&Finding> {
        self.findings.first()
    }
}
