//! What `chaperone serve` and `chaperone admin` have in common: the configuration with what it warns of, telemetry, what
//! must be there for anybody to ask, then the process until it is asked to stop.

use std::{fmt::Display, sync::Arc};

use super::{
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
};
use crate::{
    app::{self, Listening, Process, Start},
    clock::SystemClock,
    config::Config,
};

/// One of the two.
pub(super) struct Started {
    pub(super) process: Process,
    /// What is missing for it to be of any use; then it does not start.
    pub(super) require: fn(&Config) -> Result<(), Failure>,
    /// Says in the log where it listens, once it does.
    pub(super) ready: fn(&Listening),
}

impl Started {
    pub(super) fn run(self, args: &ConfigArgs, context: &Context<'_>) -> Result<Exit, Failure> {
        let loaded = context.loaded(args)?;
        let telemetry = context.telemetry(&loaded.config.telemetry)?;
        for warning in loaded.warnings.iter().filter(|warning| self.process.opens(&warning.path)) {
            tracing::warn!(key = warning.path, said = %warning.origin, "{}", warning.message);
        }
        (self.require)(&loaded.config)?;
        let ready = self.ready;
        let start = Start {
            process: self.process,
            config: loaded.config,
            clock: Arc::new(SystemClock),
            metrics: telemetry.metrics.clone(),
            demo_clock: None,
            on_listening: Box::new(move |listening| {
                ready(listening);
                Ok(())
            }),
        };
        context.block_on(app::run(start))??;
        Ok(Exit::Done)
    }
}

/// Where a door is, in the words of a log.
pub(super) fn place(door: Option<impl Display>) -> String {
    door.map_or_else(|| "off".to_owned(), |door| door.to_string())
}
