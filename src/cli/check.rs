//! `chaperone check`: validates policies, schema and mapping.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
};

const AFTER: &str = "\
Examples:
  chaperone check policies
  chaperone check --config chaperone.yaml --database -o github

Exit codes:
  0  valid
  1  could not run
  3  policy, schema or mapping is not valid";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// Folder of the policies [default: the configured one]
    #[arg(value_name = "PATH")]
    pub(super) path: Option<PathBuf>,
    /// Folder of the schema and the mapping [default: the configured one]
    #[arg(long, value_name = "DIR")]
    pub(super) schemas: Option<PathBuf>,
    /// Check the columns that the mapping names against the configured databases too
    #[arg(long)]
    pub(super) database: bool,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: CheckFormat,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckFormat {
    #[default]
    Pretty,
    Json,
    Github,
}

pub(super) fn run(_args: Args, _context: &Context<'_>) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::CannotRun, "`chaperone check` is not built in"))
}
