//! What every command finds: the environment, the configuration on demand, a runtime, telemetry.

use std::{future::Future, path::PathBuf, pin::Pin, sync::OnceLock, time::Duration};

use owo_colors::OwoColorize;

use super::{exit::Exit, failure::Failure, output::say};
use crate::{
    config::{self, Config, ConfigProblem, Environment, Flag, Input, Loaded, TelemetryConfig},
    telemetry::{self, InitError, Telemetry},
};

/// Cedar parses and evaluates by recursion; on the 2 MiB stacks of the default, a policy could end the process.
pub const STACK_BYTES: usize = 8 * 1024 * 1024;

/// What work on blocking threads may still take when a command is done.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// So many steps of tasks before a busy thread looks at the sockets again. tokio's own number, 61, is for steps of
/// microseconds; evaluating a deny takes milliseconds, and whoever asks next would wait for 61 of them.
const STEPS_BETWEEN_LOOKS: u32 = 4;

/// The surroundings of a command.
#[derive(Debug)]
pub struct Context<'a> {
    pub environment: Environment,
    telemetry: &'a OnceLock<Telemetry>,
}

/// Where a command's configuration comes from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration file [default: $CHAPERONE_CONFIG, ./chaperone.yaml, /etc/chaperone/chaperone.yaml]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Set one key over file and environment, as `server.tcp.listen=127.0.0.1:8380`
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub(super) set: Vec<Flag>,
}

/// Says what a configuration warns of.
pub(super) fn warn(warnings: &[ConfigProblem]) {
    for warning in warnings {
        say(format_args!("{} {warning}", "warning:".yellow().bold()));
    }
}

fn setting(text: &str) -> Result<Flag, String> {
    let (key, value) = text.split_once('=').ok_or("a key and a value, as `limits.in_flight=64`")?;
    Ok(Flag { name: format!("--set {key}"), key: key.to_owned(), value: value.to_owned() })
}

impl<'a> Context<'a> {
    pub const fn new(environment: Environment, telemetry: &'a OnceLock<Telemetry>) -> Self {
        Self { environment, telemetry }
    }

    /// Reads the configuration for a command that serves nobody: what it warns of concerns a sidecar.
    pub(super) fn offline_config(&self, args: &ConfigArgs) -> Result<Config, Failure> {
        Ok(self.loaded(args)?.config)
    }

    /// Reads the configuration; whoever asks says what it warns of.
    pub(super) fn loaded(&self, args: &ConfigArgs) -> Result<Loaded, Failure> {
        let input = Input { file: args.config.clone(), environment: self.environment.clone(), flags: args.set.clone() };
        Ok(config::load(&input)?)
    }

    /// Reads the configuration and says its warnings.
    pub(super) fn config(&self, args: &ConfigArgs) -> Result<Loaded, Failure> {
        let loaded = self.loaded(args)?;
        warn(&loaded.warnings);
        Ok(loaded)
    }

    /// Sets telemetry up, once; the last stage of the process flushes it.
    pub(super) fn telemetry(&self, config: &TelemetryConfig) -> Result<&'a Telemetry, InitError> {
        if let Some(telemetry) = self.telemetry.get() {
            return Ok(telemetry);
        }
        let telemetry = telemetry::init(config, &self.environment)?;
        Ok(self.telemetry.get_or_init(|| telemetry))
    }

    /// Runs `work` on a runtime of its own, whose threads have stacks that policies fit on.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("chaperone")
            .thread_stack_size(STACK_BYTES)
            .event_interval(STEPS_BETWEEN_LOOKS)
            .build()
            .map_err(|error| Failure::of(Exit::CannotRun, &error).because("the runtime cannot start"))?;
        // By its address: the runtime moves what it is given, and is written out anew for each kind of it.
        let work: Pin<Box<dyn Future<Output = T>>> = Box::pin(work);
        let done = runtime.block_on(work);
        runtime.shutdown_timeout(RUNTIME_END);
        Ok(done)
    }
}
