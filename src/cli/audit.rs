//! `chaperone audit`: reads and verifies the trail, offline.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;

use super::{
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
};

const AFTER: &str = "\
Examples:
  chaperone audit tail -f
  chaperone audit verify /var/lib/chaperone/audit

Exit codes:
  0  done
  1  could not run
  6  the trail does not verify";

const TAIL_AFTER: &str = "\
Examples:
  chaperone audit tail -f /var/lib/chaperone/audit
  chaperone audit tail --since 2026-03-10T00:00:00Z --tail 20

Exit codes:
  0  done
  1  could not run
  6  a record is damaged";

const VERIFY_AFTER: &str = "\
Examples:
  chaperone audit verify
  chaperone audit verify ./copy --key checkpoint.vkey -o json

Exit codes:
  0  the trail is whole
  1  could not run
  6  it is not; the first bad record is named";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Print the last records, and go on with -f
    Tail(TailArgs),
    /// Verify chain, sequence and seals
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = TAIL_AFTER)]
pub(super) struct TailArgs {
    /// Folder of the trail [default: the configured one]
    #[arg(value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Go on as records come
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Only records from this instant on
    #[arg(long, value_name = "INSTANT", conflicts_with = "between")]
    pub(super) since: Option<Timestamp>,
    /// Only records from one instant up to, not including, another
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    pub(super) between: Vec<Timestamp>,
    /// At most the last N records
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) tail: usize,
    /// Only the records of this decision or request
    #[arg(long, value_name = "ID")]
    pub(super) lookup: Option<String>,
    /// How to print a record
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: RecordFormat,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum RecordFormat {
    #[default]
    Pretty,
    /// The stored bytes
    Jsonl,
}

#[derive(Debug, clap::Args)]
#[command(after_help = VERIFY_AFTER)]
pub(super) struct VerifyArgs {
    /// Folder of the trail [default: the configured one]
    #[arg(value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// The public key; without it signatures are reported unchecked
    #[arg(long, value_name = "VKEY")]
    pub(super) key: Option<PathBuf>,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: VerifyFormat,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum VerifyFormat {
    #[default]
    Pretty,
    Json,
}

pub(super) fn run(args: Args, _context: &Context<'_>) -> Result<Exit, Failure> {
    let name = match args.command {
        AuditCommand::Tail(_) => "tail",
        AuditCommand::Verify(_) => "verify",
    };
    Err(Failure::new(Exit::CannotRun, format!("`chaperone audit {name}` is not built in")))
}
