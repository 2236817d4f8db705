//! `chaperone grant`: emergency access, over the callers' interface of a running sidecar.

use std::{fs, path::PathBuf};

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value as Json, json};

use super::{
    calls::{Call, Format, PlaceArgs, Shown, StateArgs, id, json, lines},
    context::Context,
    exit::Exit,
    failure::Failure,
    output::print,
    session,
};

const AFTER: &str = "\
Examples:
  chaperone grant request --for ana --client C4 --reason COVERING --why-file why.txt \\
    --session mfa=true,idle_seconds=5,age_seconds=60 --socket pdp.sock
  chaperone grant end 019a8c5e-0f3c-7000-8000-000000000001 --socket /run/chaperone/pdp.sock

Exit codes:
  0  done; the grant is printed
  1  could not run, or it was refused
  2  wrong usage";

const AFTER_REQUEST: &str = "\
Examples:
  chaperone grant request --for ana --client C4 --reason COVERING --why-file why.txt \\
    --session mfa=true,idle_seconds=5,age_seconds=60 --socket pdp.sock
  chaperone grant request --for ana --client C4 --reason COVERING --why-file w --minutes 9 \\
    --session mfa=true,idle_seconds=5,age_seconds=60 --socket pdp.sock

Exit codes:
  0  granted, or waiting for an approval: the grant is printed
  1  could not run, or it was refused
  2  wrong usage";

const AFTER_EXTEND: &str = "\
Examples:
  chaperone grant extend 019a8c5e-0f3c-7000-8000-000000000001 --why-file why.txt --socket s.sock
  chaperone grant extend 019a8c5e-0f3c-7000-8000-000000000001 --minutes 30 --why-file w --socket s

Exit codes:
  0  it runs on; the grant is printed
  1  could not run, or it was refused
  2  wrong usage";

const AFTER_END: &str = "\
Examples:
  chaperone grant end 019a8c5e-0f3c-7000-8000-000000000001 --socket /run/chaperone/pdp.sock
  chaperone grant end 019a8c5e-0f3c-7000-8000-000000000001 --url http://[::1]:8380 --token-file t

Exit codes:
  0  it is over; the grant is printed
  1  could not run, there is no such grant, or it is over already
  2  wrong usage";

const AFTER_SHOW: &str = "\
Examples:
  chaperone grant show 019a8c5e-0f3c-7000-8000-000000000001 --socket /run/chaperone/pdp.sock
  chaperone grant show 019a8c5e-0f3c-7000-8000-000000000001 -o json --socket s.sock

Exit codes:
  0  the grant is printed
  1  could not run, or there is no such grant
  2  wrong usage";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    command: GrantCommand,
}

#[derive(Debug, Subcommand)]
enum GrantCommand {
    /// Ask for emergency access to one client
    Request(Box<RequestArgs>),
    /// Let it run longer, once
    Extend(ExtendArgs),
    /// Give it back
    #[command(after_help = AFTER_END)]
    End(EndArgs),
    /// Print it as it stands
    #[command(after_help = AFTER_SHOW)]
    Show(OneArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_REQUEST)]
struct RequestArgs {
    /// Who needs it, by id
    #[arg(long = "for", value_name = "ID")]
    person: String,
    /// The client, by id
    #[arg(long, value_name = "ID")]
    client: String,
    /// The reason code, as EMERG_TREAT
    #[arg(long, value_name = "CODE")]
    reason: String,
    #[command(flatten)]
    why: WhyArgs,
    /// Other field groups instead of the default ones, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    fields: Vec<String>,
    /// How long: 60 where it is not said and 240 at most, unless `grants` in the configuration says otherwise
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u32>,
    /// The person's session, as `mfa=true,idle_seconds=5,age_seconds=60`; what is not said counts against it
    #[arg(long, value_name = "PAIRS", value_parser = session::pairs)]
    session: Option<Map<String, Json>>,
    /// To whom records of substance use go
    #[arg(long, value_name = "NAME", requires = "affiliation")]
    recipient: Option<String>,
    /// Where that person works
    #[arg(long, value_name = "NAME", requires = "recipient")]
    affiliation: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WhyArgs {
    /// Why, in a sentence
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// A file that says why: a command line is seen by others
    #[arg(long, value_name = "FILE")]
    why_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_EXTEND)]
struct ExtendArgs {
    /// The grant
    #[arg(value_name = "GRANT", value_parser = id)]
    id: String,
    #[command(flatten)]
    why: WhyArgs,
    /// How much longer
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u32>,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, clap::Args)]
struct EndArgs {
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    /// The grant
    #[arg(value_name = "GRANT", value_parser = id)]
    id: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let (place, state, call) = match args.command {
        GrantCommand::Request(args) => {
            let body = args.body()?;
            (args.place, StateArgs::default(), (Method::POST, "/grants/v1/emergency".to_owned(), Some(body)))
        }
        GrantCommand::Extend(args) => {
            let mut body = json!({ "justification": args.why.text()? });
            put(&mut body, "duration_seconds", args.minutes.map(|minutes| Json::from(u64::from(minutes) * 60)));
            (args.place, args.state, (Method::POST, format!("/grants/v1/{}/extend", args.id), Some(body)))
        }
        GrantCommand::End(EndArgs { one, state }) => {
            (one.place, state, (Method::POST, format!("/grants/v1/{}/end", one.id), Some(json!({}))))
        }
        GrantCommand::Show(args) => {
            (args.place, StateArgs::default(), (Method::GET, format!("/grants/v1/{}", args.id), None))
        }
    };
    let (method, path, body) = call;
    let answer = context.block_on(place.call(Call { method, path: &path, body }, &state))??;
    const SHOWN: Shown<'_> = Shown {
        words: &[
            "grant_id",
            "state",
            "user",
            "client",
            "reason_code",
            "expires_at",
            "ended_at",
            "approve_by",
            "fields",
            "version",
        ],
        unsaid: &[],
    };
    print(match place.output {
        Format::Pretty => lines(&answer, &SHOWN),
        Format::Json => json(&answer),
    })?;
    Ok(Exit::Done)
}

impl RequestArgs {
    fn body(&self) -> Result<Json, Failure> {
        let mut body = json!({
            "subject": { "type": "User", "id": self.person },
            "client": self.client,
            "reason_code": self.reason,
            "justification": self.why.text()?,
        });
        put(&mut body, "session", self.session.clone().map(Json::Object));
        put(&mut body, "fields", (!self.fields.is_empty()).then(|| Json::from(self.fields.clone())));
        put(&mut body, "duration_seconds", self.minutes.map(|minutes| Json::from(u64::from(minutes) * 60)));
        let recipient = self.recipient.as_ref().zip(self.affiliation.as_ref());
        put(&mut body, "recipient", recipient.map(|(name, at)| json!({ "name": name, "affiliation": at })));
        Ok(body)
    }
}

impl WhyArgs {
    fn text(&self) -> Result<String, Failure> {
        match &self.why_file {
            None => Ok(self.why.clone().unwrap_or_default()),
            Some(file) => fs::read_to_string(file).map(|text| text.trim().to_owned()).map_err(|error| {
                Failure::of(Exit::CannotRun, &error)
                    .because("the justification cannot be read")
                    .at(file.display().to_string())
            }),
        }
    }
}

fn put(body: &mut Json, name: &str, value: Option<Json>) {
    if let (Json::Object(body), Some(value)) = (body, value) {
        body.insert(name.to_owned(), value);
    }
}
