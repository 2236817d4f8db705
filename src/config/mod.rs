//! The configuration: one YAML file, the environment over it, flags over both, as plain data.
//!
//! Reading reports every mistake at once and touches nothing but the files that hold secrets: no socket, no folder, no
//! database. What must be decided with the world at hand (does the folder exist, does the database answer) belongs to
//! the room that uses it. This is the only room that reads the environment.

mod callers;
mod check;
mod describe;
mod document;
mod environment;
mod expand;
mod notify;
mod parts;
mod problem;
mod reader;
mod secret;
mod server;
mod sources;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

pub use callers::{CallerConfig, Capability, SubjectMode, UnixPeers};
pub use document::Flag;
pub use environment::Environment;
pub use notify::NotifyConfig;
pub use parts::{
    AuditCapture, AuditConfig, AuditDurability, AuditShip, EntitiesConfig, GrantsConfig, Limits, LogFormat, LogLevel,
    PoliciesConfig, TelemetryConfig,
};
pub use problem::{ConfigError, ConfigProblem, Origin};
pub use secret::{HIDDEN, Secret};
pub use server::{AdminListener, HealthListener, ServerConfig, TcpListener, UnixListener};
pub use sources::{Database, SourceConfig, SourcesConfig};

use document::Node;
use reader::{Reading, Section};

/// Everything that can be configured.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    pub server: ServerConfig,
    pub callers: Vec<CallerConfig>,
    pub policies: PoliciesConfig,
    pub sources: SourcesConfig,
    pub entities: EntitiesConfig,
    pub audit: AuditConfig,
    pub grants: GrantsConfig,
    pub telemetry: TelemetryConfig,
    pub limits: Limits,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// `--config`.
    pub file: Option<PathBuf>,
    pub environment: Environment,
    pub flags: Vec<Flag>,
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// What works but deserves a look.
    pub warnings: Vec<ConfigProblem>,
    /// The file that was read; none means that every place of the search order was empty.
    pub file: Option<PathBuf>,
}

/// The environment variable that names the file.
pub const FILE_VARIABLE: &str = "CHAPERONE_CONFIG";

/// Where a file is looked for when nobody names one.
pub const SEARCH: [&str; 2] = ["./chaperone.yaml", "/etc/chaperone/chaperone.yaml"];

/// Finds, reads and checks the configuration.
///
/// # Errors
///
/// [`ConfigError`] with every mistake found.
pub fn load(input: &Input) -> Result<Loaded, ConfigError> {
    let file = find(input);
    let text = match &file {
        Some((path, origin)) => read(path, origin)?,
        None => String::new(),
    };
    let path = file.map(|(path, _)| path);
    let config = from_text(path.as_deref(), &text, input)?;
    Ok(Loaded { config: config.0, warnings: config.1, file: path })
}

/// The JSON Schema of the file.
pub fn schema() -> serde_json::Value {
    let tree = Node::empty_map(Origin::Unsaid);
    let mut reading = Reading::new(PathBuf::new());
    let mut root = reading.root(&tree);
    Config::read(&mut root);
    describe::schema(&root.finish())
}

impl Config {
    fn read(root: &mut Section<'_, '_>) -> Self {
        Self {
            server: root.section("server", "Where Chaperone listens.", ServerConfig::read),
            callers: root.list("callers", "The applications that may ask.", CallerConfig::read),
            policies: root.section("policies", "The folders of the bundle; both are watched.", PoliciesConfig::read),
            sources: root.section("sources", "The databases that facts come from.", SourcesConfig::read),
            entities: root.section("entities", "How facts are loaded and kept.", EntitiesConfig::read),
            audit: root.section("audit", "The trail.", AuditConfig::read),
            grants: root.section("grants", "Exceptional access.", GrantsConfig::read),
            telemetry: root.section(
                "telemetry",
                "Logs; traces and metrics follow the standard OTEL_* variables.",
                TelemetryConfig::read,
            ),
            limits: root.section("limits", "Limits; meeting one is a clear error.", Limits::read),
        }
    }
}

impl Default for Config {
    /// What an empty file means.
    fn default() -> Self {
        let tree = Node::empty_map(Origin::Unsaid);
        Self::read(&mut Reading::new(PathBuf::new()).root(&tree))
    }
}

fn find(input: &Input) -> Option<(PathBuf, Origin)> {
    if let Some(file) = &input.file {
        return Some((file.clone(), Origin::Flag("--config".into())));
    }
    if let Some(file) = input.environment.var(FILE_VARIABLE).filter(|file| !file.is_empty()) {
        return Some((PathBuf::from(file), Origin::Environment(FILE_VARIABLE.into())));
    }
    SEARCH.iter().map(PathBuf::from).find(|path| path.exists()).map(|path| (path, Origin::Unsaid))
}

fn read(path: &Path, origin: &Origin) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError {
        problems: vec![ConfigProblem {
            path: String::new(),
            origin: origin.clone(),
            message: format!("cannot read {}: {error}", path.display()),
            hint: Some(format!("the search order is --config, {FILE_VARIABLE}, {}", SEARCH.join(", "))),
        }],
    })
}

fn from_text(path: Option<&Path>, text: &str, input: &Input) -> Result<(Config, Vec<ConfigProblem>), ConfigError> {
    let shown = Arc::new(path.map_or_else(PathBuf::new, Path::to_path_buf));
    let base = path.and_then(Path::parent).map_or_else(PathBuf::new, Path::to_path_buf);
    let mut reading = Reading::new(base);
    let mut tree = match path {
        Some(_) => document::parse(&shown, text).map_err(|problem| ConfigError { problems: vec![problem] })?,
        None => Node::empty_map(Origin::Unsaid),
    };
    document::expand_all(&mut tree, "", &input.environment, &mut reading.problems);
    document::overlay_environment(&mut tree, &input.environment);
    document::overlay_flags(&mut tree, &input.flags);
    let mut root = reading.root(&tree);
    let config = Config::read(&mut root);
    check::across_sections(&config, &mut root);
    root.finish();
    if reading.problems.is_empty() {
        Ok((config, reading.warnings))
    } else {
        reading.problems.sort_by_key(|problem| problem.line().unwrap_or(u64::MAX));
        Err(ConfigError { problems: reading.problems })
    }
}
