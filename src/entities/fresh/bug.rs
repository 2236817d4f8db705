//! Shortcuts that would break the promise, each switched on by name to prove that the suite finds it.
//!
//! They exist only in a build with the feature `seeded-bugs`, which no release can be built with (`src/lib.rs`).

/// The tempting shortcuts of the freshness protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    NoStampCheck,
    NoEpochCheck,
    TickAfterSnapshot,
    StampsWithoutTick,
    LeaseIsEndOfPoll,
    LeaseBeforeStamps,
    LoadsWithoutDeadline,
    EpochBeforeCursor,
    NoCheckBeforeRelease,
    BarrierTakesPollUnderWay,
    BarrierWithoutGrace,
    TimeoutIsAbsent,
    JoinedKey,
    IdAboveCursor,
    XidBelowXmin,
    OldKeyNotLogged,
    NoTruncateTrigger,
    TriggersNotAlways,
    HintWithoutPoll,
    LoadsFromStandby,
    LoadsFromAnotherServer,
    FileLookedAtOnce,
    MarkOutsideLook,
    HeadAfterVersion,
}

/// Whether this run is to make that mistake. Always false in a build without the feature.
#[cfg(not(feature = "seeded-bugs"))]
#[inline]
pub(crate) const fn is_seeded(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "seeded-bugs")]
pub(crate) use seeded::is_seeded;

#[cfg(feature = "seeded-bugs")]
mod seeded {
    use std::sync::OnceLock;

    use super::Bug;

    /// Whether it is the bug named by `CHAPERONE_SEEDED_BUG`, in the words of the enum.
    pub(crate) fn is_seeded(bug: Bug) -> bool {
        static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
        static IS_SEEDED: [OnceLock<bool>; 64] = [const { OnceLock::new() }; 64];
        let is_chosen = || {
            let chosen = CHOSEN.get_or_init(|| std::env::var("CHAPERONE_SEEDED_BUG").ok());
            chosen.as_deref().is_some_and(|chosen| chosen == format!("{bug:?}"))
        };
        // Asked millions of times by the simulator: words are compared once.
        IS_SEEDED.get(bug as usize).map_or_else(is_chosen, |known| *known.get_or_init(is_chosen))
    }
}
