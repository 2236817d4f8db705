//! `chaperone test`: runs the cases of the policies.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
};

const AFTER: &str = "\
Examples:
  chaperone test policies
  chaperone test --coverage --threshold 90 -o junit

Exit codes:
  0  every case passed
  1  could not run
  3  policy, schema or mapping is not valid
  4  a case failed, no case ran, or the coverage is too low";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// A case file, or a folder with policies and cases [default: the configured one]
    #[arg(value_name = "PATH")]
    pub(super) path: Option<PathBuf>,
    /// Folder of the schema and the mapping [default: the configured one]
    #[arg(long, value_name = "DIR")]
    pub(super) schemas: Option<PathBuf>,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: TestFormat,
    /// Say which policies no case matched
    #[arg(long)]
    pub(super) coverage: bool,
    /// Fail below this share of matched policies
    #[arg(long, value_name = "PERCENT", requires = "coverage", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(super) threshold: Option<u8>,
    /// Run again whenever a file changes
    #[arg(long)]
    pub(super) watch: bool,
    /// Run only the cases whose name matches
    #[arg(short = 'r', long = "run", value_name = "REGEX")]
    pub(super) run: Option<String>,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum TestFormat {
    #[default]
    Pretty,
    Json,
    Junit,
    Github,
}

pub(super) fn run(_args: Args, _context: &Context<'_>) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::CannotRun, "`chaperone test` is not built in"))
}
