//! `chaperone audit tail`: the stored lines, as they are.

use std::{
    collections::VecDeque,
    io::{self, Write},
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use clap::ValueEnum;
use jiff::Timestamp;

use super::{
    encryption::{EncryptionArgs, unread},
    folder,
    line::short,
};
use crate::{
    audit::{EncryptionKeys, Filter, Reader, StoredRecord, export::Format, query::Found, records},
    cli::{
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
        instant::instant,
        output::say,
    },
    domain::Record,
};

const AFTER: &str = "\
Examples:
  chaperone audit tail -f /var/lib/chaperone/audit
  chaperone audit tail -f -o ocsf --tail 0 | your-collector

Exit codes:
  0  done
  1  could not run";

/// How many records are shown where nothing is asked for.
const SHOWN: usize = 10;
/// How often a running trail is looked at: the writer's own sync is no more frequent.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Folder of the trail [default: the configured one]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Go on as records come
    #[arg(short, long)]
    follow: bool,
    /// Only records from this instant on
    #[arg(long, value_name = "INSTANT", value_parser = instant, conflicts_with = "between")]
    since: Option<Timestamp>,
    /// Only records from one instant up to, not including, another
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], value_parser = instant, conflicts_with = "follow")]
    between: Vec<Timestamp>,
    /// At most the last N records [default: 10; all with --since, --between or --lookup]
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
    /// Only the records of this decision, request or receipt (WRITER/SEQ)
    #[arg(long, value_name = "ID")]
    lookup: Option<String>,
    /// How to print a record
    #[arg(short, long, value_enum, default_value_t)]
    output: RecordFormat,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum RecordFormat {
    /// The stored bytes
    #[default]
    Jsonl,
    /// A short line for people
    Pretty,
    /// OCSF 1.8 API Activity, one JSON object a line: for a collector
    Ocsf,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let dir = folder(args.dir.as_ref(), &args.config, context)?;
    let keys = args.encryption.keys(args.dir.is_some(), &args.config, context)?;
    let last = print_stored(args, &dir, &keys)?;
    if let (Some(id), true) = (&args.lookup, last.is_empty()) {
        say(format_args!("no record in {} is of decision, request or receipt {id}", dir.display()));
    }
    if args.follow {
        context.block_on(follow(args, &dir, keys, last))??;
    }
    Ok(Exit::Done)
}

/// Where each writer's printed records end.
type Printed = Vec<(std::sync::Arc<str>, u64)>;

/// Prints what is there, and returns up to where.
fn print_stored(args: &Args, dir: &Path, keys: &EncryptionKeys) -> Result<Printed, Failure> {
    let (from, to) = window(args);
    let filter = Filter { since: from, tail: None, lookup: args.lookup.clone(), keys: keys.clone() };
    let is_open = args.tail.is_none() && (from.is_some() || args.lookup.is_some());
    let most = if is_open { usize::MAX } else { args.tail.unwrap_or(SHOWN) };
    let mut waiting: VecDeque<StoredRecord> = VecDeque::new();
    let mut printed = Printed::new();
    let whole = args.lookup.is_none() && from.is_none();
    let mut before: Option<(std::sync::Arc<str>, u64)> = None;
    let mut lost = None;
    for record in records(dir, filter).map_err(|error| unread(&error))? {
        let record = record.map_err(|error| unread(&error))?;
        if let Some((writer, seq)) = before.replace((record.writer.clone(), record.seq))
            && whole
            && writer == record.writer
            && record.seq > seq.saturating_add(1)
        {
            lost = lost.or(Some((writer, seq.saturating_add(1))));
        }
        if to.is_some_and(|to| at(&record).is_none_or(|at| at >= to)) {
            continue;
        }
        remember(&mut printed, &record);
        if most == usize::MAX {
            if !print_record(args.output, &record)? {
                return Ok(printed);
            }
            continue;
        }
        waiting.push_back(record);
        if waiting.len() > most {
            waiting.pop_front();
        }
    }
    for record in &waiting {
        if !print_record(args.output, record)? {
            break;
        }
    }
    match lost {
        None => Ok(printed),
        // Readers go on behind damage; a reader of what they print must not take it for all there is.
        Some((writer, seq)) => {
            Err(Failure::new(Exit::TrailBroken, format!("record {seq} of writer {writer} is damaged or missing"))
                .at(dir.display().to_string())
                .next("`chaperone audit verify` says what else is"))
        }
    }
}

fn window(args: &Args) -> (Option<Timestamp>, Option<Timestamp>) {
    match args.between.as_slice() {
        [from, to] => (Some(*from), Some(*to)),
        _ => (args.since, None),
    }
}

fn remember(printed: &mut Printed, record: &StoredRecord) {
    match printed.iter_mut().find(|(writer, _)| *writer == record.writer) {
        Some((_, seq)) => *seq = (*seq).max(record.seq),
        None => printed.push((record.writer.clone(), record.seq)),
    }
}

/// Prints records as they come, until Ctrl-C or until nobody reads.
async fn follow(args: &Args, dir: &Path, keys: EncryptionKeys, mut printed: Printed) -> Result<(), Failure> {
    let mut reader = Reader::open(dir, keys).map_err(|error| unread(&error))?;
    // One listener for the whole time: a Ctrl-C that came while records are printed must not be lost.
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    loop {
        while let Some(record) = reader.next_record().map_err(|error| unread(&error))? {
            let is_known = printed.iter().any(|(writer, seq)| *writer == record.writer && *seq >= record.seq);
            if is_known || !is_wanted(args, &record) {
                continue;
            }
            remember(&mut printed, &record);
            if !print_record(args.output, &record)? {
                return Ok(());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _interrupted = &mut interrupted => return Ok(()),
        }
    }
}

/// The same filters for records that come later.
fn is_wanted(args: &Args, record: &StoredRecord) -> bool {
    let is_since = args.since.is_none_or(|since| at(record).is_some_and(|at| at >= since));
    is_since && args.lookup.as_deref().is_none_or(|id| has_id(record, id))
}

fn has_id(record: &StoredRecord, id: &str) -> bool {
    if let Some((writer, seq)) = id.split_once('/') {
        return *record.writer == *writer && seq.parse() == Ok(record.seq);
    }
    parsed(record)
        .is_some_and(|record| record.decision_id.as_deref() == Some(id) || record.request_id.as_deref() == Some(id))
}

fn parsed(record: &StoredRecord) -> Option<Record> {
    serde_json::from_slice(&record.line).ok()
}

fn at(record: &StoredRecord) -> Option<Timestamp> {
    parsed(record).map(|record| record.at)
}

/// Prints one record; false when nobody reads any more.
fn print_record(format: RecordFormat, record: &StoredRecord) -> Result<bool, Failure> {
    let mut line = match (format, parsed(record)) {
        (RecordFormat::Pretty, Some(parsed)) => short(record.seq, &parsed).into_bytes(),
        (RecordFormat::Ocsf, Some(parsed)) => ocsf(record, &parsed)?,
        (RecordFormat::Pretty | RecordFormat::Ocsf, None) | (RecordFormat::Jsonl, _) => record.line.clone(),
    };
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&line).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::of(Exit::CannotRun, &error).because("the records cannot be written to stdout")),
    }
}

fn ocsf(stored: &StoredRecord, record: &Record) -> Result<Vec<u8>, Failure> {
    let (writer, line) = (std::sync::Arc::clone(&stored.writer), stored.line.clone());
    let found = Found { at: record.at, writer, seq: stored.seq, line };
    let mut row = Vec::new();
    Format::Ocsf.row(&found, &mut row).map_err(|error| Failure::of(Exit::CannotRun, &error))?;
    row.pop();
    Ok(row)
}
