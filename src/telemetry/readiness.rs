//! Readiness: which part is ready, degraded or not, and why. Liveness is a different question on a different path.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ready,
    /// Answers go on, with less: slower, or on an older bundle.
    Degraded,
    NotReady,
}

/// One part of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Component {
    pub name: &'static str,
    pub state: State,
    /// One sentence; no ids, no secrets.
    pub reason: String,
}

/// What `/readyz?verbose` shows: the worst state, and each part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    pub state: State,
    /// Whether the process was ever ready; never goes back.
    pub started: bool,
    pub components: Vec<Component>,
}

impl ReadinessReport {
    /// Degraded is ready: the answers are right.
    pub fn is_ready(&self) -> bool {
        self.state != State::NotReady
    }
}

/// The latch that every part sets and the health listener reads. Not ready until all expected parts are.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Parts>>);

/// What a part is at until it reports.
const STARTING: &str = "starting";

#[derive(Debug, Default)]
struct Parts {
    components: BTreeMap<&'static str, (State, String)>,
    has_started: bool,
    is_stopping: bool,
}

impl Readiness {
    /// Names parts that must report before the process is ready.
    pub fn expect(&self, names: &[&'static str]) {
        let mut parts = self.parts();
        for name in names {
            parts.components.entry(name).or_insert((State::NotReady, STARTING.to_owned()));
        }
    }

    pub fn ready(&self, name: &'static str, reason: impl Into<String>) {
        self.set(name, State::Ready, reason.into());
    }

    pub fn degraded(&self, name: &'static str, reason: impl Into<String>) {
        self.set(name, State::Degraded, reason.into());
    }

    pub fn not_ready(&self, name: &'static str, reason: impl Into<String>) {
        self.set(name, State::NotReady, reason.into());
    }

    /// Not ready from now on, whatever the parts say.
    pub fn stopping(&self) {
        self.parts().is_stopping = true;
    }

    pub fn report(&self) -> ReadinessReport {
        let parts = self.parts();
        let mut components: Vec<Component> = parts
            .components
            .iter()
            .map(|(name, (state, reason))| Component { name, state: *state, reason: reason.clone() })
            .collect();
        if parts.is_stopping {
            components.push(Component { name: "process", state: State::NotReady, reason: "stopping".to_owned() });
        }
        Self::summed(components, parts.has_started)
    }

    fn set(&self, name: &'static str, state: State, reason: String) {
        let mut parts = self.parts();
        let before = parts.components.insert(name, (state, reason.clone()));
        parts.has_started |= parts.components.values().all(|(state, _)| *state != State::NotReady);
        drop(parts);
        let is_first = before.as_ref().is_none_or(|(_, reason)| reason == STARTING);
        if is_first || before.is_some_and(|(before, _)| before != state) {
            match state {
                State::Ready => tracing::info!(component = name, reason, "ready"),
                State::NotReady if is_first => tracing::warn!(component = name, reason, "not ready"),
                State::Degraded | State::NotReady => {
                    tracing::warn!(component = name, reason, state = ?state, "readiness fell")
                }
            }
        }
    }

    fn summed(components: Vec<Component>, started: bool) -> ReadinessReport {
        // Nobody reported yet: that is not ready.
        let state = components.iter().map(|component| component.state).max().unwrap_or(State::NotReady);
        ReadinessReport { state, started, components }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reported_is_not_ready() {
        assert!(!Readiness::default().report().is_ready());
    }

    #[test]
    fn the_last_expected_part_makes_it_ready() {
        let readiness = Readiness::default();
        readiness.expect(&["policies", "trail"]);
        readiness.ready("policies", "revision aa");
        assert!(!readiness.report().is_ready() && !readiness.report().started);
        readiness.degraded("trail", "the disk is slow");
        let report = readiness.report();
        assert!(report.is_ready() && report.started);
        assert_eq!(report.state, State::Degraded);
    }

    #[test]
    fn started_never_goes_back() {
        let readiness = Readiness::default();
        readiness.ready("facts", "reachable");
        readiness.not_ready("facts", "the database is away");
        let report = readiness.report();
        assert!(!report.is_ready() && report.started);
        assert_eq!(report.components[0].reason, "the database is away");
    }
}
