//! Changes to what decides: grants and their reviews; assignments and other rights; a frame for every other one; and
//! whether a change is in force on every sidecar (`sidecars/`).
//!
//! There is one way to change anything here. [`Admin::ask`] has the policies decide, and gives a [`Permitted`] or a
//! refusal; [`Admin::change`] takes that permit and a [`Change`], and does it: the change and its record stand together or
//! not at all (`change.rs` says how a crash is kept out from between them). [`Admin::recover`] ends on the next start what
//! a crash cut off.
//!
//! Deliberately absent: rules. Who may is said by policies, what a grant may become by `domain::grant` and
//! `domain::review`; here rows are read, those are asked, and what they say is written and recorded.

mod actor;
mod change;
mod cursor;
mod error;
mod gauges;
pub mod grants;
mod intents;
pub mod notices;
mod once;
pub mod page;
mod reading;
pub mod reviews;
pub mod rights;
pub mod sidecars;
mod version;

use std::sync::{Arc, Mutex};

pub use actor::{Actor, Permitted, Plea};
pub use change::{About, Change, Done, Moment, Told};
pub use error::AdminError;
pub use once::Once;
pub use version::Version;

use crate::{
    audit::Trail, authorize::Authorizer, clock::Clock, domain::grant::GrantLimits, engine::live::Live, entities::Facts,
    store::Store, telemetry::Metrics,
};

/// The rooms that a change needs.
#[derive(Debug)]
pub struct Rooms {
    pub authorizer: Arc<Authorizer>,
    pub live: Arc<Live>,
    pub facts: Arc<Facts>,
    pub trail: Arc<Trail>,
    /// `None`: no store is configured, and nothing can be changed.
    pub store: Option<Arc<Store>>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub limits: GrantLimits,
}

/// Makes changes; one for the whole process, shared.
#[derive(Debug)]
pub struct Admin {
    rooms: Rooms,
    /// Changes whose commit was cut off and of which nobody knows yet.
    unsettled: Mutex<Vec<Arc<str>>>,
    /// `None`: nobody is told of grants and reviews.
    notices: Option<Arc<notices::Notices>>,
}

impl Admin {
    pub const fn new(rooms: Rooms) -> Self {
        Self { rooms, unsettled: Mutex::new(Vec::new()), notices: None }
    }

    fn store(&self) -> Result<&Store, AdminError> {
        self.rooms.store.as_deref().ok_or(AdminError::NoStore)
    }

    fn moment(&self) -> Moment {
        Moment { now: self.rooms.clock.now(), limits: self.rooms.limits }
    }

    fn new_id(&self) -> Arc<str> {
        crate::clock::new_id(&*self.rooms.clock).to_string().into()
    }
}
