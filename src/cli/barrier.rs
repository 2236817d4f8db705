//! `chaperone barrier`: returns once what was revoked before can allow nothing, at the admin listener of a running sidecar.

use http::Method;
use serde_json::{Value as Json, json};

use super::{
    bundle::plural,
    calls::{self, Call, DeskArgs, Format},
    context::Context,
    exit::Exit,
    failure::Failure,
    output::print,
};

const AFTER: &str = "\
Examples:
  chaperone barrier --all --url http://127.0.0.1:8381 --token-file admin-token
  chaperone barrier --url http://127.0.0.1:8381 --token-file admin-token -o json

Exit codes:
  0  what was committed before the call can allow nothing any more, there or, with --all, on every sidecar
  1  could not run, or one has not confirmed it: it is named, with why
  2  wrong usage

`gone` are sidecars that were not seen for so long that they are killed or cut off from the store; they hold nobody up.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// On every sidecar of the store, not on this one alone
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    desk: DeskArgs,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let body = Some(json!({ "scope": if args.all { "all" } else { "this" } }));
    let call = Call { method: Method::POST, path: "/admin/v1/barrier", body };
    let told = context.block_on(args.desk.call(call))??;
    print(match args.desk.output {
        Format::Pretty => words(&told),
        Format::Json => calls::json(&told),
    })?;
    judged(&told, args.all)
}

/// One sidecar a line; of this one alone, what each source rests on.
fn words(told: &Json) -> String {
    let mut lines = vec![format!("barrier       {}", calls::cell(told, "/barrier"))];
    for (source, how) in told.get("sources").and_then(Json::as_object).into_iter().flatten() {
        lines.push(format!("{source:<12}  {}", how.as_str().unwrap_or("-")));
    }
    for list in ["confirmed", "unconfirmed", "gone"] {
        for one in told.get(list).and_then(Json::as_array).into_iter().flatten() {
            let (id, process) = (calls::cell(one, "/sidecar"), calls::cell(one, "/process"));
            let (host, seen) = (calls::cell(one, "/host"), calls::cell(one, "/last_seen"));
            let why = one.get("why").and_then(Json::as_str).map(|why| format!("  {why}")).unwrap_or_default();
            lines.push(format!("{list:<12}  {id}  {process} on {host}  last seen {seen}{why}"));
        }
    }
    lines.join("\n")
}

/// What is not said to be in force is not.
fn judged(told: &Json, is_for_all: bool) -> Result<Exit, Failure> {
    let is_reached = told.get("barrier").and_then(Json::as_str) == Some("reached");
    let is_in_force = told.get("in_force").and_then(Json::as_bool) == Some(true);
    if is_reached && (is_in_force || !is_for_all) {
        return Ok(Exit::Done);
    }
    let late = told.get("unconfirmed").and_then(Json::as_array).map_or(0, Vec::len);
    let what = match late {
        0 => "it is not known to be in force everywhere".to_owned(),
        1 => "1 sidecar has not confirmed".to_owned(),
        _ => format!("{} have not confirmed", plural(late, "sidecar")),
    };
    Err(Failure::new(Exit::CannotRun, format!("{what}: what was revoked may still allow something there"))
        .next("ask again; look at a sidecar that goes on not to confirm: is it alive, and does it reach the store?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sidecar_is_printed_with_where_it_stands_and_why_it_has_not_confirmed() {
        let one =
            |id: &str| json!({ "sidecar": id, "process": "serve", "host": "h", "last_seen": "2026-03-10T15:00:00Z" });
        let mut late = one("S2");
        late["why"] = "its own barrier failed".into();
        let told = json!({ "barrier": "not_reached", "in_force": false, "confirmed": [one("S1")], "unconfirmed": [late],
            "gone": [one("S3")] });
        assert_eq!(
            words(&told),
            "barrier       not_reached\n\
             confirmed     S1  serve on h  last seen 2026-03-10T15:00:00Z\n\
             unconfirmed   S2  serve on h  last seen 2026-03-10T15:00:00Z  its own barrier failed\n\
             gone          S3  serve on h  last seen 2026-03-10T15:00:00Z"
        );
        let here = json!({ "barrier": "reached", "sources": { "app": "polled" } });
        assert_eq!(words(&here), "barrier       reached\napp           polled");
    }

    #[test]
    fn only_what_is_said_to_be_in_force_everywhere_ends_with_nothing() {
        let all = |told: Json| judged(&told, true);
        assert_eq!(all(json!({ "barrier": "reached", "in_force": true })).unwrap(), Exit::Done);
        let late = json!({ "barrier": "not_reached", "in_force": false, "unconfirmed": [{}, {}] });
        let failure = all(late).unwrap_err();
        assert_eq!(failure.exit, Exit::CannotRun);
        assert!(failure.what.starts_with("2 sidecars have not confirmed"), "{}", failure.what);
        // The answer of a sidecar for itself is none for all.
        let here = json!({ "barrier": "reached", "sources": {} });
        assert_eq!(judged(&here, false).unwrap(), Exit::Done);
        assert!(all(here).is_err() && judged(&json!({}), false).is_err());
    }
}
