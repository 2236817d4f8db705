//! The freshness protocol under a seeded scheduler: one thread, one seed, the real code, a simulated world around it.
//!
//! Driven are [`Validity`](super::fresh::Validity), [`feed::run`](super::feed::run), [`Fed`](super::fed::Fed) with its
//! visits, the kept facts and the loads under way, [`Hold`](super::fresh::Hold) and the counters a barrier waits for.
//! Simulated are the clock, the database (a log of commits), its connections, and the callers. At every point where the
//! real thing would wait for a network or a thread the seed decides who goes on, and how far the clock has moved.
//!
//! The log of commits is the judge: an allow that leaves may rest on nothing that was replaced more than S ago, nor on
//! anything replaced before the call of a barrier that has returned.

mod crew;
mod decide;
mod dice;
mod feed;
mod load;
mod log;
mod run;
mod world;

mod tests;
