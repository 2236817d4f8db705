//! Words typed by a person: one command, one exit code. The result goes to stdout, talk to stderr.
//!
//! One command a file: its arguments, then what it does. No rules live here; a command calls the room that knows.

mod admin;
mod answer;
mod assign;
mod audit;
mod authorize;
mod barrier;
mod bundle;
mod calls;
mod cases;
mod check;
mod completions;
mod config;
mod consent;
mod context;
mod db;
mod demo;
mod exit;
mod explain;
mod failure;
mod grant;
mod healthcheck;
mod instant;
mod man;
mod output;
mod question;
mod remote;
mod restrict;
mod review;
mod serve;
mod session;
mod simulate;
mod start;
mod test;
#[cfg(test)]
mod tests;
mod thing;
mod ticket;
mod user;
mod whole_file;

use std::{ffi::OsString, sync::OnceLock};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

use crate::{config::Environment, telemetry::Telemetry};

pub use context::{Context, STACK_BYTES};
pub use exit::Exit;
pub use failure::Failure;
pub use output::say;

/// Allow or deny with reasons, recorded before it is answered.
#[derive(Debug, Parser)]
#[command(name = "chaperone", version, max_term_width = 100, arg_required_else_help = true, after_help = AFTER)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Examples:
  chaperone demo
  chaperone serve --config /etc/chaperone/chaperone.yaml

Exit codes:
  0  done
  1  could not run
  2  wrong usage, or a deny with `authorize --exit-code`
  3  policy, schema or mapping is not valid
  4  cases failed
  5  decisions would change
  6  the trail does not verify";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole clinic on this machine: databases, policies, and calls to try
    Demo(demo::Args),
    /// Run the sidecar
    Serve(serve::Args),
    /// Run the admin API as a process of its own
    Admin(admin::Args),
    /// Validate policies, schema and mapping
    Check(check::Args),
    /// Run the cases of the policies
    Test(test::Args),
    /// Decide one request
    Authorize(authorize::Args),
    /// Decide one request and say why
    Explain(explain::Args),
    /// Ask for emergency access, extend it, give it back
    Grant(grant::Args),
    /// Review emergency access
    Review(review::Args),
    /// Assign people to clients
    Assign(assign::Args),
    /// Keep what clients asked to be kept from others
    Restrict(restrict::Args),
    /// Keep what clients consented to
    Consent(consent::Args),
    /// Let support see records, while a ticket is open
    Ticket(ticket::Args),
    /// Suspend people, where that is kept here
    User(user::Args),
    /// Wait until what was revoked can allow nothing any more
    Barrier(barrier::Args),
    /// Read and verify the trail
    Audit(audit::Args),
    /// Install and examine the change feed in the databases
    Db(db::Args),
    /// Ask a running sidecar whether it is alive
    Healthcheck(healthcheck::Args),
    /// Print the completions of a shell
    Completions(completions::Args),
    /// Print a manual page
    Man(man::Args),
    /// Print the configuration or its schema
    Config(config::Args),
}

/// First stage: understands the words. `Err` carries the exit of what clap has already answered: help, the version, or a
/// usage error.
///
/// # Errors
///
/// The exit to end with.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    Cli::try_parse_from(words).map_err(|error| {
        if error.print().is_err() {
            return Exit::CannotRun;
        }
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done,
            _ => Exit::Usage,
        }
    })
}

/// Second stage: runs the command. Telemetry that it sets up is left in `telemetry`, for the last stage to flush.
///
/// # Errors
///
/// The [`Failure`] to show.
pub fn run(cli: Cli, environment: Environment, telemetry: &OnceLock<Telemetry>) -> Result<Exit, Failure> {
    let context = Context::new(environment, telemetry);
    match cli.command {
        Command::Demo(args) => demo::run(args, &context),
        Command::Serve(args) => serve::run(args, &context),
        Command::Admin(args) => admin::run(args, &context),
        Command::Check(args) => check::run(args, &context),
        Command::Test(args) => test::run(args, &context),
        Command::Authorize(args) => authorize::run(args, &context),
        Command::Explain(args) => explain::run(args, &context),
        Command::Grant(args) => grant::run(args, &context),
        Command::Review(args) => review::run(args, &context),
        Command::Assign(args) => assign::run(args, &context),
        Command::Restrict(args) => restrict::run(args, &context),
        Command::Consent(args) => consent::run(args, &context),
        Command::User(args) => user::run(args, &context),
        Command::Ticket(args) => ticket::run(args, &context),
        Command::Barrier(args) => barrier::run(&args, &context),
        Command::Audit(args) => audit::run(args, &context),
        Command::Db(args) => db::run(args, &context),
        Command::Healthcheck(args) => healthcheck::run(args, &context),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Config(args) => config::run(args, &context),
    }
}

/// The whole command line, for completions and manual pages.
fn command_line() -> clap::Command {
    Cli::command()
}
