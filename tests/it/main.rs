//! The integration tests, one binary.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test stops where it is wrong, waits by the machine's own clock, and prints its figures"
)]

mod administrators;
mod answers;
mod charts;
mod cli;
mod cli_admin;
mod cli_audit;
mod cli_db;
mod cli_keeping;
mod cli_policies;
mod cli_trail;
mod clocks;
mod connections;
mod disclosures;
mod docs;
mod ends;
mod facts;
mod facts_cells;
mod facts_check;
mod facts_faults;
mod fresh_postgres;
mod fresh_property;
mod grants;
mod helpers;
mod in_force;
mod notices;
mod notices_killed;
mod outage;
mod properties;
mod pruned;
mod reading;
mod receipts;
mod rederive;
mod reload;
mod rights;
mod shipped;
mod sidecars;
mod sidecars_faults;
mod standing;
mod verifiers;
mod wire;
mod withheld;
