//! `chaperone audit keygen` and `audit vkey`: the key that signs checkpoints, and its public half.

use std::path::PathBuf;

use crate::{
    audit::{KeyError, SigningKey},
    cli::{
        exit::Exit,
        failure::Failure,
        output::{print, say},
    },
};

const AFTER_KEYGEN: &str = "\
Examples:
  chaperone audit keygen --origin trail.example/clinic > trail.vkey
  chaperone audit keygen --origin trail.example/clinic --out /etc/chaperone/trail.key > trail.vkey

Exit codes:
  0  the key is written; its public half is printed: keep it (> trail.vkey) for whoever verifies
  1  could not write it; a file that exists is never written over";

const AFTER_VKEY: &str = "\
Examples:
  chaperone audit vkey trail.key
  chaperone audit vkey /etc/chaperone/trail.key > trail.vkey

Exit codes:
  0  done
  1  the file holds no key";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_KEYGEN)]
pub(in crate::cli) struct KeygenArgs {
    /// Whose trail it is: an address without a scheme, such as `trail.example/clinic`
    #[arg(long, value_name = "ORIGIN")]
    origin: String,
    /// The file to write, for its owner alone
    #[arg(long, value_name = "FILE", default_value = "trail.key")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_VKEY)]
pub(in crate::cli) struct VkeyArgs {
    /// The key file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn keygen(args: &KeygenArgs) -> Result<Exit, Failure> {
    let key = SigningKey::generate(&args.origin).map_err(|error| failure(&error))?;
    key.write_new(&args.out).map_err(|error| failure(&error))?;
    print(key.verifier())?;
    say(format_args!(
        "the key is in {}: name it in `audit.key_file`. The line above is its public half: give it to whoever verifies",
        args.out.display()
    ));
    Ok(Exit::Done)
}

pub(super) fn vkey(args: &VkeyArgs) -> Result<Exit, Failure> {
    let key = SigningKey::read(&args.file).map_err(|error| failure(&error))?;
    print(key.verifier())?;
    Ok(Exit::Done)
}

fn failure(error: &KeyError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        KeyError::Exists { .. } => failure.next("name another file; to rotate, let the configuration name the new one"),
        KeyError::Form { .. } => failure.next("`chaperone audit keygen` makes one"),
        KeyError::EncryptionForm { .. }
        | KeyError::Random(_)
        | KeyError::Name(_)
        | KeyError::Io { .. }
        | KeyError::Wrap => failure,
    }
}
