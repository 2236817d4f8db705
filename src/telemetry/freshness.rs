//! The instruments of freshness: what is kept, and how long ago each feed was heard of. Read when somebody looks.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::{KeyValue, metrics::Meter};

use crate::domain::mapping::Source;

pub(super) const CACHE_HITS: &str = "chaperone_facts_cache_hits_total";
pub(super) const CACHE_MISSES: &str = "chaperone_facts_cache_misses_total";
pub(super) const CACHE_ENTRIES: &str = "chaperone_facts_cache_entries";
pub(super) const LEASE_AGE: &str = "chaperone_lease_age_seconds";
pub(super) const CLOCK_SKEW: &str = "chaperone_clock_skew_seconds";

/// What the facts room is at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FactsSeen {
    pub hits: u64,
    pub misses: u64,
    pub entries: u64,
    /// Sources with a feed, and since when each was last heard of.
    pub silences: Vec<(Source, Duration)>,
    /// By how much a database's clock is ahead of this machine's, in seconds.
    pub skews: Vec<(Source, f64)>,
}

type Look = Box<dyn Fn() -> FactsSeen + Send + Sync>;

/// Where to look.
#[derive(Clone, Default)]
pub(super) struct Looking(Arc<Mutex<Option<Look>>>);

impl fmt::Debug for Looking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looking").finish_non_exhaustive()
    }
}

impl Looking {
    pub(super) fn at(&self, look: Look) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
    }

    fn look(&self) -> Option<FactsSeen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|look| look())
    }
}

pub(super) fn observe(meter: &Meter, looking: &Looking) {
    let seen = {
        let looking = looking.clone();
        move || looking.look()
    };
    // A registration lives as long as the meter; its handle does nothing.
    let total = |name, text, pick: fn(&FactsSeen) -> u64| {
        let seen = seen.clone();
        let callback = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            if let Some(seen) = seen() {
                observer.observe(pick(&seen), &[]);
            }
        };
        let _handle = meter.u64_observable_counter(name).with_description(text).with_callback(callback).build();
    };
    total(CACHE_HITS, "Facts that were kept and used.", |seen| seen.hits);
    total(CACHE_MISSES, "Facts that had to be read.", |seen| seen.misses);
    let entries = {
        let seen = seen.clone();
        move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            if let Some(seen) = seen() {
                observer.observe(seen.entries, &[]);
            }
        }
    };
    let _handle = meter
        .u64_observable_gauge(CACHE_ENTRIES)
        .with_description("Entities whose facts are kept.")
        .with_callback(entries)
        .build();
    let leases = {
        let seen = seen.clone();
        move |observer: &dyn opentelemetry::metrics::AsyncInstrument<f64>| {
            for (source, age) in seen().unwrap_or_default().silences {
                observer.observe(age.as_secs_f64(), &[KeyValue::new("source", source.as_str())]);
            }
        }
    };
    let _handle = meter
        .f64_observable_gauge(LEASE_AGE)
        .with_description("Time since the change feed was last heard of.")
        .with_callback(leases)
        .build();
    let skews = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<f64>| {
        for (source, skew) in seen().unwrap_or_default().skews {
            observer.observe(skew, &[KeyValue::new("source", source.as_str())]);
        }
    };
    let _handle = meter
        .f64_observable_gauge(CLOCK_SKEW)
        .with_description("By how much the database's clock is ahead.")
        .with_callback(skews)
        .build();
}
