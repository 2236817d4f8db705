//! `chaperone db doctor`: whether the store's tables and the change feed are whole.

use owo_colors::OwoColorize;

use super::{Meant, failed, say_untold, tables};
use crate::{
    cli::{bundle::plural, context::Context, exit::Exit, failure::Failure, output::print},
    entities::{self, Examined, FeedTask, Proof},
};

const AFTER: &str = "\
Examples:
  chaperone db doctor
  chaperone db doctor --source app --url postgres://owner@db/ehr

Exit codes:
  0  tables and feed are whole
  1  could not run, or they are not whole
  3  policy, schema or mapping is not valid";

/// Says whether triggers, functions, tables and rights are what the mapping needs. With the --url of a role that may
/// write it also proves that the triggers fire: it writes one row of each table as it is, looks, and undoes it.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Print which tables are watched, and for which facts
    #[arg(long)]
    tables: bool,
    #[command(flatten)]
    meant: Meant,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let found = args.meant.find(context)?;
    let task = FeedTask {
        mapping: &found.bundle.mapping,
        databases: &found.databases,
        meant: &found.meant,
        limit: found.limit,
    };
    let has_tables = found.store.as_ref().map_or(Ok(true), |store| tables::examine(store, context))?;
    let examined = context.block_on(entities::doctor(&task))?.map_err(|error| failed(&error))?;
    for examined in &examined {
        show(examined, args)?;
    }
    let is_whole = has_tables && examined.iter().all(|examined| examined.problems.is_empty());
    Ok(if is_whole { Exit::Done } else { Exit::CannotRun })
}

fn show(examined: &Examined, args: &Args) -> Result<(), Failure> {
    let source = examined.source.as_str();
    say_untold(&examined.untold);
    if args.tables {
        for line in &examined.tables {
            print(format_args!("  {line}"))?;
        }
    }
    if !examined.problems.is_empty() {
        let count = plural(examined.problems.len(), "problem");
        print(format_args!("{} {source}: the change feed is not whole: {count}", "✗".red().bold()))?;
        return examined.problems.iter().try_for_each(|problem| print(format_args!("  {problem}")));
    }
    print(format_args!(
        "{} {source}: the change feed is whole · {} watched · read by role {} in schema {}",
        "✓".green().bold(),
        plural(examined.tables.len(), "table"),
        examined.role,
        examined.schema,
    ))?;
    if examined.proofs.is_empty() {
        return print(
            "  the triggers are there and enabled; give --url of a role that may write to prove that they fire",
        );
    }
    let count = |wanted: &Proof| examined.proofs.iter().filter(|(_, proof)| proof == wanted).count();
    print(format_args!("  proven to fire: {}", plural(count(&Proof::Fires), "table")))?;
    for (table, proof) in &examined.proofs {
        match proof {
            Proof::Fires | Proof::Silent => {}
            Proof::NoRow => print(format_args!("  not proven: {table} has no row"))?,
            Proof::Refused(words) => print(format_args!("  not proven: {table}: {words}"))?,
        }
    }
    Ok(())
}
