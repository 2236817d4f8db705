//! One call to a running sidecar that changes or lists something: where it is, who speaks, what it answered.

use std::{fs, path::PathBuf, time::Duration};

use clap::ValueEnum;
use http::Method;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{
    context::Context,
    exit::Exit,
    failure::Failure,
    output::{print, say},
    remote, session,
};

/// A sidecar answers in milliseconds, and a barrier over all within 10 s; more than this is an outage.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What stands under the help of a command that makes one call as an administrator: two examples, to which a whole
/// session is added, and its exit codes.
macro_rules! after {
    ($one:literal, $two:literal, $done:literal) => {
        concat!(
            "Examples:\n  chaperone ",
            $one,
            " --url http://127.0.0.1:8381 \\\n    --session mfa=true,idle_seconds=5,age_seconds=60,tenant=T1 \
             --token-file admin-token\n  chaperone ",
            $two,
            " --url http://127.0.0.1:8381 \\\n    --session mfa=true,idle_seconds=5,age_seconds=60,tenant=T1 \
             --token-file admin-token\n\nExit codes:\n  0  ",
            $done,
            "\n  1  could not run, or it was refused\n  2  wrong usage"
        )
    };
}
pub(super) use after;

/// Where the sidecar is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct PlaceArgs {
    /// The listener's URL
    #[arg(long, value_name = "URL", required_unless_present = "socket", requires = "token_file")]
    url: Option<String>,
    /// The callers' Unix socket
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// The file that holds the token for --url
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
}

/// Where the admin listener is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DeskArgs {
    /// The admin listener's URL
    #[arg(long, value_name = "URL")]
    url: String,
    /// The file that holds its token
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
}

/// Who the administrator is, for an admin listener that is `asserted`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct PersonArgs {
    #[command(flatten)]
    desk: DeskArgs,
    /// Who the administrator is, by id
    #[arg(long = "as", value_name = "ID")]
    person: String,
    /// Their session, as `mfa=true,idle_seconds=5,age_seconds=60,tenant=T1`; what is not said counts against it
    #[arg(long, value_name = "PAIRS", value_parser = session::typed)]
    session: String,
}

/// Which state a change rests on.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct StateArgs {
    /// Only while it has this `version`, as it was printed
    #[arg(long, value_name = "VERSION", value_parser = version, allow_hyphen_values = true)]
    if_match: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct PageArgs {
    /// How many at most
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    limit: u8,
    /// Where the list before ended, as it said
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// A list of the admin API: where, narrowed by which words, and how a person reads it.
pub(super) struct Listing<'a> {
    pub(super) path: &'a str,
    pub(super) words: &'a [(&'a str, Option<&'a str>)],
    pub(super) row: fn(&Json) -> String,
    /// What is said where there is none.
    pub(super) none: &'a str,
}

/// Which words of an answer a person reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub(super) words: &'a [&'a str],
    /// What it means that one of them is not said: without it, it is left out.
    pub(super) unsaid: &'a [(&'a str, &'a str)],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    #[default]
    Pretty,
    Json,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<Json>,
}

impl PlaceArgs {
    /// Makes a call, about a thing that is still in a state where one is said.
    pub(super) async fn call(&self, call: Call<'_>, state: &StateArgs) -> Result<Json, Failure> {
        let url = self.url.as_deref().unwrap_or("http://localhost");
        let place = match (&self.url, &self.socket) {
            (None, Some(socket)) => socket.display().to_string(),
            (Some(_), _) | (None, None) => url.to_owned(),
        };
        let said: Vec<_> = state.header().into_iter().collect();
        send(url, self.socket.as_ref(), self.token_file.as_ref(), &said, call, &place).await
    }
}

impl StateArgs {
    fn header(&self) -> Option<(&'static str, String)> {
        let version = self.if_match.as_deref()?;
        Some(("if-match", if version == "*" { version.to_owned() } else { format!("\"{version}\"") }))
    }
}

impl DeskArgs {
    /// Makes a call of operators, behind which no person stands.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Json, Failure> {
        self.send(&[], call).await
    }

    async fn send(&self, said: &[(&str, String)], call: Call<'_>) -> Result<Json, Failure> {
        send(&self.url, None, Some(&self.token_file), said, call, &self.url).await
    }
}

impl PersonArgs {
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Json, Failure> {
        self.change(call, &StateArgs::default()).await
    }

    async fn change(&self, call: Call<'_>, state: &StateArgs) -> Result<Json, Failure> {
        let said = [("chaperone-principal", self.person.clone()), ("chaperone-session", self.session.clone())];
        let said: Vec<_> = said.into_iter().chain(state.header()).collect();
        self.desk.send(&said, call).await
    }

    /// Makes a call about one thing, and prints what it is then: these words of it, or all as JSON.
    pub(super) fn show(&self, context: &Context<'_>, call: Call<'_>, shown: &Shown<'_>) -> Result<Exit, Failure> {
        self.show_changed(context, call, &StateArgs::default(), shown)
    }

    /// The same for a change of a thing that is there, if it is still in a state.
    pub(super) fn show_changed(
        &self,
        context: &Context<'_>,
        call: Call<'_>,
        state: &StateArgs,
        shown: &Shown<'_>,
    ) -> Result<Exit, Failure> {
        let answer = context.block_on(self.change(call, state))??;
        print(match self.desk.output {
            Format::Pretty => lines(&answer, shown),
            Format::Json => json(&answer),
        })?;
        Ok(Exit::Done)
    }

    /// Prints a page of a list, and says where the next one begins.
    pub(super) fn list(&self, context: &Context<'_>, list: &Listing<'_>, page: &PageArgs) -> Result<Exit, Failure> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &page.limit.to_string());
        for (name, word) in list.words.iter().chain(&[("cursor", page.cursor.as_deref())]) {
            if let Some(word) = word {
                query.append_pair(name, word);
            }
        }
        let path = format!("{}?{}", list.path, query.finish());
        let answer = context.block_on(self.call(Call { method: Method::GET, path: &path, body: None }))??;
        if self.desk.output == Format::Json {
            print(json(&answer))?;
            return Ok(Exit::Done);
        }
        let items = answer.get("items").and_then(Json::as_array).cloned().unwrap_or_default();
        if items.is_empty() {
            say(list.none);
        }
        for item in &items {
            print((list.row)(item))?;
        }
        if let Some(next) = answer.get("next").and_then(Json::as_str) {
            say(format_args!("more: --cursor {next}"));
        }
        Ok(Exit::Done)
    }
}

/// An id as a part of a path: what would be another path is no id.
pub(super) fn id(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) && !text.bytes().all(|byte| byte == b'.') {
        Ok(text.to_owned())
    } else {
        Err("an id has letters, digits and `-._~:@`".to_owned())
    }
}

/// A version as it was printed, or `*` for any.
fn version(text: &str) -> Result<String, String> {
    // As an ETag may be written: what is behind a quote would be another header's.
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') {
        Ok(text.to_owned())
    } else {
        Err("a version is one word, as the command that shows the thing prints it".to_owned())
    }
}

/// A record, as TYPE/ID.
pub(super) fn record(text: &str) -> Result<(String, String), String> {
    let (kind, id) = text.split_once('/').ok_or("a type and an id, as `Note/N1`")?;
    if kind.is_empty() || id.is_empty() {
        Err("a type and an id, as `Note/N1`".to_owned())
    } else {
        Ok((kind.to_owned(), id.to_owned()))
    }
}

/// The members of a body that were said.
pub(super) fn body(members: impl IntoIterator<Item = (&'static str, Option<Json>)>) -> Json {
    let said = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Json::Object(said.collect())
}

/// A word of a list's line, `-` where there is none.
pub(super) fn cell(item: &Json, path: &str) -> String {
    item.pointer(path).and_then(Json::as_str).unwrap_or("-").to_owned()
}

async fn send(
    url: &str,
    socket: Option<&PathBuf>,
    token_file: Option<&PathBuf>,
    headers: &[(&str, String)],
    call: Call<'_>,
    place: &str,
) -> Result<Json, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::of(Exit::CannotRun, error).at(place).next(remote::is_it_running(socket))
    };
    let client = remote::client(socket, ANSWER_WITHIN).map_err(|error| failed(&error))?;
    let is_change = call.method != Method::GET;
    let mut request = client.request(call.method, format!("{}{}", url.trim_end_matches('/'), call.path));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    if is_change {
        // A call that is lost on its way may be made again, and changes nothing twice.
        request = request.header("idempotency-key", key()?);
    }
    if let Some(file) = token_file {
        let token = fs::read_to_string(file).map_err(|error| {
            Failure::of(Exit::CannotRun, &error).because("the token cannot be read").at(file.display().to_string())
        })?;
        request = request.bearer_auth(token.trim());
    }
    if let Some(body) = &call.body {
        request = request.json(body);
    }
    let answer = request.send().await.map_err(|error| failed(&error))?;
    let status = answer.status();
    let answer: Json = answer.json().await.map_err(|error| failed(&error))?;
    if status.is_success() {
        return Ok(answer);
    }
    let word = |key: &str| answer.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let reason = Some(word("reason")).filter(|reason| !reason.is_empty()).map(|reason| format!(" ({reason})"));
    let failure = Failure::new(Exit::CannotRun, format!("the sidecar answered {status}{}", reason.unwrap_or_default()))
        .at(place)
        .because(format!("{}: {}", word("title"), word("detail")));
    Err(match session::hint(&word("reason")) {
        Some(hint) => failure.next(hint),
        None => failure,
    })
}

fn key() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(Exit::CannotRun, "no randomness for a key").because(error.to_string()))?;
    Ok(Uuid::from_bytes(bytes).to_string())
}

/// The words of an answer, one a line: the name and what it is. `grant/user` is a word of a thing in it, shown as `user`
/// where no other word is called so.
pub(super) fn lines(answer: &Json, shown: &Shown<'_>) -> String {
    let mut text = String::new();
    for name in shown.words {
        let last = name.rsplit('/').next().filter(|last| !shown.words.contains(last)).unwrap_or(name);
        let shown = match answer.pointer(&format!("/{name}")) {
            Some(Json::String(word)) => word.clone(),
            Some(Json::Array(items)) if !items.is_empty() => several(items),
            None | Some(Json::Null | Json::Array(_)) => {
                let Some((_, means)) = shown.unsaid.iter().find(|(word, _)| word == name) else { continue };
                (*means).to_owned()
            }
            Some(other) => other.to_string(),
        };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{last:<14} {shown}"));
    }
    text
}

/// Words beside each other; records with their groups below each other, as `Note/N6=clin.note`.
fn several(items: &[Json]) -> String {
    let words = |item: &Json, between: &str| {
        let words = item.as_array().map(Vec::as_slice).unwrap_or_default();
        words.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(between)
    };
    if items.iter().any(Json::is_string) {
        return words(&Json::from(items), " ");
    }
    let record = |item: &Json| {
        let groups = item.get("fields").map(|groups| words(groups, ",")).unwrap_or_default();
        let released = item.get("released_by").and_then(Json::as_str).map(|by| format!("  released by {by}"));
        let (kind, of) = (cell(item, "/resource_type"), cell(item, "/resource_id"));
        format!("{kind}/{of}={groups}{}", released.unwrap_or_default())
    };
    items.iter().map(record).collect::<Vec<_>>().join("\n               ")
}

/// The whole answer as JSON, its version in front.
pub(super) fn json(answer: &Json) -> String {
    let mut whole = serde_json::Map::from_iter([("schema_version".to_owned(), Json::from(1))]);
    if let Json::Object(answer) = answer {
        whole.extend(answer.clone());
    }
    Json::Object(whole).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_answer_does_not_say_is_shown_as_what_it_means() {
        let shown = Shown { words: &["id", "fields", "to", "by"], unsaid: &[("fields", "whole"), ("to", "no end")] };
        let bare = json!({ "id": "R1", "fields": [], "to": null, "by": null });
        assert_eq!(lines(&bare, &shown), "id             R1\nfields         whole\nto             no end");
        let said = json!({ "fields": ["a", "b"], "to": "2026-03-10T15:00:00Z" });
        assert_eq!(lines(&said, &shown), "fields         a b\nto             2026-03-10T15:00:00Z");
    }

    #[test]
    fn a_word_of_a_thing_within_is_called_by_its_last_part_where_that_is_no_other_words_name() {
        let answer = json!({ "state": "pending", "grant": { "state": "expired", "user": "mo", "fields": ["a", "b"] } });
        let words = &["state", "grant/state", "grant/user", "grant/fields", "grant/approver"];
        assert_eq!(
            lines(&answer, &Shown { words, unsaid: &[] }),
            "state          pending\ngrant/state    expired\nuser           mo\nfields         a b"
        );
    }

    #[test]
    fn a_version_is_quoted_as_an_etag_and_nothing_else_passes_for_one() {
        let header = |text: &str| StateArgs { if_match: Some(version(text).unwrap()) }.header();
        assert_eq!(header("a-_9"), Some(("if-match", "\"a-_9\"".to_owned())));
        assert_eq!(header("*"), Some(("if-match", "*".to_owned())));
        assert_eq!(StateArgs::default().header(), None);
        for wrong in ["", "a b", "\"a\"", "a\r\nx: y", "ä"] {
            assert!(version(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn records_are_shown_with_their_groups_one_a_line() {
        let record = |id: &str, by: Option<&str>| {
            let fields = ["clin.note", "clin.sens"];
            json!({ "resource_type": "Note", "resource_id": id, "fields": fields, "released_by": by })
        };
        let answer = json!({ "scope": [record("N6", None), record("N5", Some("adm"))] });
        assert_eq!(
            lines(&answer, &Shown { words: &["scope"], unsaid: &[] }),
            "scope          Note/N6=clin.note,clin.sens\n               Note/N5=clin.note,clin.sens  released by adm"
        );
    }
}
