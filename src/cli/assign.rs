//! `chaperone assign`: who may work with whom, over the admin API of a running sidecar.

use clap::{Subcommand, builder::PossibleValuesParser};
use serde_json::Value as Json;

use super::{
    calls::{PageArgs, PersonArgs, Shown, StateArgs, after, body, cell, id},
    context::Context,
    exit::Exit,
    failure::Failure,
    thing::Thing,
};
use crate::domain::assignment::Scope;

const ASSIGNMENTS: Thing = Thing {
    path: "/admin/v1/assignments",
    shown: Shown {
        words: &[
            "assignment_id",
            "state",
            "user",
            "client",
            "scope",
            "from",
            "to",
            "assigned_by",
            "ended_at",
            "ended_by",
            "version",
        ],
        unsaid: &[("to", "without an end")],
    },
    row,
    none: "no assignment is there",
};

const AFTER: &str = after!("assign add --user ana --client C4 --as sid", "assign list --client C4 --as sid", "done");
const AFTER_ADD: &str = after!(
    "assign add --user ana --client C4 --as sid",
    "assign add --user ana --client C4 --open-ended --as sid",
    "assigned, in force for the next decision; the assignment is printed"
);
const AFTER_LIST: &str =
    after!("assign list --as sid", "assign list --client C4 --state active --as sid", "the assignments are printed");
const AFTER_SHOW: &str =
    after!("assign show A1 --as sid", "assign show A1 -o json --as sid", "the assignment is printed");
const AFTER_WINDOW: &str = after!(
    "assign window A1 --until-date 2026-07-31 --as sid",
    "assign window A1 --open-ended --as sid",
    "the window is moved; the assignment is printed"
);
const AFTER_END: &str = after!(
    "assign end A1 --as sid",
    "assign end A1 --reason \"left\" --as sid",
    "it is over for the next decision; the assignment is printed"
);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    command: AssignCommand,
}

#[derive(Debug, Subcommand)]
enum AssignCommand {
    /// Assign a person to a client
    Add(Box<AddArgs>),
    /// Print the assignments of the organization
    List(ListArgs),
    /// Print one as it stands
    Show(ShowArgs),
    /// Move the window of one
    Window(WindowArgs),
    /// End one at once; nothing is deleted
    End(EndArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_ADD)]
struct AddArgs {
    /// Who may work with the client, by id
    #[arg(long, value_name = "ID")]
    user: String,
    /// The client, by id
    #[arg(long, value_name = "ID")]
    client: String,
    /// How far it reaches
    #[arg(long, default_value = "full", value_parser = PossibleValuesParser::new(Scope::ALL.map(Scope::as_str)))]
    scope: String,
    /// The payer's authorization that it rests on, by id
    #[arg(long, value_name = "ID")]
    authorization: Option<String>,
    /// Service codes that it is for, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "CODE")]
    codes: Vec<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    person: PersonArgs,
}

/// From when, and until when; what is not said stays, or begins now and has no end.
#[derive(Clone, Debug, clap::Args)]
struct Window {
    /// From when on [default: now; of a window that is moved: as it was]
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Until when
    #[arg(long, value_name = "INSTANT", conflicts_with_all = ["until_date", "open_ended"])]
    to: Option<String>,
    /// Until the end of a day, where the organization is
    #[arg(long, value_name = "DATE", conflicts_with = "open_ended")]
    until_date: Option<String>,
    /// Without an end
    #[arg(long)]
    open_ended: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_LIST)]
struct ListArgs {
    /// Those of one person
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Those to one client
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Which ones
    #[arg(long, value_parser = ["not_started", "active", "ended", "expired"])]
    state: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_SHOW)]
struct ShowArgs {
    /// The assignment
    #[arg(value_name = "ASSIGNMENT", value_parser = id)]
    id: String,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_WINDOW)]
struct WindowArgs {
    /// The assignment
    #[arg(value_name = "ASSIGNMENT", value_parser = id)]
    id: String,
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_END)]
struct EndArgs {
    /// The assignment
    #[arg(value_name = "ASSIGNMENT", value_parser = id)]
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    person: PersonArgs,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    match args.command {
        AssignCommand::Add(args) => ASSIGNMENTS.make(context, args.body(), &args.person),
        AssignCommand::List(args) => {
            let (user, client) = (args.user.as_deref(), args.client.as_deref());
            let words = [("user", user), ("client", client), ("state", args.state.as_deref())];
            ASSIGNMENTS.list(context, &words, (&args.page, &args.person))
        }
        AssignCommand::Show(args) => ASSIGNMENTS.show(context, &args.id, &args.person),
        AssignCommand::Window(args) => {
            args.window.must_say_something()?;
            ASSIGNMENTS.step(context, (&args.id, "window"), body(args.window.members()), (&args.state, &args.person))
        }
        AssignCommand::End(args) => {
            let said = body([("reason", args.reason.map(Json::from))]);
            ASSIGNMENTS.step(context, (&args.id, "end"), said, (&args.state, &args.person))
        }
    }
}

fn row(item: &Json) -> String {
    format!(
        "{:<36}  {:<11}  {} -> {}  {:<13}  {} to {}",
        cell(item, "/assignment_id"),
        cell(item, "/state"),
        cell(item, "/user"),
        cell(item, "/client"),
        cell(item, "/scope"),
        cell(item, "/from"),
        cell(item, "/to"),
    )
}

impl AddArgs {
    fn body(&self) -> Json {
        let members = [
            ("user", Some(Json::from(&*self.user))),
            ("client", Some(Json::from(&*self.client))),
            ("scope", Some(Json::from(&*self.scope))),
            ("service_authorization", self.authorization.as_deref().map(Json::from)),
            ("service_codes", (!self.codes.is_empty()).then(|| Json::from(self.codes.clone()))),
            ("reason", self.reason.as_deref().map(Json::from)),
        ];
        body(members.into_iter().chain(self.window.members()))
    }
}

impl Window {
    /// What a window is moved to has to be said, in this command's own words.
    fn must_say_something(&self) -> Result<(), Failure> {
        if self.members().iter().any(|(_, said)| said.is_some()) {
            return Ok(());
        }
        Err(Failure::new(Exit::Usage, "nothing says where the window is moved to")
            .next("give --to INSTANT, --until-date DATE, --open-ended or --from INSTANT"))
    }

    fn members(&self) -> [(&'static str, Option<Json>); 4] {
        [
            ("from", self.from.as_deref().map(Json::from)),
            ("to", self.to.as_deref().map(Json::from)),
            ("until_date", self.until_date.as_deref().map(Json::from)),
            ("open_ended", self.open_ended.then_some(Json::Bool(true))),
        ]
    }
}
