//! Chaperone: a policy decision point that runs beside a healthcare application.
//!
//! The floors are described in `docs/architecture.md` and enforced by `tests/tidy.rs`.

pub mod audit;
pub mod authorize;
pub mod clock;
pub mod domain;
pub mod engine;
pub mod watch;
