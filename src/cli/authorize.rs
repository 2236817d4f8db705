//! `chaperone authorize`: decides one request.

use super::{context::Context, exit::Exit, failure::Failure, question::QuestionArgs};

const AFTER: &str = "\
Examples:
  chaperone authorize --principal User/ana --action read --resource Note/N1 --fields clin.note
  chaperone authorize request.json --url http://127.0.0.1:8380 --token-file token --exit-code

Exit codes:
  0  decided
  1  could not run
  2  wrong usage, or a deny with --exit-code
  3  policy, schema or mapping is not valid";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) question: QuestionArgs,
    /// Exit with 2 on a deny
    #[arg(long)]
    pub(super) exit_code: bool,
}

pub(super) fn run(_args: Args, _context: &Context<'_>) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::CannotRun, "`chaperone authorize` is not built in"))
}
