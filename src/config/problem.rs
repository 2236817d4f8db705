//! What is wrong with a configuration, in words a person can act on.

use std::{fmt, path::PathBuf, sync::Arc};

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file.
    File { path: Arc<PathBuf>, line: u64 },
    /// An environment variable.
    Environment(Arc<str>),
    /// A flag of the command line.
    Flag(Arc<str>),
    /// Nowhere: the value is missing, or its default collides with another one.
    Unsaid,
}

impl Origin {
    /// The line in the configuration file, if the value stands there.
    pub const fn line(&self) -> Option<u64> {
        match self {
            Self::File { line, .. } => Some(*line),
            Self::Environment(_) | Self::Flag(_) | Self::Unsaid => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Unsaid => f.write_str("not set"),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, as in `server.tcp.listen` or `callers[1].token`; empty for the file as a whole.
    pub path: String,
    pub origin: Origin,
    /// What is wrong: lowercase, no final stop, never a secret's value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ConfigProblem {
    /// The line in the configuration file, if the mistake stands there.
    pub const fn line(&self) -> Option<u64> {
        self.origin.line()
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.path.is_empty()) {
            (Origin::Unsaid, true) => write!(f, "{}", self.message)?,
            (Origin::Unsaid, false) => write!(f, "{}: {}", self.path, self.message)?,
            (origin, true) => write!(f, "{origin}: {}", self.message)?,
            (origin, false) => write!(f, "{origin}: {}: {}", self.path, self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\n    {hint}"),
            None => Ok(()),
        }
    }
}

/// Every mistake of a configuration, in the order of its keys. Nothing was bound, opened or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub problems: Vec<ConfigProblem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("the configuration has a mistake")?,
            count => write!(f, "the configuration has {count} mistakes")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
