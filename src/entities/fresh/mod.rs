//! Freshness: until when a fact that was read may still be believed.
//!
//! Facts are kept between requests; what keeps a revoked one from allowing anything is decided here, and nowhere else.
//! A change feed (`super::feed`) tells what changed. Each thing it tells advances a counter, the *tick*, and stamps the
//! facts concerned with it; a fact remembers the tick of before it was read, so it is valid exactly while nothing newer
//! stands on its stamp. The feed's silence counts only while its *lease* is young: the start of its last finished poll.
//!
//! The rules, each of which has a seeded bug that the suite must find (`docs/freshness.md` gives the proof in words):
//!
//! - the tick and the clock are read **before** the snapshot a fact is read from ([`Validity::mark`]);
//! - stamps stand **before** the lease is renewed, and the lease is the poll's **start** ([`Validity::renew`]);
//! - on a new connection the cursor comes first, **then** everything known becomes invalid ([`Validity::forget`]);
//! - validity is judged at use, and once more before an allow leaves ([`Hold::is_good`]).
//!
//! Deliberately absent: any I/O, any knowledge of a database.

mod bug;
mod hold;
mod in_flight;
mod validity;

pub(super) use bug::{Bug, is_seeded};
pub use hold::Hold;
pub(super) use hold::Pin;
pub use in_flight::Entered;
pub(super) use in_flight::InFlight;
pub(super) use validity::{Changed, ChangedFact, FactName, Mark, Validity};
