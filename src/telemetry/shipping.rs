//! The instruments of the trail's shipping: read when somebody looks.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use opentelemetry::metrics::Meter;

pub(super) const AUDIT_LAG: &str = "chaperone_audit_lag_records";
pub(super) const AUDIT_SHIPPED: &str = "chaperone_audit_shipped_total";

/// Records shipped since the start, and records that are not shipped yet.
type Look = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

/// Where to look; nowhere while nothing is shipped, which shows as zeros.
#[derive(Clone, Default)]
pub(super) struct ShippingSeen(Arc<Mutex<Option<Look>>>);

impl fmt::Debug for ShippingSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShippingSeen").finish_non_exhaustive()
    }
}

impl ShippingSeen {
    pub(super) fn at(&self, look: Look) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
    }

    fn look(&self) -> (u64, u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or((0, 0), |look| look())
    }

    pub(super) fn observe(&self, meter: &Meter) {
        let seen = self.clone();
        // A registration lives as long as the meter; its handle does nothing.
        let _handle = meter
            .u64_observable_counter(AUDIT_SHIPPED)
            .with_description("Records that the store took.")
            .with_callback(move |observer| observer.observe(seen.look().0, &[]))
            .build();
        let seen = self.clone();
        let _handle = meter
            .u64_observable_gauge(AUDIT_LAG)
            .with_description("Records that are not shipped yet.")
            .with_callback(move |observer| observer.observe(seen.look().1, &[]))
            .build();
    }
}
