//! Which doors a process opens: over the same house, with the same rules and a trail of its own.

use crate::config::Config;

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Applications ask it; administrators too where their listener is configured.
    Serve,
    /// Administrators alone.
    Admin,
    /// A whole clinic on one machine.
    Demo,
}

impl Process {
    /// The command that starts it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Admin => "admin",
            Self::Demo => "demo",
        }
    }

    /// Whether what stands at `key` of the configuration concerns it: an administration serves no application.
    pub fn opens(self, key: &str) -> bool {
        let is_for_applications =
            |of: &str| key.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self != Self::Admin || !["callers", "server.unix", "server.tcp"].into_iter().any(is_for_applications)
    }

    /// Leaves those doors that it opens.
    pub(super) fn doors(self, mut config: Config) -> Config {
        match self {
            Self::Serve | Self::Demo => {}
            Self::Admin => {
                config.server.unix = None;
                config.server.tcp = None;
            }
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administration_has_no_door_for_applications() {
        let configured = Config::default();
        assert!(configured.server.unix.is_some());
        let doors = |process: Process| process.doors(configured.clone()).server;
        assert!(doors(Process::Admin).unix.is_none() && doors(Process::Admin).tcp.is_none());
        assert!(doors(Process::Admin).health.is_some() && doors(Process::Serve).unix.is_some());
    }

    #[test]
    fn what_is_said_of_applications_does_not_concern_an_administration() {
        for key in ["callers", "callers[0].token_file", "server.unix.mode", "server.tcp", "server.tcp.listen"] {
            assert!(!Process::Admin.opens(key) && Process::Serve.opens(key) && Process::Demo.opens(key), "{key}");
        }
        for key in ["server.admin.listen", "audit", "", "callersign", "server"] {
            assert!(Process::Admin.opens(key), "{key}");
        }
    }
}
