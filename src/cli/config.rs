//! `chaperone config`: the effective configuration, and the schema of the file.

use clap::{Subcommand, ValueEnum};
use owo_colors::OwoColorize;

use super::{
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
    output::{print, say},
};
use crate::config;

const AFTER: &str = "\
Examples:
  chaperone config print --redacted
  chaperone config schema > chaperone.schema.json

Exit codes:
  0  printed
  1  the configuration has mistakes";

const PRINT_AFTER: &str = "\
Examples:
  chaperone config print --redacted
  chaperone config print --config chaperone.yaml -o json

Exit codes:
  0  printed
  1  the configuration has mistakes";

const SCHEMA_AFTER: &str = "\
Examples:
  chaperone config schema > chaperone.schema.json
  chaperone config schema | jq .properties.limits

Exit codes:
  0  printed
  1  could not run";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print what file, environment and flags mean together
    Print(PrintArgs),
    /// Print the JSON Schema of the file
    #[command(after_help = SCHEMA_AFTER)]
    Schema,
}

#[derive(Debug, clap::Args)]
#[command(after_help = PRINT_AFTER)]
struct PrintArgs {
    /// Hide secrets; they are hidden without it too
    #[arg(long)]
    redacted: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: ConfigFormat,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ConfigFormat {
    #[default]
    Yaml,
    Json,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    match args.command {
        ConfigCommand::Print(args) => print_effective(&args, context)?,
        ConfigCommand::Schema => print(format_args!("{:#}", config::schema()))?,
    }
    Ok(Exit::Done)
}

fn print_effective(args: &PrintArgs, context: &Context<'_>) -> Result<(), Failure> {
    let loaded = context.config(&args.config)?;
    match &loaded.file {
        Some(file) => say(format_args!("{} {}", "from".dimmed(), file.display())),
        None => say("no configuration file was found: these are the defaults and the environment"),
    }
    let text = match args.output {
        ConfigFormat::Yaml => {
            serde_saphyr::to_string(&loaded.config).map_err(|error| Failure::of(Exit::CannotRun, &error))?
        }
        ConfigFormat::Json => {
            serde_json::to_string_pretty(&loaded.config).map_err(|error| Failure::of(Exit::CannotRun, &error))?
        }
    };
    print(text.trim_end())
}
