//! One question to a running sidecar, by its URL or its socket. What comes back is recorded there.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Map, Value as Json};

use super::{exit::Exit, failure::Failure, question::QuestionArgs};

/// A sidecar answers in milliseconds; more than this is an outage.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Whether the question goes to a running sidecar.
pub(super) const fn is_remote(args: &QuestionArgs) -> bool {
    args.url.is_some() || args.socket.is_some()
}

/// Asks, and returns the body of the answer.
pub(super) async fn ask(args: &QuestionArgs, body: Map<String, Json>) -> Result<Json, Failure> {
    let place = match (&args.url, &args.socket) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(socket)) => socket.display().to_string(),
        (None, None) => String::new(),
    };
    let failed = |error: &dyn std::error::Error| {
        Failure::of(Exit::CannotRun, error).at(place.clone()).next(is_it_running(args.socket.as_ref()))
    };
    let url = args.url.as_deref().map_or("http://localhost", |url| url.trim_end_matches('/'));
    let client = client(args.socket.as_ref(), ANSWER_WITHIN).map_err(|error| failed(&error))?;
    let mut request = client.post(format!("{url}/access/v1/evaluation")).json(&body);
    if let Some(file) = &args.token_file {
        let token = fs::read_to_string(file).map_err(|error| {
            Failure::of(Exit::CannotRun, &error).because("the token cannot be read").at(file.display().to_string())
        })?;
        request = request.bearer_auth(token.trim());
    }
    let answer = request.send().await.map_err(|error| failed(&error))?;
    let status = answer.status();
    let answer: Json = answer.json().await.map_err(|error| failed(&error))?;
    if status.is_success() {
        return Ok(answer);
    }
    let word = |key: &str| answer.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let failure = Failure::new(Exit::CannotRun, format!("the sidecar answered {status}"))
        .at(place.clone())
        .because(format!("{}: {}", word("title"), word("detail")));
    if status != reqwest::StatusCode::UNAUTHORIZED {
        return Err(failure);
    }
    Err(failure.next(match args.token_file {
        Some(_) => "--token-file must hold the token of a caller that is configured",
        None => "name the file that holds the caller's token: --token-file FILE",
    }))
}

/// What to do about a sidecar that does not answer there.
pub(super) fn is_it_running(socket: Option<&PathBuf>) -> String {
    match socket {
        Some(socket) => {
            format!("is it running? `chaperone healthcheck --socket {}` asks it", socket.display())
        }
        None => "is it running, and is this its address? `chaperone healthcheck` asks its health listener".to_owned(),
    }
}

/// A client of the URL that is asked, or of the socket.
pub(super) fn client(socket: Option<&PathBuf>, answer_within: Duration) -> Result<reqwest::Client, reqwest::Error> {
    // Telemetry may have installed it already: either is the same provider.
    let _installed_before = rustls::crypto::ring::default_provider().install_default().is_err();
    let builder = reqwest::Client::builder().timeout(answer_within).no_proxy();
    match socket {
        Some(socket) => builder.unix_socket(socket.clone()).build(),
        None => builder.build(),
    }
}
