//! `chaperone user`: who may do nothing for a time, over the admin API of a running sidecar.

use clap::Subcommand;
use serde_json::Value as Json;

use super::{
    calls::{PageArgs, PersonArgs, Shown, StateArgs, after, body, cell, id},
    context::Context,
    exit::Exit,
    failure::Failure,
    thing::Thing,
};

const USERS: Thing = Thing {
    path: "/admin/v1/users",
    shown: Shown {
        words: &["suspension_id", "state", "user", "from", "to", "suspended_by", "ended_at", "ended_by", "version"],
        unsaid: &[("to", "until they are reinstated")],
    },
    row,
    none: "no suspension is kept here",
};

const AFTER: &str = after!("user suspend ana --as sid", "user reinstate ana --as sid", "done");
const AFTER_SUSPEND: &str = after!(
    "user suspend ana --as sid",
    "user suspend ana --to 2026-04-01T00:00:00Z --as sid",
    "denied from the next decision on; the suspension is printed"
);
const AFTER_REINSTATE: &str = after!(
    "user reinstate ana --as sid",
    "user reinstate ana --reason \"cleared\" --as sid",
    "the suspension is over; it is printed"
);
const AFTER_LIST: &str = after!(
    "user suspensions ana --as sid",
    "user suspensions ana --state suspended --as sid",
    "the suspensions of the person that are kept here are printed"
);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Deny a person everything
    Suspend(SuspendArgs),
    /// End that
    Reinstate(ReinstateArgs),
    /// Print the suspensions of a person
    Suspensions(ListArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_SUSPEND)]
struct SuspendArgs {
    /// The person
    #[arg(value_name = "USER", value_parser = id)]
    id: String,
    /// From when on, if not now
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Until when
    #[arg(long, value_name = "INSTANT")]
    to: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_REINSTATE)]
struct ReinstateArgs {
    /// The person
    #[arg(value_name = "USER", value_parser = id)]
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_LIST)]
struct ListArgs {
    /// The person
    #[arg(value_name = "USER", value_parser = id)]
    id: String,
    /// Which ones
    #[arg(long, value_parser = ["not_started", "suspended", "expired", "ended"])]
    state: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    person: PersonArgs,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    match args.command {
        UserCommand::Suspend(args) => {
            let said = [
                ("standing", Some(Json::from("suspended"))),
                ("from", args.from.map(Json::from)),
                ("to", args.to.map(Json::from)),
                ("reason", args.reason.map(Json::from)),
            ];
            USERS.step(context, (&args.id, "standing"), body(said), (&StateArgs::default(), &args.person))
        }
        UserCommand::Reinstate(args) => {
            let said = [("standing", Some(Json::from("reinstated"))), ("reason", args.reason.map(Json::from))];
            USERS.step(context, (&args.id, "standing"), body(said), (&StateArgs::default(), &args.person))
        }
        UserCommand::Suspensions(args) => {
            let path = format!("{}/{}/standing", USERS.path, args.id);
            USERS.list_at(context, &path, &[("state", args.state.as_deref())], (&args.page, &args.person))
        }
    }
}

fn row(item: &Json) -> String {
    format!(
        "{:<36}  {:<11}  {}  {} to {}",
        cell(item, "/suspension_id"),
        cell(item, "/state"),
        cell(item, "/user"),
        cell(item, "/from"),
        cell(item, "/to"),
    )
}
