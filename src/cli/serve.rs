//! `chaperone serve`: the sidecar.

use super::{
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
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
    let loaded = context.config(&args.config)?;
    context.telemetry(&loaded.config.telemetry)?;
    Err(Failure::new(Exit::CannotRun, "`chaperone serve` is not built in"))
}
