//! `chaperone audit`: reads and verifies the trail, offline.

mod tail;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;

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

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Print the last records, and go on with -f
    Tail(tail::Args),
    /// Verify chain, sequence and seals
    Verify(verify::Args),
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    match args.command {
        AuditCommand::Tail(args) => tail::run(&args, context),
        AuditCommand::Verify(args) => verify::run(&args, context),
    }
}

/// The folder of the trail: as typed, else as configured.
fn folder(typed: Option<&PathBuf>, config: &ConfigArgs, context: &Context<'_>) -> Result<PathBuf, Failure> {
    let folder = match typed {
        Some(folder) => folder.clone(),
        None => context.offline_config(config)?.audit.dir,
    };
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(Failure::new(Exit::CannotRun, "there is no trail")
        .at(folder.display().to_string())
        .next("name its folder: `chaperone audit verify DIR`"))
}
