//! The integration tests, one binary.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops where it is wrong, and waits by the machine's own clock"
)]

mod charts;
mod cli;
mod cli_audit;
mod cli_policies;
mod connections;
mod facts;
mod facts_cells;
mod facts_check;
mod facts_faults;
mod helpers;
mod wire;
