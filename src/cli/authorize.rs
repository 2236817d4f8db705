//! `chaperone authorize`: decides one request.

use super::{
    answer::{self, Detail},
    bundle,
    context::Context,
    exit::Exit,
    failure::Failure,
    output::print,
    question::{AnswerFormat, QuestionArgs, request_of},
    remote, simulate,
};
use crate::clock::{Clock, SystemClock};

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

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let is_allow = decide(&args.question, Detail::Answer, context)?;
    Ok(if args.exit_code && !is_allow { Exit::Denied } else { Exit::Done })
}

/// Decides, prints, and says whether it was an allow.
pub(super) fn decide(args: &QuestionArgs, detail: Detail, context: &Context<'_>) -> Result<bool, Failure> {
    let body = args.body()?;
    if remote::is_remote(args) {
        let answer = context.block_on(remote::ask(args, body))??;
        match args.output {
            AnswerFormat::Pretty => print(answer::remote_pretty(&answer))?,
            AnswerFormat::Json => print(format_args!("{answer:#}"))?,
        }
        return Ok(answer::is_allow(&answer));
    }
    let request = request_of(body)?;
    let config = context.offline_config(&args.config)?;
    let bundle = bundle::load(&bundle::folders(None, None, &config))?;
    let facts = simulate::configured_facts(&config)?;
    let now = args.at.unwrap_or_else(|| SystemClock.now());
    let simulated = context.block_on(simulate::ask(&bundle, &facts, &request, now))?;
    match args.output {
        AnswerFormat::Pretty => print(answer::pretty(&bundle, &simulated, now, detail))?,
        AnswerFormat::Json => print(format_args!("{:#}", answer::as_json(&bundle, &simulated, now, detail)))?,
    }
    Ok(simulated.evaluation.decision.is_allow())
}
