//! `chaperone audit verify`: is the trail whole?

use std::{
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value as Json;

use super::{encryption::EncryptionArgs, folders, keys, verify_store};
use crate::{
    audit::{self, Filter, Finding, Report, Signatures, Verdict, VerifyError, VerifyOptions},
    cli::{
        bundle::plural,
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
        output::print,
    },
};

const AFTER: &str = "\
Examples:
  chaperone audit verify --store postgres://auditor@db/ehr --key trail.vkey
  chaperone audit verify --key trail.vkey --checkpoints /mnt/elsewhere/checkpoints

Exit codes:
  0  the trail is whole, as far as it is written
  1  could not run, or records are encrypted with another key than the one given
  6  it is not; the first bad record is named";

/// Work that takes longer than this is shown to be going on.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Folder of the trail [default: the configured one]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Verify what a store holds instead of a folder [default address: the configured one]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", conflicts_with = "dir")]
    store: Option<String>,
    /// A public key, or a file of them, as `audit vkey` prints it; repeat it for each that ever signed
    #[arg(long, value_name = "VKEY")]
    key: Vec<String>,
    /// A folder with checkpoints that were kept outside [default: the configured one]
    #[arg(long, value_name = "DIR")]
    checkpoints: Option<PathBuf>,
    /// The oldest segments may be missing, because they were pruned
    #[arg(long)]
    allow_pruned: bool,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value_t)]
    output: VerifyFormat,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum VerifyFormat {
    #[default]
    Pretty,
    Json,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    if let Some(url) = &args.store {
        return run_on_store(url, args, context);
    }
    let (dir, checkpoints) = folders(args.dir.as_ref(), args.checkpoints.as_ref(), &args.config, context)?;
    let options = VerifyOptions {
        allow_pruned: args.allow_pruned,
        keys: keys(&args.key)?,
        checkpoints,
        is_rebuilt: false,
        encryption: args.encryption.keys(args.dir.is_some(), &args.config, context)?,
    };
    let with_keys = !options.encryption.is_empty();
    let report = shown_going_on(&dir, options)?.map_err(|error| Failure::of(Exit::CannotRun, &error))?;
    if report.records == 0 {
        // Every trail begins with a record of its start, so nothing is never whole.
        let exit = if report.writers.is_empty() { Exit::CannotRun } else { Exit::TrailBroken };
        return Err(Failure::new(exit, "there is no record in this folder")
            .at(dir.display().to_string())
            .next("give the folder that `audit.dir` names; if it is this one, its records are gone"));
    }
    show(&report, &dir, args, with_keys)
}

fn run_on_store(url: &str, args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let encryption = args.encryption.keys(!url.is_empty(), &args.config, context)?;
    let url = if url.is_empty() { super::shipped_to(&args.config, context)? } else { url.to_owned() };
    let options = VerifyOptions {
        allow_pruned: args.allow_pruned,
        keys: keys(&args.key)?,
        checkpoints: args.checkpoints.clone(),
        is_rebuilt: true,
        encryption,
    };
    let with_keys = !options.encryption.is_empty();
    let room = verify_store::Room::new()?;
    let (report, dir) = verify_store::verify(&url, &room, options, context)?;
    if report.writers.is_empty() {
        return Err(Failure::new(Exit::CannotRun, "there is no trail in this store")
            .next("name the database that `audit.ship` leads to: `chaperone audit verify --store URL`"));
    }
    show(&report, &dir, args, with_keys)
}

fn show(report: &Report, dir: &Path, args: &Args, with_keys: bool) -> Result<Exit, Failure> {
    match args.output {
        VerifyFormat::Pretty => print(words(report, dir))?,
        VerifyFormat::Json => print(format_args!("{:#}", json(report)?))?,
    }
    // Whoever gives a key wants records read: with another key nothing is said of them.
    let is_other_key = with_keys && report.writers.iter().any(|writer| writer.unopened.is_some());
    Ok(match report.verdict {
        Verdict::Whole | Verdict::Open if is_other_key => Exit::CannotRun,
        Verdict::Whole | Verdict::Open => Exit::Done,
        Verdict::Damaged => Exit::TrailBroken,
    })
}

/// Verifies on a thread of its own; on a terminal, what takes long moves.
fn shown_going_on(dir: &Path, options: VerifyOptions) -> Result<Result<Report, VerifyError>, Failure> {
    let (done, verified) = mpsc::channel();
    let folder = dir.to_path_buf();
    let work = move || done.send(audit::verify(&folder, &options)).is_ok();
    let thread = std::thread::Builder::new()
        .name("verify".to_owned())
        .spawn(work)
        .map_err(|error| Failure::of(Exit::CannotRun, &error))?;
    let ended = || Failure::new(Exit::CannotRun, "verifying panicked; this is a bug");
    let outcome = match verified.recv_timeout(QUIET) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Disconnected) => return Err(ended()),
        Err(RecvTimeoutError::Timeout) => {
            let bar = stderr().is_terminal().then(|| moving(dir));
            let outcome = verified.recv().map_err(|_disconnected| ended())?;
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
            outcome
        }
    };
    thread.join().map_err(|_panic| ended())?;
    Ok(outcome)
}

fn moving(dir: &Path) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} verifying {msg} · {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(dir.display().to_string());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// One line for a whole trail; for a damaged one the first bad record, and what is still good.
fn words(report: &Report, dir: &Path) -> String {
    match report.first_bad() {
        Some(finding) if finding.problem == "unsigned" => unsigned(report, finding),
        Some(finding) => damage(report, finding, dir),
        None => whole(report),
    }
}

/// Nothing is damaged, and yet the key that was given vouches for nothing.
fn unsigned(report: &Report, finding: &Finding) -> String {
    format!(
        "{}\nthat is as good as the folder's own word: was this trail written without `audit.key_file`, or were its \
         checkpoints taken out?\n{}",
        finding.detail,
        whole(report)
    )
}

fn whole(report: &Report) -> String {
    let segments: usize = report.writers.iter().map(|writer| writer.segments).sum();
    let chain = match report.verdict {
        Verdict::Whole | Verdict::Damaged if report.open_ends.is_empty() => "chain whole",
        Verdict::Whole | Verdict::Damaged | Verdict::Open => "chain whole up to an open end",
    };
    let encrypted = encrypted(report);
    let mut text = format!(
        "{} · {} · {chain}{encrypted} · {}",
        plural(segments, "segment"),
        plural_u64(report.records, "record"),
        signatures(report)
    );
    for writer in report.writers.iter().filter(|_| report.signatures == Signatures::Verified) {
        if writer.signed_seq < writer.last_seq {
            let (from, to) = (writer.signed_seq.max(writer.first_seq - 1) + 1, writer.last_seq);
            text = format!("{text}\nrecords {from} to {to} of writer {} are covered by no signature", writer.writer);
        }
    }
    for pruned in &report.pruned {
        let signed = if pruned.signed { ", signed" } else { "" };
        text = format!(
            "{text}\nwriter {}: pruned up to record {} ({} to {}){signed}",
            pruned.writer, pruned.last_seq, pruned.from, pruned.to
        );
    }
    for why in report.writers.iter().filter_map(|writer| writer.unopened.as_ref()) {
        text = format!("{text}\n{why}");
    }
    for end in &report.open_ends {
        let torn = if end.torn_bytes > 0 {
            format!(", {} of a torn tail", plural_u64(end.torn_bytes, "byte"))
        } else {
            String::new()
        };
        text = format!("{text}\nwriter {} has not said that it ended: it runs, or it died{torn}", end.writer);
    }
    text
}

fn encrypted(report: &Report) -> String {
    let encrypted: u64 = report.writers.iter().map(|writer| writer.encrypted_frames).sum();
    let opened: u64 = report.writers.iter().map(|writer| writer.opened_frames).sum();
    let closed = encrypted.saturating_sub(opened);
    let mut text = String::new();
    if opened > 0 {
        text = format!(" · {} opened", plural_u64(opened, "encrypted frame"));
    }
    if closed > 0 {
        text = format!("{text} · {} verified as stored, not read", plural_u64(closed, "encrypted frame"));
    }
    text
}

fn damage(report: &Report, finding: &Finding, dir: &Path) -> String {
    let at = bad_instant(dir, finding).map(|at| format!(" ({at})")).unwrap_or_default();
    let mut text = if finding.writer.is_empty() {
        finding.detail.clone()
    } else {
        format!(
            "segment {:06} of {}: record {}{at}: {}\neverything before {} verifies",
            finding.segment, finding.writer, finding.seq, finding.detail, finding.seq
        )
    };
    if let Some(beyond) = finding.last_seq_beyond {
        text = format!(
            "{text}; behind the damage stand {}, up to record {beyond}",
            plural_u64(finding.frames_beyond, "whole frame")
        );
    }
    let others = report.findings.len() - 1;
    if others > 0 {
        text = format!("{text}; {} more, see -o json", plural(others, "finding"));
    }
    format!("{text}\n{}", signatures(report))
}

fn signatures(report: &Report) -> String {
    let checkpoints: u64 = report.writers.iter().map(|writer| writer.checkpoints).sum();
    match report.signatures {
        Signatures::None => "signatures not checked: there are none".to_owned(),
        Signatures::Unchecked => {
            format!(
                "{} agree · signatures not checked: give the public key with --key",
                plural_u64(checkpoints, "checkpoint")
            )
        }
        Signatures::Verified => format!("{} signed and whole", plural_u64(checkpoints, "checkpoint")),
        Signatures::Bad if checkpoints == 0 => "signatures: none".to_owned(),
        Signatures::Bad => "signatures not whole".to_owned(),
    }
}

/// When the bad record, or the last good one before it, was written; as far as it can be read at all.
fn bad_instant(dir: &Path, finding: &Finding) -> Option<String> {
    let before = finding.seq.checked_sub(1)?;
    [finding.seq, before].into_iter().find_map(|seq| {
        let filter = Filter { lookup: Some(format!("{}/{seq}", finding.writer)), ..Filter::default() };
        let record = audit::records(dir, filter).ok()?.next()?.ok()?;
        let line: Json = serde_json::from_slice(&record.line).ok()?;
        let at = line.get("at")?.as_str()?;
        Some(if seq == finding.seq { at.to_owned() } else { format!("after {at}") })
    })
}

fn json(report: &Report) -> Result<Json, Failure> {
    serde_json::to_value(report).map_err(|error| Failure::of(Exit::CannotRun, &error))
}

fn plural_u64(count: u64, word: &str) -> String {
    plural(usize::try_from(count).unwrap_or(usize::MAX), word)
}
