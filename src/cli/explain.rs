//! `chaperone explain`: decides one request and says why.

use super::{
    answer::Detail, authorize::decide, context::Context, exit::Exit, failure::Failure, question::QuestionArgs,
};

const AFTER: &str = "\
Examples:
  chaperone explain --principal User/ben --action read --resource Note/N3
  chaperone explain request.json --at 2026-03-10T15:00:00Z -o json

Exit codes:
  0  decided
  1  could not run
  2  wrong usage
  3  policy, schema or mapping is not valid";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) question: QuestionArgs,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    decide(&args.question, Detail::Explanation, context)?;
    Ok(Exit::Done)
}
