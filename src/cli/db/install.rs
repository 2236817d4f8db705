//! `chaperone db install`: makes the store's tables and the change feed.

use owo_colors::OwoColorize;

use super::{Meant, failed, names, say_untold, tables};
use crate::{
    cli::{
        bundle::plural,
        context::Context,
        exit::Exit,
        failure::Failure,
        output::{print, say},
    },
    domain::mapping::Source,
    entities::{self, FeedTask, Installed, Mode, Notify},
};

const AFTER: &str = "\
Examples:
  chaperone db install --dry-run > feed.sql
  chaperone db install --source app --url postgres://owner@db/ehr

Exit codes:
  0  tables and feed are whole
  1  could not run; nothing was changed
  3  policy, schema or mapping is not valid";

/// Roles of PostgreSQL that get rights on the store; made, without a password, if they are not there.
#[derive(Debug, clap::Args)]
pub(super) struct Roles {
    /// This role may read and write the store's tables: the one of `sources.store`
    #[arg(long, value_name = "NAME")]
    pub(super) role: Option<String>,
    /// This role may append to the trail and nothing else: the one of `audit.ship_url`
    #[arg(long, value_name = "NAME")]
    pub(super) trail_role: Option<String>,
    /// This role may read the trail and nothing else: for `audit verify --store` and auditors
    #[arg(long, value_name = "NAME")]
    pub(super) auditor_role: Option<String>,
    /// This role may read the trail, and let go what a signed stub stands for: for `audit prune --store`
    #[arg(long, value_name = "NAME")]
    pub(super) pruner_role: Option<String>,
    /// Address of the trail's database for a role that owns its tables [default: that of the store]
    #[arg(long, value_name = "URL")]
    pub(super) trail_url: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Print the SQL and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave NOTIFY out: changes are seen at the next poll, and commits never queue for its lock
    #[arg(long)]
    no_notify: bool,
    #[command(flatten)]
    roles: Roles,
    #[command(flatten)]
    meant: Meant,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let found = args.meant.find(context)?;
    for source in found.files.iter().filter(|source| **source == Source::App) {
        say(format_args!("source {} is SQLite: nothing needs to be installed there", source.as_str()));
    }
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Install };
    // First the tables: the feed's triggers stand on them.
    let needs_tables =
        found.store.as_ref().map_or(Ok(false), |store| tables::install(store, &args.roles, mode, context))?;
    if found.meant.is_empty() {
        return Ok(Exit::Done);
    }
    let task = FeedTask {
        mapping: &found.bundle.mapping,
        databases: &found.databases,
        meant: &found.meant,
        limit: found.limit,
    };
    let notify = if args.no_notify { Notify::No } else { Notify::Yes };
    let installed = match context.block_on(entities::install(&task, notify, mode))? {
        Err(_) if needs_tables && mode == Mode::DryRun => {
            say("note: what the change feed needs can be said once these tables are there: run this again then");
            return Ok(Exit::Done);
        }
        installed => installed.map_err(|error| failed(&error))?,
    };
    for installed in &installed {
        match mode {
            Mode::DryRun => print_sql(installed)?,
            Mode::Install => print_done(installed)?,
        }
        say_untold(&installed.untold);
    }
    Ok(Exit::Done)
}

fn print_sql(installed: &Installed) -> Result<(), Failure> {
    let sources = names(&installed.sources);
    if installed.statements.is_empty() {
        return print(format_args!("-- {sources}: the feed is whole, nothing is to be done"));
    }
    print(format_args!("-- {sources}: the change feed in schema {}", installed.schema))?;
    for statement in &installed.statements {
        print(format_args!("{statement};"))?;
    }
    Ok(())
}

fn print_done(installed: &Installed) -> Result<(), Failure> {
    for problem in &installed.problems {
        say(format_args!("  mended: {problem}"));
    }
    let done = if installed.statements.is_empty() { "was whole already" } else { "is whole now" };
    print(format_args!(
        "{} {}: the change feed in schema {} {done} · {} watched",
        "✓".green().bold(),
        names(&installed.sources),
        installed.schema,
        plural(installed.tables.len(), "table"),
    ))
}
