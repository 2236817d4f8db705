//! The integration tests, one binary.

mod facts;
mod facts_check;
mod facts_faults;
mod helpers;
