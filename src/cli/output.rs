//! stdout is the result, stderr is talk. Colour only on a terminal, and never with `NO_COLOR`.

use std::{
    fmt,
    io::{self, Write},
};

use super::{exit::Exit, failure::Failure};

/// Writes a piece of the result. A reader that went away (`| head`) is no failure.
pub(super) fn print(result: impl fmt::Display) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    match writeln!(stdout, "{result}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::of(Exit::CannotRun, &error).because("the result cannot be written to stdout"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes bytes of the result as they are.
pub(super) fn print_bytes(result: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(result).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::of(Exit::CannotRun, &error).because("the result cannot be written to stdout"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Talks. A closed stderr has nobody to tell.
pub fn say(talk: impl fmt::Display) {
    let mut stderr = anstream::stderr().lock();
    if writeln!(stderr, "{talk}").is_err() {
        tracing::debug!("stderr is closed");
    }
}
