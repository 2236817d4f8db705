//! `chaperone completions`: for a shell's start-up file.

use clap_complete::Shell;

use super::{command_line, exit::Exit, failure::Failure, output::print_bytes};

const AFTER: &str = "\
Examples:
  chaperone completions bash > /etc/bash_completion.d/chaperone
  source <(chaperone completions zsh)

Exit codes:
  0  printed
  1  could not run";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_line(), "chaperone", &mut script);
    print_bytes(&script)?;
    Ok(Exit::Done)
}
