//! `chaperone demo`: a whole clinic on this machine.

use std::{net::SocketAddr, path::PathBuf};

use jiff::Timestamp;

use super::{context::Context, exit::Exit, failure::Failure};

const AFTER: &str = "\
Examples:
  chaperone demo
  chaperone demo --dir ./clinic --listen 127.0.0.1:0

Exit codes:
  0  stopped as asked
  1  could not run: the folder is in use, an address is taken";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// Folder of the databases, the trail, and copies of policies and schemas to edit [default: a fresh temporary one]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// The instant at which the clock stands
    #[arg(long, value_name = "INSTANT", default_value = "2026-03-10T15:00:00Z")]
    pub(super) at: Timestamp,
    /// Where callers ask; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8380")]
    pub(super) listen: SocketAddr,
    /// Where the admin API, health and metrics answer
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8381")]
    pub(super) admin_listen: SocketAddr,
}

pub(super) fn run(args: Args, _context: &Context<'_>) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::CannotRun, "`chaperone demo` is not built in")
        .because(format!("nothing answers on {}", args.listen)))
}
