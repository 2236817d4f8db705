//! One call to a running sidecar that changes or lists something: where it is, who speaks, what it answered.

use std::{fs, path::PathBuf, time::Duration};

use clap::ValueEnum;
use http::Method;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{exit::Exit, failure::Failure, remote};

/// A sidecar answers in milliseconds; more than this is an outage.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

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

/// Who the administrator is, for an admin listener that is `asserted`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct PersonArgs {
    /// The admin listener's URL
    #[arg(long, value_name = "URL")]
    url: String,
    /// The file that holds its token
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Who the administrator is, by id
    #[arg(long = "as", value_name = "ID")]
    person: String,
    /// Their session, as `mfa=true,age_seconds=60,idle_seconds=5,tenant=T1`
    #[arg(long, value_name = "PAIRS")]
    session: String,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
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
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Json, Failure> {
        let url = self.url.as_deref().unwrap_or("http://localhost");
        let place = match (&self.url, &self.socket) {
            (None, Some(socket)) => socket.display().to_string(),
            (Some(_), _) | (None, None) => url.to_owned(),
        };
        send(url, self.socket.as_ref(), self.token_file.as_ref(), &[], call, &place).await
    }
}

impl PersonArgs {
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Json, Failure> {
        let said = [("chaperone-principal", self.person.as_str()), ("chaperone-session", self.session.as_str())];
        send(&self.url, None, Some(&self.token_file), &said, call, &self.url).await
    }
}

async fn send(
    url: &str,
    socket: Option<&PathBuf>,
    token_file: Option<&PathBuf>,
    headers: &[(&str, &str)],
    call: Call<'_>,
    place: &str,
) -> Result<Json, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::of(Exit::CannotRun, error).at(place).next("is it running? `chaperone healthcheck` asks it")
    };
    let client = remote::client(socket, ANSWER_WITHIN).map_err(|error| failed(&error))?;
    let is_change = call.method != Method::GET;
    let mut request = client.request(call.method, format!("{}{}", url.trim_end_matches('/'), call.path));
    for (name, value) in headers {
        request = request.header(*name, *value);
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
    Err(Failure::new(Exit::CannotRun, format!("the sidecar answered {status}{}", reason.unwrap_or_default()))
        .at(place)
        .because(format!("{}: {}", word("title"), word("detail"))))
}

fn key() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(Exit::CannotRun, "no randomness for a key").because(error.to_string()))?;
    Ok(Uuid::from_bytes(bytes).to_string())
}

/// The words of an answer, one a line: the name and what it is.
pub(super) fn lines(answer: &Json, names: &[&str]) -> String {
    let mut text = String::new();
    for name in names {
        let shown = match answer.get(*name) {
            None | Some(Json::Null) => continue,
            Some(Json::String(word)) => word.clone(),
            Some(Json::Array(words)) => words.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" "),
            Some(other) => other.to_string(),
        };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{name:<14} {shown}"));
    }
    text
}

/// The whole answer as JSON, its version in front.
pub(super) fn json(answer: &Json) -> String {
    let mut whole = serde_json::Map::from_iter([("schema_version".to_owned(), Json::from(1))]);
    if let Json::Object(answer) = answer {
        whole.extend(answer.clone());
    }
    Json::Object(whole).to_string()
}
