//! Chaperone: a policy decision point that runs beside a healthcare application.
//!
//! The floors are described in `docs/architecture.md` and enforced by `tests/tidy.rs`.

#[cfg(all(feature = "seeded-bugs", not(debug_assertions)))]
compile_error!("the feature `seeded-bugs` makes mistakes on purpose: it is for tests alone, build without --release");

pub mod admin;
pub mod app;
pub mod audit;
pub mod authorize;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod entities;
pub mod http;
pub mod lifecycle;
#[cfg(test)]
#[path = "../tests/it/helpers/postgres.rs"]
#[expect(dead_code, reason = "the integration tests use more of it")]
mod postgres_server;
pub mod store;
pub mod telemetry;
pub mod watch;
