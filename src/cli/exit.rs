//! Exit codes. Scripts rely on them.

use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    CannotRun,
    /// The words made no sense.
    Usage,
    /// `authorize --exit-code` and the decision is deny.
    Denied,
    /// Policy, schema or mapping is not valid.
    Invalid,
    CasesFailed,
    /// `diff` or `replay` found decisions that would change.
    Changed,
    /// The trail does not verify.
    TrailBroken,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::CannotRun => 1,
            Self::Usage | Self::Denied => 2,
            Self::Invalid => 3,
            Self::CasesFailed => 4,
            Self::Changed => 5,
            Self::TrailBroken => 6,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
