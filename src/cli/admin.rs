//! `chaperone admin`: the admin API as a process of its own, beside the sidecars on the same store.

use std::sync::Arc;

use super::{
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
};
use crate::{
    app::{self, Process, Start},
    clock::SystemClock,
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
    let loaded = context.config(&args.config)?;
    let telemetry = context.telemetry(&loaded.config.telemetry)?;
    require_desk(&loaded.config)?;
    let start = Start {
        process: Process::Admin,
        config: loaded.config,
        clock: Arc::new(SystemClock),
        metrics: telemetry.metrics.clone(),
        demo_clock: None,
        on_listening: Box::new(|listening| {
            tracing::info!(admin = ?listening.admin, health = ?listening.health, "ready to administer");
            Ok(())
        }),
    };
    context.block_on(app::run(start))??;
    Ok(Exit::Done)
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
