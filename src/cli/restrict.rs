//! `chaperone restrict`: the restrictions of clients, over the admin API of a running sidecar.

use clap::{Subcommand, builder::PossibleValuesParser};
use serde_json::Value as Json;

use super::{
    calls::{PageArgs, PersonArgs, Shown, StateArgs, after, body, cell, id, record},
    context::Context,
    exit::Exit,
    failure::Failure,
    thing::Thing,
};
use crate::domain::restriction::{ENDINGS, KINDS, TARGETS};

const RESTRICTIONS: Thing = Thing {
    path: "/admin/v1/restrictions",
    shown: Shown {
        words: &[
            "restriction_id",
            "state",
            "client",
            "kind",
            "target_type",
            "target_id",
            "resource_type",
            "resource_id",
            "fields",
            "from",
            "to",
            "version",
        ],
        unsaid: &[("fields", "whole record"), ("to", "without an end")],
    },
    row,
    none: "the client has none",
};

const AFTER: &str = after!("restrict request --client C1 --target all --as pri", "restrict agree RS3 --as pri", "done");
const AFTER_REQUEST: &str = after!(
    "restrict request --client C1 --target all --as pri",
    "restrict request --client C2 --target all --as pri",
    "asked for, not yet in force; the restriction is printed"
);
const AFTER_LIST: &str = after!(
    "restrict list --client C1 --as pri",
    "restrict list --client C1 --state agreed --as pri",
    "the restrictions of the client are printed"
);
const AFTER_SHOW: &str =
    after!("restrict show RS1 --as pri", "restrict show RS1 -o json --as pri", "the restriction is printed");
const AFTER_AGREE: &str = after!(
    "restrict agree RS3 --as pri",
    "restrict agree RS3 -o json --as pri",
    "in force from its start on; the restriction is printed"
);
const AFTER_DECLINE: &str = after!(
    "restrict decline RS3 --as pri",
    "restrict decline RS3 -o json --as pri",
    "never in force; the restriction is printed"
);
const AFTER_TERMINATE: &str = after!(
    "restrict terminate RS1 request --as pri",
    "restrict terminate RS1 notice --as pri",
    "over, or after a notice kept for what was made before; the restriction is printed"
);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    command: RestrictCommand,
}

#[derive(Debug, Subcommand)]
enum RestrictCommand {
    /// Enter what a client asks for
    Request(Box<RequestArgs>),
    /// Print those of one client
    List(ListArgs),
    /// Print one as it stands
    #[command(after_help = AFTER_SHOW)]
    Show(OneArgs),
    /// Agree to one: in force from its start on
    #[command(after_help = AFTER_AGREE)]
    Agree(StepArgs),
    /// Decline one: never in force
    #[command(after_help = AFTER_DECLINE)]
    Decline(StepArgs),
    /// End one
    Terminate(TerminateArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_REQUEST)]
struct RequestArgs {
    /// The client, by id
    #[arg(long, value_name = "ID")]
    client: String,
    /// From whom it is kept
    #[arg(long, value_parser = PossibleValuesParser::new(TARGETS))]
    target: String,
    /// Which one of them
    #[arg(long, value_name = "ID")]
    target_id: Option<String>,
    /// One that is agreed to, or one for what was paid in full
    #[arg(long, default_value = "agreed", value_parser = PossibleValuesParser::new(KINDS))]
    kind: String,
    /// One record, as Note/N1 [default: every record of the client]
    #[arg(long, value_name = "TYPE/ID", value_parser = record)]
    record: Option<(String, String)>,
    /// Field groups, separated by commas [default: the whole record]
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    fields: Vec<String>,
    /// An emergency does not lift it
    #[arg(long)]
    even_in_emergency: bool,
    /// From when on
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Until when
    #[arg(long, value_name = "INSTANT")]
    to: Option<String>,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_LIST)]
struct ListArgs {
    /// The client, by id
    #[arg(long, value_name = "ID")]
    client: String,
    /// Which ones
    #[arg(long, value_parser = ["requested", "agreed", "not_started", "expired", "declined", "terminated"])]
    state: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    /// The restriction
    #[arg(value_name = "RESTRICTION", value_parser = id)]
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
#[command(after_help = AFTER_TERMINATE)]
struct TerminateArgs {
    /// The restriction
    #[arg(value_name = "RESTRICTION", value_parser = id)]
    id: String,
    /// In which of the ways that 45 CFR 164.522(a)(2) knows
    #[arg(value_parser = PossibleValuesParser::new(ENDINGS))]
    how: String,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    person: PersonArgs,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let step = |id: &str, verb: &str, body, state: &StateArgs, person: &PersonArgs| {
        RESTRICTIONS.step(context, (id, verb), body, (state, person))
    };
    let plain = |args: StepArgs, verb: &str| step(&args.one.id, verb, body([]), &args.state, &args.one.person);
    match args.command {
        RestrictCommand::Request(args) => RESTRICTIONS.make(context, args.body(), &args.person),
        RestrictCommand::List(args) => {
            let words = [("client", Some(&*args.client)), ("state", args.state.as_deref())];
            RESTRICTIONS.list(context, &words, (&args.page, &args.person))
        }
        RestrictCommand::Show(args) => RESTRICTIONS.show(context, &args.id, &args.person),
        RestrictCommand::Agree(args) => plain(args, "agree"),
        RestrictCommand::Decline(args) => plain(args, "decline"),
        RestrictCommand::Terminate(args) => {
            step(&args.id, "terminate", body([("how", Some(Json::from(args.how)))]), &args.state, &args.person)
        }
    }
}

fn row(item: &Json) -> String {
    let fields = item.pointer("/fields").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let fields: Vec<&str> = fields.iter().filter_map(Json::as_str).collect();
    format!(
        "{:<36}  {:<11}  {} from {} {}  {}",
        cell(item, "/restriction_id"),
        cell(item, "/state"),
        cell(item, "/client"),
        cell(item, "/target_type"),
        cell(item, "/target_id"),
        if fields.is_empty() { "whole record".to_owned() } else { fields.join(" ") },
    )
}

impl RequestArgs {
    fn body(&self) -> Json {
        let word = |word: &String| Json::from(word.as_str());
        body([
            ("client", Some(word(&self.client))),
            ("target_type", Some(word(&self.target))),
            ("target_id", self.target_id.as_ref().map(word)),
            ("kind", Some(word(&self.kind))),
            ("resource_type", self.record.as_ref().map(|(kind, _)| word(kind))),
            ("resource_id", self.record.as_ref().map(|(_, id)| word(id))),
            ("fields", (!self.fields.is_empty()).then(|| Json::from(self.fields.clone()))),
            ("emergency_exception", self.even_in_emergency.then_some(Json::Bool(false))),
            ("from", self.from.as_ref().map(word)),
            ("to", self.to.as_ref().map(word)),
        ])
    }
}
