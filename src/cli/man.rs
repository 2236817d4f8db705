//! `chaperone man`: manual pages in roff.

use super::{command_line, exit::Exit, failure::Failure, output::print_bytes};

const AFTER: &str = "\
Examples:
  chaperone man > /usr/share/man/man1/chaperone.1
  chaperone man audit verify | man -l -

Exit codes:
  0  printed
  1  could not run
  2  there is no such command";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// The page of this command; none prints the page of all
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let mut whole = command_line();
    // Propagates names such as `chaperone-audit-verify` into the subcommands.
    whole.build();
    let mut command = &whole;
    for word in &args.command {
        command = command.find_subcommand(word).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("there is no command `{}`", args.command.join(" ")))
                .next("`chaperone --help` lists them")
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::of(Exit::CannotRun, &error).because("the page cannot be written"))?;
    print_bytes(&page)?;
    Ok(Exit::Done)
}
