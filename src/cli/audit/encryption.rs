//! `chaperone audit encryption-key`, and what every reader of an encrypted trail is given.

use std::path::PathBuf;

use crate::{
    audit::{EncryptionKeys, KeyError, ReadError, SealedError},
    cli::{
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
        output::{print, say},
    },
    config::Flag,
};

const AFTER: &str = "\
Examples:
  chaperone audit encryption-key --out /etc/chaperone/trail.enc
  chaperone audit encryption-key --out trail-2.enc --older /etc/chaperone/trail.enc

Exit codes:
  0  the key is written; its id is printed
  1  could not write it; a file that exists is never written over

To rotate, make a file with --older, let `audit.encryption_key_file` name it, and restart: the first key encrypts from
then on, the others open what was written before. A lost key cannot be made again: what it encrypted stays unreadable.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The file to write, for its owner alone
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A file of keys that encrypted before: they are kept behind the new one
    #[arg(long, value_name = "FILE")]
    older: Option<PathBuf>,
}

/// What opens encrypted records.
#[derive(Debug, Default, clap::Args)]
pub(super) struct EncryptionArgs {
    /// Keys that open encrypted records [default: those that are configured, for the configured folder]
    #[arg(long, value_name = "FILE")]
    encryption_key: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let older = match &args.older {
        Some(path) => EncryptionKeys::read(path).map_err(|error| failure(&error))?,
        None => EncryptionKeys::default(),
    };
    let keys = EncryptionKeys::generate(&older).map_err(|error| failure(&error))?;
    keys.write_new(&args.out).map_err(|error| failure(&error))?;
    print(keys.ids().first().copied().unwrap_or_default())?;
    say(format_args!(
        "the key is in {}: name it in `audit.encryption_key_file`, and keep a copy where the trail is not",
        args.out.display()
    ));
    Ok(Exit::Done)
}

fn failure(error: &KeyError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        KeyError::Exists { .. } => failure.next("name another file, and this one with --older to rotate"),
        KeyError::EncryptionForm { .. } => failure.next("`chaperone audit encryption-key --out FILE` makes one"),
        KeyError::Form { .. } | KeyError::Random(_) | KeyError::Name(_) | KeyError::Io { .. } | KeyError::Wrap => {
            failure
        }
    }
}

impl EncryptionArgs {
    /// The configuration with the keys as typed in the place of its own: for commands that may write into the trail, and
    /// write nothing unless the first of them is the configured one.
    pub(super) fn over(&self, config: &ConfigArgs) -> ConfigArgs {
        let mut config = config.clone();
        config.set.extend(self.encryption_key.as_ref().map(|path| Flag {
            name: "--encryption-key".to_owned(),
            key: "audit.encryption_key_file".to_owned(),
            value: path.display().to_string(),
        }));
        config
    }

    /// The keys as typed; else, unless the trail itself `is_typed`, as configured.
    pub(super) fn keys(
        &self,
        is_typed: bool,
        config: &ConfigArgs,
        context: &Context<'_>,
    ) -> Result<EncryptionKeys, Failure> {
        let path = match &self.encryption_key {
            Some(path) => Some(path.clone()),
            None if is_typed => None,
            None => context.offline_config(config)?.audit.encryption_key_file,
        };
        path.map_or_else(|| Ok(EncryptionKeys::default()), |path| EncryptionKeys::read(&path).map_err(|e| failure(&e)))
    }
}

/// What to do about records that do not open.
pub(super) fn sealed(failure: Failure, error: &SealedError) -> Failure {
    match error {
        SealedError::NoKey { .. } => {
            failure.next("give the file that `audit.encryption_key_file` named: --encryption-key FILE")
        }
        SealedError::OtherKey { .. } => failure.next("give the file that holds that key too: --encryption-key FILE"),
        SealedError::Changed { .. } => failure.next("`chaperone audit verify` says what is damaged"),
    }
}

/// A reading that failed.
pub(super) fn unread(error: &ReadError) -> Failure {
    match error {
        ReadError::Sealed(why) => sealed(Failure::of(exit(why), error), why),
        ReadError::Io { .. } => Failure::of(Exit::CannotRun, error),
    }
}

pub(super) fn exit(error: &SealedError) -> Exit {
    match error {
        SealedError::NoKey { .. } | SealedError::OtherKey { .. } => Exit::CannotRun,
        SealedError::Changed { .. } => Exit::TrailBroken,
    }
}
