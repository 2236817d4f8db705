//! `chaperone review`: the reviews of emergency access, over the admin API of a running sidecar.

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value as Json, json};

use super::{
    calls::{Call, Format, PersonArgs, json, lines},
    context::Context,
    exit::Exit,
    failure::Failure,
    output::{print, say},
};

const AFTER: &str = "\
Examples:
  chaperone review list --as pri --session tenant=T1 --url http://[::1]:8381 --token-file t
  chaperone review decide RV3 justified --as pri --session mfa=true --url http://x --token-file t

Exit codes:
  0  done
  1  could not run, or it was refused
  2  wrong usage";

const AFTER_LIST: &str = "\
Examples:
  chaperone review list --as pri --session tenant=T1 --url http://[::1]:8381 --token-file t
  chaperone review list --state all --as pri --session tenant=T1 --url http://x --token-file t

Exit codes:
  0  the reviews are printed, those due first
  1  could not run, or it was refused
  2  wrong usage";

const AFTER_DECIDE: &str = "\
Examples:
  chaperone review decide RV3 justified --as pri --session mfa=true --url http://x --token-file t
  chaperone review decide RV0 fix_access --as pri --session mfa=true --url http://x --token-file t

Exit codes:
  0  the review is closed
  1  could not run, or it was refused
  2  wrong usage";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    command: ReviewCommand,
}

#[derive(Debug, Subcommand)]
enum ReviewCommand {
    /// Print the queue, those due first
    List(ListArgs),
    /// Close one
    Decide(DecideArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_LIST)]
struct ListArgs {
    /// Which ones
    #[arg(long, value_enum, default_value_t)]
    state: Which,
    /// How many at most
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    limit: u8,
    /// Where the list before ended, as it said
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Which {
    #[default]
    Open,
    Closed,
    All,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_DECIDE)]
struct DecideArgs {
    /// The review
    #[arg(value_name = "REVIEW")]
    id: String,
    /// What it found
    #[arg(value_enum)]
    disposition: Found,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Found {
    Justified,
    FixAccess,
    Unjustified,
    FalseStart,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    match args.command {
        ReviewCommand::List(args) => list(&args, context),
        ReviewCommand::Decide(args) => decide(&args, context),
    }
}

fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn list(args: &ListArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let mut path = format!("/admin/v1/reviews?state={}&limit={}", word(&args.state), args.limit);
    if let Some(cursor) = &args.cursor {
        path.push_str(&format!("&cursor={cursor}"));
    }
    let call = Call { method: Method::GET, path: &path, body: None };
    let answer = context.block_on(args.person.call(call))??;
    if args.person.output == Format::Json {
        print(json(&answer))?;
        return Ok(Exit::Done);
    }
    let items = answer.get("items").and_then(Json::as_array).cloned().unwrap_or_default();
    if items.is_empty() {
        say("no review is waiting");
    }
    for item in &items {
        print(row(item))?;
    }
    if let Some(next) = answer.get("next").and_then(Json::as_str) {
        say(format_args!("more: --cursor {next}"));
    }
    Ok(Exit::Done)
}

/// One review a line: when it is due, how urgent, whose access to whom, and why they said they needed it.
fn row(item: &Json) -> String {
    let text = |path: &str| item.pointer(path).and_then(Json::as_str).unwrap_or("-").to_owned();
    format!(
        "{:<36}  due {}  {:<6}  {:<10}  {} -> {}  {}",
        text("/review_id"),
        text("/due_at"),
        text("/priority"),
        text("/state"),
        text("/grant/user"),
        text("/grant/client"),
        text("/grant/reason_code"),
    )
}

fn decide(args: &DecideArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let path = format!("/admin/v1/reviews/{}/decide", args.id);
    let body = Some(json!({ "disposition": word(&args.disposition) }));
    let answer = context.block_on(args.person.call(Call { method: Method::POST, path: &path, body }))??;
    const SHOWN: [&str; 7] =
        ["review_id", "state", "disposition", "reviewer", "closed_at", "incident_id", "proposal_id"];
    print(match args.person.output {
        Format::Pretty => lines(&answer, &SHOWN),
        Format::Json => json(&answer),
    })?;
    Ok(Exit::Done)
}
