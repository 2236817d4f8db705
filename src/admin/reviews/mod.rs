//! Reviews of grants: every grant has one. The queue, who may close one, and what closing it leads to.
//!
//! The steps are `domain::review`'s. Two questions go to the policies: whether the person reviews at all (on the client),
//! and whether they may review these people (on the grant's holder and on its approver).

mod queue;
mod rows;
mod steps;
mod view;

pub use steps::{ReviewPermit, ReviewStep};
pub use view::ReviewView;

pub(super) use queue::{overdue, past_due};
pub(super) use rows::{follow, insert, of_grant};

use std::sync::Arc;

/// Plain actions with these names are asked, bars aside, of every new grant: what explains it, and what raises its review.
pub(super) const EXPLAINED: &str = "explained:";
pub(super) const RAISED: &str = "raised:";

/// What the facts say about a new grant, in the words of the actions that hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) explained: Vec<Arc<str>>,
    pub(super) raised: Vec<Arc<str>>,
}
