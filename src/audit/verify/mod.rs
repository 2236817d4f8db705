//! Verifying a folder offline: chain, checksums, leaves, sequence, zeros, checkpoints, and the links between segments
//! and writers.
//!
//! It needs no lock, no key and no server, also where records are encrypted: the chain binds what is stored. What it cannot know it says: signatures are unchecked without a key, and an
//! end that no seal, no later writer and no checkpoint witnesses is *open*, since a tail that was cut off looks like one
//! that was never written.

mod ahead;
mod check;
mod claims;
mod lines;
mod pruned;
mod rebuild;
mod report;
mod together;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

pub use rebuild::{Rebuilt, RebuiltWriter};
pub use report::{Finding, OpenEnd, PrunedReport, Report, Signatures, Verdict, WriterReport};

use self::{
    ahead::{Ahead, Job},
    check::{Outcome, check_writer},
    claims::{Claim, Claims},
};
use super::{
    folder::{Folder, WriterFiles},
    header::Predecessor,
    keyring::EncryptionKeys,
    note::VerifierKey,
    retention::Stub,
};

/// What to accept, and what to hold the trail against.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// The oldest segments or writers may be missing, because they were pruned.
    pub allow_pruned: bool,
    /// All keys that may have signed checkpoints. With none given, signatures are not checked.
    pub keys: Vec<VerifierKey>,
    /// A folder outside of the trail's with the checkpoints that were kept there.
    pub checkpoints: Option<PathBuf>,
    /// The folder was rebuilt from a store: it may hold more than a later writer found, and has segments of its own.
    pub is_rebuilt: bool,
    /// What opens records that are encrypted. Without them they are verified as they are stored.
    pub encryption: EncryptionKeys,
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
    #[error("cannot read the checkpoints in `{}`", path.display())]
    Checkpoints {
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
pub fn verify(dir: &Path, options: &VerifyOptions) -> Result<Report, VerifyError> {
    let read = |source| VerifyError::Io { path: dir.to_owned(), source };
    // First what is outside: a running writer lets a checkpoint go only when its records are on disk.
    let mut kept = match &options.checkpoints {
        Some(outside) => claims::kept_outside(outside, options)
            .map_err(|source| VerifyError::Checkpoints { path: outside.clone(), source })?,
        None => BTreeMap::new(),
    };
    let folder = Folder::list(dir).map_err(read)?;
    let mut report = Report::new();
    for path in &folder.strays {
        report.findings.push(stray(path));
    }
    let successors = successors(&folder, &mut report);
    pruned::report(&folder, options, &mut report);
    for stub in pruned::alone(&folder) {
        let claims = kept.remove(&stub.writer).unwrap_or_default();
        report.findings.extend(pruned::check(stub, successors.get(&stub.writer), &claims, &folder, options));
    }
    let ahead = Ahead::new(jobs(&folder, options));
    ahead.run(|| check_writers(&folder, &successors, &mut kept, options, &ahead, &mut report)).map_err(read)?;
    if !options.allow_pruned {
        report.findings.extend(kept.iter().filter_map(|(writer, claims)| nothing_left(*writer, claims)));
    }
    refuse_unsigned(&mut report, options);
    report.judge(!options.keys.is_empty());
    Ok(report)
}

/// In the order of the pass.
fn jobs(folder: &Folder, options: &VerifyOptions) -> Vec<Job> {
    let of_writer = |files: &WriterFiles| {
        let key = files.header.as_ref().and_then(|header| options.encryption.open(header).ok().flatten());
        files.segments.iter().map(|segment| Job { path: segment.path.clone(), key: key.clone() }).collect::<Vec<_>>()
    };
    folder.writers.iter().flat_map(of_writer).collect()
}

fn check_writers(
    folder: &Folder,
    successors: &BTreeMap<Uuid, Predecessor>,
    kept: &mut BTreeMap<Uuid, Claims>,
    options: &VerifyOptions,
    ahead: &Ahead,
    report: &mut Report,
) -> io::Result<()> {
    for (place, files) in folder.writers.iter().enumerate() {
        if let Some(finding) = bad_link(files, place, folder, options) {
            report.findings.push(finding);
        }
        let claims = kept.remove(&files.writer).unwrap_or_default();
        let stub = folder.stubs.iter().find(|file| file.stub.writer == files.writer).map(|file| &file.stub);
        let about = About { successor: successors.get(&files.writer), claims: &claims, stub };
        let outcome = settled(files, about, options, ahead)?;
        report.bytes += outcome.bytes;
        if let Some((previous, claim)) = &outcome.about_previous {
            hold_against_previous(report, *previous, claim);
        }
        report.findings.extend(outcome.finding);
        report.open_ends.extend(outcome.open_end);
        report.writers.extend(outcome.report);
    }
    Ok(())
}

/// What others say of a writer.
#[derive(Clone, Copy)]
struct About<'a> {
    /// The next writer, in its headers.
    successor: Option<&'a Predecessor>,
    /// Checkpoints that were kept outside.
    claims: &'a Claims,
    /// What stays of its pruned segments.
    stub: Option<&'a Stub>,
}

/// The checkpoint that a writer signed for the one before it.
fn hold_against_previous(report: &mut Report, previous: Uuid, claim: &Claim) {
    let previous = previous.to_string();
    let is_bad_anyway = report.findings.iter().any(|finding| finding.writer == previous);
    let Some(previous) = report.writers.iter_mut().find(|writer| writer.writer == previous && !is_bad_anyway) else {
        return;
    };
    if claim.size == previous.last_seq && claim.root.to_string() == previous.root {
        previous.checkpoints += 1;
        previous.checkpoint_seq = claim.size;
        if claim.signed {
            previous.signed_seq = claim.size;
        }
        return;
    }
    let detail = format!("the checkpoint over {} records in {} is not of these records", claim.size, claim.place);
    let seq = previous.checkpoint_seq + 1;
    report.findings.push(Finding {
        writer: previous.writer.clone(),
        seq,
        ..finding(Uuid::nil(), "checkpoint", detail)
    });
}

/// A writer of whom a checkpoint outside knows, and the folder does not.
fn nothing_left(writer: Uuid, claims: &Claims) -> Option<Finding> {
    let detail = match (claims.heads.last(), &claims.bad) {
        (Some(last), _) => format!("nothing of it is here, and {} says that it had {} records", last.place, last.size),
        (None, Some(bad)) => format!("nothing of it is here, and {}", bad.detail),
        (None, None) => return None,
    };
    Some(finding(writer, "missing_writer", detail))
}

/// Whoever gives a key expects signatures: a trail without any was never signed, or robbed of them.
fn refuse_unsigned(report: &mut Report, options: &VerifyOptions) {
    let is_signed = report.writers.iter().any(|writer| writer.signed_seq > 0);
    if !options.keys.is_empty() && !is_signed && report.findings.is_empty() {
        let has_any = report.writers.iter().any(|writer| writer.checkpoints > 0);
        let detail = if has_any {
            "none of the given keys signed anything in this trail"
        } else {
            "no checkpoint at all: nothing is signed"
        }
        .to_owned();
        report.findings.push(Finding {
            writer: String::new(),
            seq: 0,
            segment: 0,
            ..finding(Uuid::nil(), "unsigned", detail)
        });
    }
}

/// A writer at work can be met in the middle of a frame: what looks wrong at an end is looked at again until it stays.
fn settled(files: &WriterFiles, about: About<'_>, options: &VerifyOptions, ahead: &Ahead) -> io::Result<Outcome> {
    let mut outcome = check_writer(files, about, options, Some(ahead))?;
    for _ in 0..4 {
        let is_sound = outcome.finding.is_none() && outcome.open_end.as_ref().is_none_or(|end| end.torn_bytes == 0);
        if is_sound || about.successor.is_some() {
            break;
        }
        let again = check_writer(files, about, options, None)?;
        let same = again.finding == outcome.finding && again.open_end == outcome.open_end;
        outcome = again;
        if same {
            break;
        }
    }
    Ok(outcome)
}

/// What each writer's successor says of it.
fn successors(folder: &Folder, report: &mut Report) -> BTreeMap<Uuid, Predecessor> {
    let mut successors = BTreeMap::new();
    let here =
        folder.writers.iter().map(|files| (files.writer, files.header.as_ref().and_then(|head| head.prev.clone())));
    let gone = pruned::alone(folder).map(|stub| (stub.writer, stub.prev.clone()));
    for (writer, prev) in here.chain(gone) {
        let Some(prev) = prev else { continue };
        match successors.entry(prev.writer) {
            Entry::Vacant(entry) => {
                entry.insert(prev);
            }
            Entry::Occupied(entry) => {
                let detail = format!("two writers say that they follow {}: a copied volume", entry.key());
                report.findings.push(finding(writer, "fork", detail));
            }
        }
    }
    successors
}

fn bad_link(files: &WriterFiles, place: usize, folder: &Folder, options: &VerifyOptions) -> Option<Finding> {
    let header = files.header.as_ref()?;
    let known = pruned::known(folder);
    match &header.prev {
        Some(prev) if known.contains(&prev.writer) => None,
        Some(_) if options.allow_pruned => None,
        Some(prev) => Some(finding(
            files.writer,
            "missing_writer",
            format!("it follows {}, of whom nothing is here", prev.writer),
        )),
        // A store can hold the trails of several folders, each with a first writer.
        None if place == 0 || options.is_rebuilt => None,
        None => {
            let detail = "it names no predecessor, though others were here before it".to_owned();
            Some(finding(files.writer, "unlinked_writer", detail))
        }
    }
}

fn finding(writer: Uuid, problem: &'static str, detail: String) -> Finding {
    Finding {
        writer: writer.to_string(),
        seq: 1,
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
