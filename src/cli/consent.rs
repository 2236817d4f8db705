//! `chaperone consent`: what clients signed, over the admin API of a running sidecar.

use clap::{Subcommand, builder::PossibleValuesParser};
use serde_json::Value as Json;

use super::{
    calls::{PageArgs, PersonArgs, Shown, StateArgs, after, body, cell, id},
    context::Context,
    exit::Exit,
    failure::Failure,
    thing::Thing,
};
use crate::domain::consent::KINDS;

const CONSENTS: Thing = Thing {
    path: "/admin/v1/consents",
    shown: Shown {
        words: &[
            "consent_id",
            "state",
            "client",
            "kind",
            "discloser",
            "recipient",
            "purposes",
            "fields",
            "signed_by",
            "signed_at",
            "expires_at",
            "revoked_at",
            "revoked_by",
            "version",
        ],
        unsaid: &[("expires_at", "until it is revoked")],
    },
    row,
    none: "the client has none",
};

const AFTER: &str = after!("consent list --client C2 --as pri", "consent revoke CS1 --as pri", "done");
const AFTER_SIGN: &str = "\
Examples:
  chaperone consent sign C2 part2_tpo T1 bil --purposes HPAYMT --fields clin.sud --by C2 \\
    --as pri --session mfa=true,idle_seconds=5,age_seconds=60,tenant=T1 \\
    --url http://127.0.0.1:8381 --token-file admin-token
  chaperone consent sign C2 hipaa_508 T1 bil --purposes HPAYMT --fields clin.note --by C2 \\
    --expires-at 2027-01-01T00:00:00Z --url http://127.0.0.1:8381 --token-file admin-token \\
    --as pri --session mfa=true,idle_seconds=5,age_seconds=60,tenant=T1

Exit codes:
  0  it counts for the next decision; the consent is printed
  1  could not run, or it was refused
  2  wrong usage";
const AFTER_LIST: &str = after!(
    "consent list --client C2 --as pri",
    "consent list --client C2 --state in_force --as pri",
    "the consents of the client are printed"
);
const AFTER_SHOW: &str =
    after!("consent show CS1 --as pri", "consent show CS1 -o json --as pri", "the consent is printed");
const AFTER_REVOKE: &str = after!(
    "consent revoke CS1 --as pri",
    "consent revoke CS1 -o json --as pri",
    "worth nothing for the next decision; the consent is printed"
);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    command: ConsentCommand,
}

#[derive(Debug, Subcommand)]
enum ConsentCommand {
    /// Enter one that was signed
    Sign(Box<SignArgs>),
    /// Print those of one client
    List(ListArgs),
    /// Print one as it stands
    #[command(after_help = AFTER_SHOW)]
    Show(OneArgs),
    /// Revoke one: worth nothing from now on
    #[command(after_help = AFTER_REVOKE)]
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_SIGN)]
struct SignArgs {
    /// The client, by id
    #[arg(value_name = "CLIENT")]
    client: String,
    /// What it permits
    #[arg(value_parser = PossibleValuesParser::new(KINDS))]
    kind: String,
    /// Who may disclose
    #[arg(value_name = "DISCLOSER")]
    discloser: String,
    /// To whom
    #[arg(value_name = "RECIPIENT")]
    recipient: String,
    /// What for, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "PURPOSE", required = true)]
    purposes: Vec<String>,
    /// Field groups, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "GROUP", required = true)]
    fields: Vec<String>,
    /// Who signed it, by id
    #[arg(long = "by", value_name = "ID")]
    signed_by: String,
    /// When, if not now
    #[arg(long, value_name = "INSTANT")]
    signed_at: Option<String>,
    /// Until when; `part2_tpo` alone may leave it open
    #[arg(long, value_name = "INSTANT")]
    expires_at: Option<String>,
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
    #[arg(long, value_parser = ["in_force", "expired", "revoked"])]
    state: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    /// The consent
    #[arg(value_name = "CONSENT", value_parser = id)]
    id: String,
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
struct RevokeArgs {
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    state: StateArgs,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    match args.command {
        ConsentCommand::Sign(args) => CONSENTS.make(context, args.body(), &args.person),
        ConsentCommand::List(args) => {
            let words = [("client", Some(&*args.client)), ("state", args.state.as_deref())];
            CONSENTS.list(context, &words, (&args.page, &args.person))
        }
        ConsentCommand::Show(args) => CONSENTS.show(context, &args.id, &args.person),
        ConsentCommand::Revoke(args) => {
            CONSENTS.step(context, (&args.one.id, "revoke"), body([]), (&args.state, &args.one.person))
        }
    }
}

fn row(item: &Json) -> String {
    format!(
        "{:<36}  {:<8}  {:<17}  {} -> {}  until {}",
        cell(item, "/consent_id"),
        cell(item, "/state"),
        cell(item, "/kind"),
        cell(item, "/discloser"),
        cell(item, "/recipient"),
        cell(item, "/expires_at"),
    )
}

impl SignArgs {
    fn body(&self) -> Json {
        let word = |word: &str| Some(Json::from(word));
        body([
            ("client", word(&self.client)),
            ("kind", word(&self.kind)),
            ("discloser", word(&self.discloser)),
            ("recipient", word(&self.recipient)),
            ("purposes", Some(Json::from(self.purposes.clone()))),
            ("fields", Some(Json::from(self.fields.clone()))),
            ("signed_by", word(&self.signed_by)),
            ("signed_at", self.signed_at.as_deref().map(Json::from)),
            ("expires_at", self.expires_at.as_deref().map(Json::from)),
        ])
    }
}
