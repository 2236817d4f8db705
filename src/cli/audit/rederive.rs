//! `chaperone audit rederive`: past decisions, made again of what was kept of them.

use std::{collections::BTreeMap, path::PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::{
    encryption::EncryptionArgs,
    filters::FilterArgs,
    folder,
    query::{unread, whole},
};
use crate::{
    audit::query::{FolderRecords, Found, Query},
    authorize::{Derived, Difference, NotDerived, Rederiver},
    cli::{
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
        output::{print, print_bytes, say},
    },
    domain::RecordKind,
};

const AFTER: &str = "\
Examples:
  chaperone audit rederive --from 2026-03-10T00:00:00Z --to 2026-03-11T00:00:00Z
  chaperone audit rederive /var/lib/chaperone/audit --client C1 -o json

Exit codes:
  0  every decision came out byte for byte as it is recorded
  1  could not run, or some decisions cannot be derived: nothing was kept of them
  2  a filter is none
  5  a decision came out otherwise; the keys that differ are named
  6  the trail is damaged; what is whole was derived

A sidecar with `audit.capture: slices` keeps the facts that each decision was made of. Bundle, facts and question
give the decision again, with no database and no server.";

/// Decisions that are told of one by one; the others are counted.
const TOLD_MAX: usize = 100;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Folder of the trail [default: the configured one]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    filters: FilterArgs,
    /// At most so many decisions [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How to print what came of it
    #[arg(short, long, value_enum, default_value_t)]
    output: ReportFormat,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    #[default]
    Pretty,
    Json,
}

#[derive(Default)]
struct Tally {
    decisions: u64,
    same: u64,
    without_facts: u64,
    differing: u64,
    /// The first of them, `WRITER/SEQ`.
    differs: Vec<(String, Vec<Difference>)>,
    /// How many, and the first of them.
    not_derived: BTreeMap<NotDerived, (u64, String)>,
    lost: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let mut query = args.filters.query()?;
    if query.kind.is_some_and(|kind| kind != RecordKind::Decision) {
        return Err(Failure::new(Exit::Usage, "only decisions are derived again").at("--kind"));
    }
    query.kind = Some(RecordKind::Decision);
    let dir = folder(args.dir.as_ref(), &args.config, context)?;
    let unreadable = |error: std::io::Error| Failure::of(Exit::CannotRun, &error).at(dir.display().to_string());
    let rederiver = Rederiver::open(&dir).map_err(unreadable)?;
    let is_empty = rederiver.is_empty();
    let keys = args.encryption.keys(args.dir.is_some(), &args.config, context)?;
    let records = FolderRecords::once(&dir).opened_with(keys);
    let tally = derive(rederiver, &records, query, args.limit.unwrap_or(u64::MAX))?;
    if is_empty && tally.decisions > tally.without_facts {
        return Err(Failure::new(Exit::CannotRun, "nothing is kept of the decisions of this trail")
            .at(dir.display().to_string())
            .next("set `audit.capture: slices`: decisions from then on can be derived again"));
    }
    match args.output {
        ReportFormat::Json => print_bytes(&json_of(&tally)?)?,
        ReportFormat::Pretty => print(text_of(&tally))?,
    }
    whole(tally.lost.as_deref(), None, &dir.display().to_string())?;
    verdict(&tally)
}

fn derive(mut rederiver: Rederiver, records: &FolderRecords, query: Query, limit: u64) -> Result<Tally, Failure> {
    let mut run = records.run(query, None).map_err(|error| unread(&error))?;
    let mut tally = Tally::default();
    while tally.decisions < limit
        && let Some(found) = run.next_found().map_err(|error| unread(&error))?
    {
        let derived = rederiver.derive(&found).map_err(|error| Failure::of(Exit::CannotRun, &error))?;
        if let Some(derived) = derived {
            tally.add(&found, derived);
        }
    }
    tally.lost = run.lost();
    Ok(tally)
}

impl Tally {
    fn add(&mut self, found: &Found, derived: Derived) {
        let name = || format!("{}/{}", found.writer, found.seq);
        self.decisions += 1;
        match derived {
            Derived::Same => self.same += 1,
            Derived::WithoutFacts => self.without_facts += 1,
            Derived::Differs(differences) => {
                self.differing += 1;
                if self.differs.len() < TOLD_MAX {
                    self.differs.push((name(), differences));
                }
            }
            Derived::Not(why) => self.not_derived.entry(why).or_insert_with(|| (0, name())).0 += 1,
        }
    }

    const fn derivable(&self) -> u64 {
        self.same + self.differing
    }
}

fn text_of(tally: &Tally) -> String {
    let mut lines =
        vec![format!("{} of {} decisions came out byte for byte as recorded", tally.same, tally.derivable())];
    if tally.without_facts > 0 {
        lines.push(format!("{} were denied without facts: there is nothing to derive them from", tally.without_facts));
    }
    for (why, (count, first)) in &tally.not_derived {
        lines.push(format!("{count} cannot be derived, the first is {first}: {why}"));
    }
    for (record, differences) in &tally.differs {
        for Difference { key, recorded, derived } in differences {
            let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
            lines.push(format!("{record}  {key}: {} is recorded, {} came out", said(recorded), said(derived)));
        }
    }
    lines.join("\n")
}

fn json_of(tally: &Tally) -> Result<Vec<u8>, Failure> {
    let differences = |differences: &[Difference]| -> Vec<_> {
        let each = |of: &Difference| json!({ "key": of.key, "recorded": of.recorded, "derived": of.derived });
        differences.iter().map(each).collect()
    };
    let differs: Vec<_> = tally
        .differs
        .iter()
        .map(|(record, list)| json!({ "record": record, "differences": differences(list) }))
        .collect();
    let not_derived: Vec<_> = tally
        .not_derived
        .iter()
        .map(|(why, (count, first))| json!({ "why": why.to_string(), "count": count, "first": first }))
        .collect();
    let report = json!({
        "schema_version": 1,
        "decisions": tally.decisions,
        "same": tally.same,
        "without_facts": tally.without_facts,
        "differing": tally.differing,
        "differs": differs,
        "not_derived": not_derived,
    });
    let mut text = serde_json::to_vec_pretty(&report).map_err(|error| Failure::of(Exit::CannotRun, &error))?;
    text.push(b'\n');
    Ok(text)
}

fn verdict(tally: &Tally) -> Result<Exit, Failure> {
    if tally.differing > 0 {
        return Err(Failure::new(Exit::Changed, format!("{} decisions came out otherwise", tally.differing)).next(
            "the bundle and the facts are those of then: this program decides otherwise than the one that recorded",
        ));
    }
    if let Some((why, (_, first))) = tally.not_derived.first_key_value() {
        let count: u64 = tally.not_derived.values().map(|(count, _)| count).sum();
        return Err(Failure::new(Exit::CannotRun, format!("{count} decisions cannot be derived again"))
            .at(first.clone())
            .because(why.to_string())
            .next("narrow the question by --from and --to to the time in which they were captured"));
    }
    if tally.decisions == 0 {
        say("no decision is like that");
    }
    Ok(Exit::Done)
}
