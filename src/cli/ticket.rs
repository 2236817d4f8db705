//! `chaperone ticket`: support access to records, over the admin API of a running sidecar.

use clap::{Subcommand, builder::PossibleValuesParser};
use serde_json::{Value as Json, json};

use super::{
    calls::{PageArgs, PersonArgs, Shown, StateArgs, after, body, cell, id, record},
    context::Context,
    exit::Exit,
    failure::Failure,
    thing::Thing,
};
use crate::domain::ticket::SOURCES;

const TICKETS: Thing = Thing {
    path: "/admin/v1/tickets",
    shown: Shown {
        words: &[
            "ticket_id",
            "state",
            "source",
            "engineer",
            "phi_needed",
            "opened_by",
            "opened_at",
            "expires_at",
            "resolved_at",
            "scope",
            "version",
        ],
        unsaid: &[("scope", "no record")],
    },
    row,
    none: "no ticket is there",
};

const AFTER: &str = after!("ticket open --engineer eng --phi-needed --as adm", "ticket resolve TK1 --as adm", "done");
const AFTER_OPEN: &str = after!(
    "ticket open --engineer eng --phi-needed --as adm",
    "ticket open --engineer eng --source email --as adm",
    "open; the ticket is printed"
);
const AFTER_LIST: &str = after!(
    "ticket list --as adm",
    "ticket list --engineer eng --state open --as adm",
    "the tickets of the organization are printed"
);
const AFTER_SHOW: &str =
    after!("ticket show TK1 --as adm", "ticket show TK1 -o json --as adm", "the ticket is printed");
const AFTER_SCOPE: &str = after!(
    "ticket scope TK1 --record Note/N6=clin.note --as adm",
    "ticket scope TK1 --record Note/N6=clin.sens --as adm",
    "the ticket covers that record too; the ticket is printed"
);
const AFTER_RELEASE: &str = after!(
    "ticket release TK8 --record Note/N5 --as adm",
    "ticket release TK9 --record Note/N5 --as adm",
    "the record is let go for this ticket; the ticket is printed"
);
const AFTER_RESOLVE: &str = after!(
    "ticket resolve TK1 --as adm",
    "ticket resolve TK1 -o json --as adm",
    "support sees nothing of it any more; the ticket is printed"
);
const AFTER_REOPEN: &str = after!(
    "ticket reopen TK3 --as adm",
    "ticket reopen TK3 -o json --as adm",
    "open until it would have been over by itself; the ticket is printed"
);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    command: TicketCommand,
}

#[derive(Debug, Subcommand)]
enum TicketCommand {
    /// Open one for an engineer
    Open(Box<OpenArgs>),
    /// Print those of the organization
    List(ListArgs),
    /// Print one as it stands
    #[command(after_help = AFTER_SHOW)]
    Show(OneArgs),
    /// Name another record, or other groups of one
    Scope(ScopeArgs),
    /// Let a record go that is kept from support
    Release(ReleaseArgs),
    /// Close one at once
    #[command(after_help = AFTER_RESOLVE)]
    Resolve(StepArgs),
    /// Open one again
    #[command(after_help = AFTER_REOPEN)]
    Reopen(StepArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_OPEN)]
struct OpenArgs {
    /// The engineer whom it serves, by id
    #[arg(long, value_name = "ID")]
    engineer: String,
    /// Where it comes from
    #[arg(long, default_value = "in_app", value_parser = PossibleValuesParser::new(SOURCES))]
    source: String,
    /// The engineer has to see health information
    #[arg(long)]
    phi_needed: bool,
    /// The engineer may learn who the client is
    #[arg(long)]
    phi_approved: bool,
    /// Until when [default: 72 hours]
    #[arg(long, value_name = "INSTANT")]
    expires_at: Option<String>,
    /// A record and its groups; may be given several times
    #[arg(long = "record", value_name = "TYPE/ID=GROUP,…", value_parser = scoped)]
    records: Vec<Json>,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_LIST)]
struct ListArgs {
    /// Those of one engineer
    #[arg(long, value_name = "ID")]
    engineer: Option<String>,
    /// Which ones
    #[arg(long, value_parser = ["open", "waiting", "expired", "resolved", "closed"])]
    state: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    /// The ticket
    #[arg(value_name = "TICKET", value_parser = id)]
    id: String,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
struct StepArgs {
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_SCOPE)]
struct ScopeArgs {
    /// The ticket
    #[arg(value_name = "TICKET", value_parser = id)]
    id: String,
    /// The record and its groups
    #[arg(long, value_name = "TYPE/ID=GROUP,…", value_parser = scoped)]
    record: Json,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_RELEASE)]
struct ReleaseArgs {
    /// The ticket
    #[arg(value_name = "TICKET", value_parser = id)]
    id: String,
    /// The record
    #[arg(long, value_name = "TYPE/ID", value_parser = record)]
    record: (String, String),
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    person: PersonArgs,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let step = |id: &str, verb: &str, body, state: &StateArgs, person: &PersonArgs| {
        TICKETS.step(context, (id, verb), body, (state, person))
    };
    let plain = |args: StepArgs, verb: &str| step(&args.one.id, verb, body([]), &args.state, &args.one.person);
    match args.command {
        TicketCommand::Open(args) => TICKETS.make(context, args.body(), &args.person),
        TicketCommand::List(args) => {
            let words = [("engineer", args.engineer.as_deref()), ("state", args.state.as_deref())];
            TICKETS.list(context, &words, (&args.page, &args.person))
        }
        TicketCommand::Show(args) => TICKETS.show(context, &args.id, &args.person),
        TicketCommand::Scope(args) => step(&args.id, "scope", args.record, &args.state, &args.person),
        TicketCommand::Release(args) => {
            let (kind, of) = &args.record;
            let body = json!({ "resource_type": kind, "resource_id": of });
            step(&args.id, "release", body, &args.state, &args.person)
        }
        TicketCommand::Resolve(args) => plain(args, "resolve"),
        TicketCommand::Reopen(args) => plain(args, "reopen"),
    }
}

fn row(item: &Json) -> String {
    let records = item.pointer("/scope").and_then(Json::as_array).map_or(0, Vec::len);
    format!(
        "{:<36}  {:<8}  {}  {} records  until {}",
        cell(item, "/ticket_id"),
        cell(item, "/state"),
        cell(item, "/engineer"),
        records,
        cell(item, "/expires_at"),
    )
}

impl OpenArgs {
    fn body(&self) -> Json {
        body([
            ("engineer", Some(Json::from(&*self.engineer))),
            ("source", Some(Json::from(&*self.source))),
            ("phi_needed", Some(Json::Bool(self.phi_needed))),
            ("phi_approved", Some(Json::Bool(self.phi_approved))),
            ("expires_at", self.expires_at.as_deref().map(Json::from)),
            ("scope", Some(Json::from(self.records.clone()))),
        ])
    }
}

/// A record with the groups that support may see of it.
fn scoped(text: &str) -> Result<Json, String> {
    let (of, groups) = text.split_once('=').ok_or("a record and its groups, as `Note/N1=clin.note`")?;
    let (kind, id) = record(of)?;
    let groups: Vec<&str> = groups.split(',').filter(|group| !group.is_empty()).collect();
    Ok(json!({ "resource_type": kind, "resource_id": id, "fields": groups }))
}
