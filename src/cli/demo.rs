//! `chaperone demo`: a whole clinic on this machine.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use jiff::Timestamp;

use super::{context::Context, exit::Exit, failure::Failure, instant::instant, output::say};
use crate::{
    app::{self, Listening, Process, Start, demo::DemoFolder},
    clock::FrozenClock,
    config::{self, Input},
};

const AFTER: &str = "\
Examples:
  chaperone demo
  chaperone demo --dir ./clinic --listen 127.0.0.1:0

Exit codes:
  0  stopped as asked
  1  could not run: the folder is in use, an address is taken";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// Folder of the databases, the trail, and copies of policies and schemas to edit [default: a fresh temporary one]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// The instant at which the clock stands
    #[arg(long, value_name = "INSTANT", value_parser = instant, default_value = "2026-03-10T15:00:00Z")]
    pub(super) at: Timestamp,
    /// Where callers ask; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8380")]
    pub(super) listen: SocketAddr,
    /// Where the admin API, health and metrics answer
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8381")]
    pub(super) admin_listen: SocketAddr,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let folder = match &args.dir {
        Some(dir) => DemoFolder::at(dir)?,
        None => DemoFolder::temporary()?,
    };
    context.block_on(folder.furnish(args.listen, args.admin_listen))??;
    let input = Input { file: Some(folder.config_file()), environment: context.environment.clone(), flags: Vec::new() };
    let loaded = config::load(&input)?;
    let telemetry = context.telemetry(&loaded.config.telemetry)?;
    let clock = FrozenClock::at(args.at);
    let told = folder.clone();
    let start = Start {
        process: Process::Demo,
        config: loaded.config,
        clock: Arc::new(clock.clone()),
        metrics: telemetry.metrics.clone(),
        demo_clock: Some(clock),
        on_listening: Box::new(move |listening| {
            told.say_listening(listening)?;
            say(greeting(&told, listening, args.at));
            Ok(())
        }),
    };
    context.block_on(app::run(start))??;
    Ok(Exit::Done)
}

/// Calls to try: each works when pasted.
fn greeting(folder: &DemoFolder, listening: &Listening, at: Timestamp) -> String {
    let dir = folder.path().display();
    let listen = listening.tcp.map(|address| address.to_string()).unwrap_or_default();
    let admin = listening.admin.map(|address| address.to_string()).unwrap_or_default();
    let session = r#""session":{"mfa":true,"idle_seconds":12,"age_seconds":900}"#;
    let call = |path: &str, body: &str| {
        format!(
            "  curl -s http://{listen}{path} -H \"Authorization: Bearer $(cat {dir}/token)\" \\\n    -H 'Content-Type: application/json' -d '{body}'"
        )
    };
    let question = |subject: &str, fields: &str, kind: &str, id: &str| {
        format!(
            r#"{{"subject":{{"type":"User","id":"{subject}"}},"action":{{"name":"read","properties":{{"fields":[{fields}]}}}},"resource":{{"type":"{kind}","id":"{id}"}},"context":{{{session}}}}}"#
        )
    };
    format!(
        "A whole clinic, on a clock that stands at {at}.\n\
         \n\
         callers  http://{listen}  and {dir}/pdp.sock\n\
         admin    http://{admin}  (health and metrics too)\n\
         folder   {dir}\n\
         \n\
         Ana is assigned to client C1 and reads her note:\n{}\n\
         \n\
         She is not assigned to C4; the answer says why, and what would lawfully help:\n{}\n\
         \n\
         Billing sees money, not notes:\n{}\n\
         \n\
         Tomorrow Ben's assignment to C4 begins. Today he is denied; move the clock (it stays where it is put) and ask again:\n{}\n{}\n\
         \n\
         Operators have a listener and a token of their own:\n  curl -s http://{admin}/admin/v1/status -H \"Authorization: Bearer $(cat {dir}/admin-token)\"\n\
         \n\
         Every answer above is in the trail:\n  chaperone audit tail {dir}/audit\n  chaperone audit verify {dir}/audit\n\
         \n\
         The next decision follows what you edit in {dir}/policies, and what any program writes to {dir}/app.db (the\n\
         clinic's own tables) or {dir}/store.db (assignments, restrictions, consents, tickets, grants). Ctrl-C stops.\n\
         Accepted for a demo only: if this folder is on a volume that does not outlive the machine, so is its trail.",
        call("/access/v1/evaluation", &question("ana", r#""clin.note","id.gov""#, "Note", "N1")),
        call("/access/v1/evaluation", &question("ana", r#""clin.summary""#, "Client", "C4")),
        call("/access/v1/evaluation", &question("bil", r#""clin.note""#, "Note", "N1")),
        call("/access/v1/evaluation", &question("ben", r#""clin.summary""#, "Client", "C4")),
        call("/demo/v1/clock", r#"{"now":"2026-03-11T00:00:00Z"}"#),
    )
}
