//! Behaviour of the whole, through its public doors.
//!
//! `cfg(test)` is true here; saying it lets helpers use what the lints allow in tests alone.

#[cfg(test)]
mod connections;
#[cfg(test)]
mod helpers;
#[cfg(test)]
mod wire;
