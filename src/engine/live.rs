//! The bundle that decides now, and why the last attempt to replace it failed.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::{bundle::Bundle, problem::Problems};
use crate::domain::Timestamp;

/// The live bundle. Swapped whole: a request sees the old one or the new one, never parts of both.
#[derive(Debug, Default)]
pub struct Live {
    current: ArcSwapOption<Bundle>,
    failure: ArcSwapOption<ReloadFailure>,
}

/// A bundle that did not go live; the last good one stayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadFailure {
    pub problems: Problems,
    pub at: Timestamp,
    /// The digest of the refused files; `None` if they could not even be read.
    pub revision: Option<Arc<str>>,
}

impl Live {
    pub fn new(bundle: Bundle) -> Self {
        let live = Self::default();
        live.swap(bundle);
        live
    }

    /// The bundle for one request, from its beginning to its end; `None` before the first went live.
    pub fn current(&self) -> Option<Arc<Bundle>> {
        self.current.load_full()
    }

    /// Puts a bundle in the place of the current one and returns that. An earlier failure is over.
    pub fn swap(&self, bundle: Bundle) -> Option<Arc<Bundle>> {
        let before = self.current.swap(Some(Arc::new(bundle)));
        self.failure.store(None);
        before
    }

    /// Notes that a bundle was refused. The current one stays.
    pub fn fail(&self, failure: ReloadFailure) {
        self.failure.store(Some(Arc::new(failure)));
    }

    /// Forgets the failure: the files are again those of the current bundle.
    pub fn recovered(&self) {
        self.failure.store(None);
    }

    /// Why the files on disk are not what decides; `None` while they are.
    pub fn last_failure(&self) -> Option<Arc<ReloadFailure>> {
        self.failure.load_full()
    }

    /// What to do about the files with this digest.
    pub fn reload_for(&self, found: &str) -> Reload {
        let failure = self.last_failure();
        let refused = failure.as_ref().and_then(|failure| failure.revision.as_deref());
        reload_for(self.current().as_ref().map(|bundle| &*bundle.revision), refused, found)
    }
}

/// What a look at the files asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// They are the live bundle: nothing to do but [`Live::recovered`].
    Current,
    /// They are the ones refused before: saying it again would only fill the log.
    Refused,
    Load,
}

/// Decides by digests alone.
pub fn reload_for(current: Option<&str>, refused: Option<&str>, found: &str) -> Reload {
    if current == Some(found) {
        Reload::Current
    } else if refused == Some(found) {
        Reload::Refused
    } else {
        Reload::Load
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_are_neither_live_nor_refused_are_loaded() {
        assert_eq!(reload_for(None, None, "a"), Reload::Load);
        assert_eq!(reload_for(Some("a"), None, "a"), Reload::Current);
        assert_eq!(reload_for(Some("a"), Some("b"), "b"), Reload::Refused);
        assert_eq!(reload_for(Some("a"), Some("b"), "a"), Reload::Current);
        assert_eq!(reload_for(Some("a"), Some("b"), "c"), Reload::Load);
    }

    #[test]
    fn a_failure_leaves_what_was_live_and_ends_when_the_files_are_mended() {
        let live = Live::default();
        assert!(live.current().is_none());
        let failure = ReloadFailure {
            problems: Problems::default(),
            at: Timestamp::UNIX_EPOCH,
            revision: Some(Arc::from("sha256:bad")),
        };
        live.fail(failure.clone());
        assert_eq!(live.last_failure().as_deref(), Some(&failure));
        assert_eq!(live.reload_for("sha256:bad"), Reload::Refused);
        live.recovered();
        assert_eq!(live.last_failure(), None);
    }
}
