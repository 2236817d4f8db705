//! A failure as a person reads it: what, where, why, and what next.

use std::{error::Error, fmt, io};

use owo_colors::OwoColorize;

use super::exit::Exit;
use crate::{
    app::AppError, audit::OpenError, config::ConfigError, http::BindError, lifecycle::LifecycleError,
    telemetry::InitError,
};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// What failed: lowercase, no final stop.
    pub what: String,
    /// A file with its line, an address, a folder.
    pub place: Option<String>,
    /// The causes, outermost first.
    pub why: Vec<String>,
    /// What to do about it.
    pub next: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), place: None, why: Vec::new(), next: None }
    }

    /// An error with its causes.
    pub fn of(exit: Exit, error: &dyn Error) -> Self {
        let mut failure = Self::new(exit, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            failure.why.push(error.to_string());
            cause = error.source();
        }
        failure
    }

    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", "error:".red().bold(), self.what)?;
        if let Some(place) = &self.place {
            write!(f, "\n  {} {place}", "where:".bold())?;
        }
        for why in &self.why {
            write!(f, "\n  {}   {why}", "why:".bold())?;
        }
        if let Some(next) = &self.next {
            write!(f, "\n  {}  {next}", "next:".bold())?;
        }
        Ok(())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::CannotRun, error.to_string())
            .next("`chaperone config schema` lists every key; nothing was started")
    }
}

impl From<InitError> for Failure {
    fn from(error: InitError) -> Self {
        Self::of(Exit::CannotRun, &error)
    }
}

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        Self::of(Exit::CannotRun, &error)
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        let exit = match &error {
            AppError::Bundle(_) | AppError::Mapping(_) => Exit::Invalid,
            _ => Exit::CannotRun,
        };
        let failure = Self::of(exit, &error);
        match &error {
            AppError::Bundle(_) => {
                failure.next("mend the files above; `chaperone check` shows the same without starting")
            }
            AppError::Mapping(_) => {
                failure.next("mend the query or the column; `chaperone check --database` shows the same")
            }
            AppError::Connect(_) => failure.next("look at `sources` in the configuration"),
            AppError::Trail(OpenError::Io { .. }) => {
                failure.next("`audit.dir` must be a folder that this user may write to; nothing was answered")
            }
            AppError::Trail(_) => failure.next("nothing was answered and nothing of the trail was changed"),
            AppError::Bind(error) => match next_after(error) {
                Some(next) => failure.next(next),
                None => failure,
            },
            _ => failure,
        }
    }
}

/// What to do about a listener that did not open; `None` where its message says so itself.
fn next_after(error: &BindError) -> Option<&'static str> {
    match error {
        BindError::Occupied { .. } | BindError::NotASocket { .. } => None,
        BindError::Socket { .. } => Some("the socket's folder must exist and this user must be able to write to it"),
        BindError::Tcp { source, .. } => Some(match source.kind() {
            io::ErrorKind::AddrInUse => "stop what listens there, or choose another address (port 0 takes a free one)",
            io::ErrorKind::PermissionDenied => "ports below 1024 are the system's: choose another",
            _ => "choose an address of this machine",
        }),
    }
}
