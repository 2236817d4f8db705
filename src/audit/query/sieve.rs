//! Judging lines that another room brings: they are held against the query as those of a folder are.

use super::{Found, Matcher, Query};

/// Lets through what belongs to one query.
#[derive(Debug)]
pub struct Sieve(Matcher);

impl Sieve {
    pub fn new(query: Query) -> Self {
        Self(Matcher::new(query))
    }

    /// The record that stands in `line`, if it has that number and belongs to the query.
    pub fn take(&self, writer: &str, seq: u64, line: Vec<u8>) -> Option<Found> {
        let stamp = self.0.stamp_of(&line).filter(|stamp| stamp.seq == seq)?;
        Some(Found { at: stamp.at, writer: writer.into(), seq, line })
    }
}
