//! The accounting of disclosures (45 CFR 164.528): to whom a client's data went in six years, and why.
//!
//! Rows come from the store's tables and from outcomes in the trail; everything from [`entries()`] to a rendered
//! [`Report`] is pure: it reads no clock and no database, so that the same rows and instants always give the same bytes.
//! [`load`] alone touches a database, and only to read. Internal uses are never accounted and never come here.

mod category;
mod clocks;
mod csv;
mod entry;
mod html;
pub mod load;
mod report;
mod select;
mod series;
#[cfg(test)]
mod tests;

pub use category::Category;
pub use clocks::{Clocks, ClocksError, Extension};
pub use csv::csv;
pub use entry::{Entry, Origin, OutcomeEntry, Row, entries};
pub use html::html;
pub use report::{Case, Copy, Report, report};
pub use select::{Rules, Statement, Suspension};
