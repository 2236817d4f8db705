//! `chaperone admin`: the admin API as a process of its own, beside the sidecars on the same store.

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
  chaperone admin --config /etc/chaperone/admin.yaml
  chaperone admin --config chaperone.yaml --set audit.dir=/var/lib/chaperone/admin-audit

Exit codes:
  0  stopped as asked
  1  could not run: the configuration, a folder, a database or an address is wrong; or a background task died
  3  policy, schema or mapping is not valid";

/// It answers administrators alone. The trail is its own: no other process may write in its folder.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    Started { process: Process::Admin, require: require_desk, ready }.run(&args.config, context)
}

fn ready(listening: &Listening) {
    let (admin, health) = (place(listening.admin.as_ref()), place(listening.health.as_ref()));
    tracing::info!(%admin, %health, "ready to administer");
}

/// An administration that nobody reaches, or that could change nothing, does not start.
fn require_desk(config: &Config) -> Result<(), Failure> {
    if config.server.admin.is_none() {
        return Err(Failure::new(Exit::CannotRun, "no admin listener is configured: nobody could ask")
            .next("set `server.admin.listen` and `server.admin.token_file`; nothing was started"));
    }
    if config.sources.store.is_none() {
        return Err(Failure::new(Exit::CannotRun, "no store is configured: nothing could be changed")
            .next("set `sources.store.url` to the store of the sidecars; nothing was started"));
    }
    Ok(())
}
