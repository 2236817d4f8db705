//! One request, typed: from a file, or from flags. Shared by `authorize` and `explain`.

use std::path::PathBuf;

use clap::ValueEnum;
use jiff::Timestamp;

use super::context::ConfigArgs;

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
    /// The context as a JSON object
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
    #[arg(long, value_name = "INSTANT", conflicts_with_all = ["url", "socket"])]
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
