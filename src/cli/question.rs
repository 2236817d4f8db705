//! One request, typed: from a file, or from flags. Shared by `authorize` and `explain`.

use std::{io::Read, path::PathBuf, sync::Arc};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::{context::ConfigArgs, exit::Exit, failure::Failure, instant::instant};
use crate::{
    clock::{SystemClock, new_id},
    domain::{Api, EntityRef, Mode, Request, request::Caller},
    http::{Limits, json::read_object},
};

/// As large a request as a sidecar takes.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct QuestionArgs {
    /// The request as AuthZEN JSON; `-` reads stdin
    #[arg(value_name = "REQUEST", conflicts_with_all = ["principal", "action", "resource"], required_unless_present = "principal")]
    pub(super) request: Option<PathBuf>,
    /// Who asks, as `User/ana`
    #[arg(long, value_name = "TYPE/ID", value_parser = reference, requires_all = ["action", "resource"])]
    pub(super) principal: Option<Reference>,
    /// What for, as `read`
    #[arg(long)]
    pub(super) action: Option<String>,
    /// On what, as `Note/N1`
    #[arg(long, value_name = "TYPE/ID", value_parser = reference)]
    pub(super) resource: Option<Reference>,
    /// Field groups or columns, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "FIELD")]
    pub(super) fields: Vec<String>,
    /// What to do when only some fields are allowed
    #[arg(long, value_enum)]
    pub(super) mode: Option<ModeArg>,
    /// The context as a JSON object: without a session most policies deny. For example
    /// '{"session":{"mfa":true,"idle_seconds":12,"age_seconds":900}}'
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(super) context: Option<serde_json::Map<String, serde_json::Value>>,
    /// Ask this running sidecar; without it, and without --socket, the decision is simulated and not recorded
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    pub(super) url: Option<String>,
    /// Ask the sidecar behind this Unix socket
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// The file that holds the token for --url
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(super) token_file: Option<PathBuf>,
    /// Decide offline as of this instant [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = instant, conflicts_with_all = ["url", "socket"])]
    pub(super) at: Option<Timestamp>,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: AnswerFormat,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

/// A type and an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) kind: String,
    pub(super) id: String,
}

fn reference(text: &str) -> Result<Reference, String> {
    match text.split_once('/') {
        Some((kind, id)) if !kind.is_empty() && !id.is_empty() => {
            Ok(Reference { kind: kind.to_owned(), id: id.to_owned() })
        }
        _ => Err("a type, a slash and an id, as `User/ana`".to_owned()),
    }
}

fn object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, serde_json::Error> {
    serde_json::from_str(text)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeArg {
    Filter,
    Strict,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum AnswerFormat {
    #[default]
    Pretty,
    Json,
}

impl QuestionArgs {
    /// The question as a caller would send it.
    pub(super) fn body(&self) -> Result<Map<String, Json>, Failure> {
        let (Some(principal), Some(action), Some(resource)) = (&self.principal, &self.action, &self.resource) else {
            return self.request_file();
        };
        let mut properties = Map::new();
        if !self.fields.is_empty() {
            properties.insert("fields".to_owned(), json!(self.fields));
        }
        if let Some(mode) = self.mode {
            let mode = match mode {
                ModeArg::Filter => "filter",
                ModeArg::Strict => "strict",
            };
            properties.insert("mode".to_owned(), mode.into());
        }
        Ok(Map::from_iter([
            ("subject".to_owned(), json!({ "type": principal.kind, "id": principal.id })),
            ("action".to_owned(), json!({ "name": action, "properties": properties })),
            ("resource".to_owned(), json!({ "type": resource.kind, "id": resource.id })),
            ("context".to_owned(), Json::Object(self.context.clone().unwrap_or_default())),
        ]))
    }

    fn request_file(&self) -> Result<Map<String, Json>, Failure> {
        let path = self.request.clone().unwrap_or_else(|| PathBuf::from("-"));
        let wrong = |why: String| {
            Failure::new(Exit::CannotRun, "the request cannot be read").at(path.display().to_string()).because(why)
        };
        let mut bytes = Vec::new();
        let read = if path.as_os_str() == "-" {
            std::io::stdin().lock().take(REQUEST_BYTES_MAX).read_to_end(&mut bytes)
        } else {
            std::fs::File::open(&path).and_then(|file| file.take(REQUEST_BYTES_MAX).read_to_end(&mut bytes))
        };
        read.map_err(|error| wrong(error.to_string()))?;
        // The sidecar's own reader: a key said twice is refused here as there.
        read_object(&bytes, &Limits::default().json).map_err(|error| wrong(error.to_string()))
    }
}

/// AuthZEN's members; what stands beside them is ignored, as a sidecar ignores it.
#[derive(Deserialize)]
struct Body {
    subject: Named,
    action: ActionBody,
    resource: Named,
    #[serde(default)]
    context: Map<String, Json>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    #[serde(default)]
    properties: Map<String, Json>,
}

#[derive(Deserialize)]
struct ActionBody {
    name: String,
    #[serde(default)]
    properties: ActionProperties,
}

#[derive(Default, Deserialize)]
struct ActionProperties {
    #[serde(default)]
    fields: Option<Vec<String>>,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(flatten)]
    other: Map<String, Json>,
}

/// The same question for the engine: asked by nobody in particular, who may assert nothing.
pub(super) fn request_of(body: Map<String, Json>) -> Result<Request, Failure> {
    let body: Body = serde_json::from_value(Json::Object(body)).map_err(|error| {
        Failure::of(Exit::CannotRun, &error)
            .because("this is no AuthZEN request")
            .next("as {\"subject\":{\"type\":\"User\",\"id\":\"ana\"},\"action\":{\"name\":\"read\"},\"resource\":{\"type\":\"Note\",\"id\":\"N1\"}}")
    })?;
    Ok(Request {
        subject: EntityRef { kind: body.subject.kind, id: body.subject.id },
        subject_properties: body.subject.properties,
        action: body.action.name,
        fields: body.action.properties.fields,
        mode: body.action.properties.mode,
        action_properties: body.action.properties.other,
        resource: EntityRef { kind: body.resource.kind, id: body.resource.id },
        resource_properties: body.resource.properties,
        context: body.context,
        caller: Arc::new(Caller::default()),
        request_id: new_id(&SystemClock).to_string(),
        trace_id: None,
        decision_id: new_id(&SystemClock).to_string(),
        api: Api::Cli,
    })
}
