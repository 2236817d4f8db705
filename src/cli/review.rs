//! `chaperone review`: the reviews of emergency access, over the admin API of a running sidecar.

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value as Json, json};

use super::{
    calls::{Call, PageArgs, PersonArgs, Shown, StateArgs, after, cell, id},
    context::Context,
    exit::Exit,
    failure::Failure,
    thing::Thing,
};

const REVIEWS: Thing = Thing {
    path: "/admin/v1/reviews",
    shown: Shown {
        words: &[
            "review_id",
            "state",
            "priority",
            "explanation",
            "closes_by_itself",
            "due_at",
            "reviewer",
            "disposition",
            "closed_at",
            "incident_id",
            "proposal_id",
            "grant_id",
            "grant/state",
            "grant/user",
            "grant/client",
            "grant/reason_code",
            "grant/justification",
            "grant/fields",
            "grant/approver",
            "grant/activated_at",
            "grant/over_at",
            "grant/extensions",
            "version",
        ],
        unsaid: &[],
    },
    row,
    none: "no review is waiting",
};

const AFTER: &str = after!("review list --as pri", "review decide RV3 justified --as pri", "done");
const AFTER_LIST: &str =
    after!("review list --as pri", "review list --state all --as pri", "the reviews are printed, those due first");
const AFTER_SHOW: &str = after!(
    "review show RV3 --as pri",
    "review show RV3 -o json --as pri",
    "the review is printed, with the grant that it is about"
);
const AFTER_DECIDE: &str =
    after!("review decide RV3 justified --as pri", "review decide RV0 fix_access --as pri", "the review is closed");

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
    /// Print one, with what the holder wrote when asking
    Show(ShowArgs),
    /// Close one
    Decide(DecideArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_LIST)]
struct ListArgs {
    /// Which ones
    #[arg(long, value_enum, default_value_t)]
    state: Which,
    #[command(flatten)]
    page: PageArgs,
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
#[command(after_help = AFTER_SHOW)]
struct ShowArgs {
    /// The review
    #[arg(value_name = "REVIEW", value_parser = id)]
    id: String,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_DECIDE)]
struct DecideArgs {
    /// The review
    #[arg(value_name = "REVIEW", value_parser = id)]
    id: String,
    /// What it found
    #[arg(value_enum)]
    disposition: Found,
    #[command(flatten)]
    state: StateArgs,
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
        ReviewCommand::List(args) => {
            let state = word(&args.state);
            REVIEWS.list(context, &[("state", Some(&state))], (&args.page, &args.person))
        }
        ReviewCommand::Show(args) => REVIEWS.show(context, &args.id, &args.person),
        ReviewCommand::Decide(args) => decide(&args, context),
    }
}

fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// One review a line: when it is due, how urgent, whose access to whom, and why they said they needed it.
fn row(item: &Json) -> String {
    format!(
        "{:<36}  due {}  {:<6}  {:<10}  {} -> {}  {}",
        cell(item, "/review_id"),
        cell(item, "/due_at"),
        cell(item, "/priority"),
        cell(item, "/state"),
        cell(item, "/grant/user"),
        cell(item, "/grant/client"),
        cell(item, "/grant/reason_code"),
    )
}

fn decide(args: &DecideArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let path = format!("/admin/v1/reviews/{}/decide", args.id);
    let body = Some(json!({ "disposition": word(&args.disposition) }));
    const SHOWN: Shown<'_> = Shown {
        words: &["review_id", "state", "disposition", "reviewer", "closed_at", "incident_id", "proposal_id", "version"],
        unsaid: &[],
    };
    args.person.show_changed(context, Call { method: Method::POST, path: &path, body }, &args.state, &SHOWN)
}
