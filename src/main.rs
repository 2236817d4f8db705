//! The process in three stages: understand the words, run the command, end with its exit code.
//!
//! No stage can be skipped: whatever the command returns, and even if it panics, the last spans and metrics are flushed.

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use chaperone::{
    cli::{self, Exit, Failure, STACK_BYTES},
    config::Environment,
    telemetry::Telemetry,
};

fn main() -> ExitCode {
    let telemetry = Arc::new(OnceLock::new());
    let outcome = run(&telemetry);
    end(outcome, telemetry.get()).into()
}

/// Understands and runs the command on a thread whose stack does not depend on `ulimit -s`.
fn run(telemetry: &Arc<OnceLock<Telemetry>>) -> Result<Exit, Failure> {
    let telemetry = Arc::clone(telemetry);
    let command = move || match cli::parse(std::env::args_os()) {
        Ok(cli) => cli::run(cli, Environment::of_process(), &telemetry),
        Err(exit) => Ok(exit),
    };
    let thread = std::thread::Builder::new()
        .name("main".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(command)
        .map_err(|error| Failure::of(Exit::CannotRun, &error).because("the system has no thread left"))?;
    // The panic was already told on stderr, with its place.
    thread.join().unwrap_or_else(|_| Err(Failure::new(Exit::CannotRun, "the command panicked; this is a bug")))
}

/// Says what went wrong and flushes.
fn end(outcome: Result<Exit, Failure>, telemetry: Option<&Telemetry>) -> Exit {
    let exit = match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            cli::say(&failure);
            failure.exit
        }
    };
    if let Some(telemetry) = telemetry {
        telemetry.flush();
    }
    exit
}
