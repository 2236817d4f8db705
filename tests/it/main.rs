//! The one integration binary: one file a subject.

#[cfg(test)]
mod cli;
