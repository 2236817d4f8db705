//! `chaperone serve`: the sidecar.

use std::path::Path;

use super::{
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
    start::{Started, place},
};
use crate::{
    app::{Listening, Process},
    config::Config,
};

const AFTER: &str = "\
Examples:
  chaperone serve --config /etc/chaperone/chaperone.yaml
  CHAPERONE_SERVER__TCP__LISTEN=127.0.0.1:8380 chaperone serve

Exit codes:
  0  stopped as asked
  1  could not run: the configuration, a folder, a database or an address is wrong; or a background task died
  3  policy, schema or mapping is not valid";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    Started { process: Process::Serve, require: require_doors, ready }.run(&args.config, context)
}

fn ready(listening: &Listening) {
    let Listening { unix, tcp, admin, health } = listening;
    tracing::info!(
        unix = %place(unix.as_deref().map(Path::display)),
        tcp = %place(tcp.as_ref()),
        admin = %place(admin.as_ref()),
        health = %place(health.as_ref()),
        "ready to decide"
    );
}

/// A sidecar that nobody can ask, or that may be asked by anybody, does not start.
fn require_doors(config: &Config) -> Result<(), Failure> {
    if config.server.unix.is_none() && config.server.tcp.is_none() {
        return Err(Failure::new(Exit::CannotRun, "no listener is configured")
            .next("set `server.unix` or `server.tcp`; nothing was started"));
    }
    if config.callers.is_empty() {
        return Err(Failure::new(Exit::CannotRun, "no caller is configured: nobody could ask")
            .next("list the application under `callers`, with its `unix.uids` or a `token_file`"));
    }
    Ok(())
}
