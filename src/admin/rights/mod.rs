//! Rows that give and bar access for longer than a grant: assignments, restrictions, consents, support tickets, suspensions.
//!
//! All are kept the same way (`kept.rs`): made, taken one step further, shown; never deleted. What each may become is said
//! by `domain::{assignment, restriction, consent, ticket, suspension}`, who may by the policies. Where the mapping reads such rows from
//! the application, nothing is changed here (`owner.rs`).

mod assignments;
mod consents;
mod kept;
mod named;
mod owner;
mod restrictions;
mod suspensions;
mod tickets;

pub use assignments::{AskAssignment, EndAssignment, MoveWindow, Until};
pub use consents::AskConsent;
pub use kept::{Kept, View};
pub use restrictions::{AskRestriction, RestrictionStep};
pub use suspensions::SetStanding;
pub use tickets::{AskTicket, TicketStep};
