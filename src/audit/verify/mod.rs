//! Verifying a folder offline: chain, checksums, leaves, sequence, zeros, and the links between segments and writers.
//!
//! It needs no lock, no key and no server. What it cannot know it says: an end that no seal and no later writer
//! witnesses is *open*, since a tail that was cut off looks like one that was never written.

mod check;
mod lines;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

pub use report::{Finding, OpenEnd, Report, Verdict, WriterReport};

use self::check::{Outcome, check_writer};
use super::{
    folder::{Folder, WriterFiles},
    header::Predecessor,
};

/// What to accept.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// The oldest segments or writers may be missing, because they were pruned.
    pub allow_pruned: bool,
}

/// Why a folder could not be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("cannot read the trail in `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Verifies all that the folder holds.
///
/// # Errors
///
/// A file or the folder cannot be read. What is wrong *in* the trail is in the report.
pub fn verify(dir: &Path, options: VerifyOptions) -> Result<Report, VerifyError> {
    let read = |source| VerifyError::Io { path: dir.to_owned(), source };
    let folder = Folder::list(dir).map_err(read)?;
    let mut report = Report::new();
    for path in &folder.strays {
        report.findings.push(stray(path));
    }
    let successors = successors(&folder.writers, &mut report);
    for (place, files) in folder.writers.iter().enumerate() {
        if let Some(finding) = bad_link(files, place, &folder.writers, options) {
            report.findings.push(finding);
        }
        let successor = successors.get(&files.writer);
        let outcome = settled(files, successor, options).map_err(read)?;
        report.bytes += outcome.bytes;
        report.findings.extend(outcome.finding);
        report.open_ends.extend(outcome.open_end);
        report.writers.extend(outcome.report);
    }
    report.judge();
    Ok(report)
}

/// A writer at work can be met in the middle of a frame: what looks wrong at an end is looked at again until it stays.
fn settled(files: &WriterFiles, successor: Option<&Predecessor>, options: VerifyOptions) -> io::Result<Outcome> {
    let mut outcome = check_writer(files, successor, options)?;
    for _ in 0..4 {
        let is_sound = outcome.finding.is_none() && outcome.open_end.as_ref().is_none_or(|end| end.torn_bytes == 0);
        if is_sound || successor.is_some() {
            break;
        }
        let again = check_writer(files, successor, options)?;
        let same = again.finding == outcome.finding && again.open_end == outcome.open_end;
        outcome = again;
        if same {
            break;
        }
    }
    Ok(outcome)
}

/// What each writer's successor says of it.
fn successors(writers: &[WriterFiles], report: &mut Report) -> BTreeMap<Uuid, Predecessor> {
    let mut successors = BTreeMap::new();
    for files in writers {
        let Some(prev) = files.header.as_ref().and_then(|header| header.prev.clone()) else { continue };
        match successors.entry(prev.writer) {
            Entry::Vacant(entry) => {
                entry.insert(prev);
            }
            Entry::Occupied(entry) => {
                let detail = format!("two writers say that they follow {}: a copied volume", entry.key());
                report.findings.push(finding(files.writer, 1, "fork", detail));
            }
        }
    }
    successors
}

fn bad_link(files: &WriterFiles, place: usize, writers: &[WriterFiles], options: VerifyOptions) -> Option<Finding> {
    let header = files.header.as_ref()?;
    let known: BTreeSet<Uuid> = writers.iter().map(|files| files.writer).collect();
    match &header.prev {
        Some(prev) if known.contains(&prev.writer) => None,
        Some(_) if options.allow_pruned => None,
        Some(prev) => Some(finding(
            files.writer,
            1,
            "missing_writer",
            format!("it follows {}, of whom nothing is here", prev.writer),
        )),
        None if place == 0 => None,
        None => {
            let detail = "it names no predecessor, though others were here before it".to_owned();
            Some(finding(files.writer, 1, "unlinked_writer", detail))
        }
    }
}

fn finding(writer: Uuid, seq: u64, problem: &'static str, detail: String) -> Finding {
    Finding {
        writer: writer.to_string(),
        seq,
        segment: 1,
        offset: 0,
        problem,
        detail,
        frames_beyond: 0,
        last_seq_beyond: None,
    }
}

fn stray(path: &Path) -> Finding {
    Finding {
        writer: String::new(),
        seq: 0,
        segment: 0,
        offset: 0,
        problem: "stray_file",
        detail: format!("`{}` has no segment's name", path.display()),
        frames_beyond: 0,
        last_seq_beyond: None,
    }
}
