//! `chaperone audit prove` and `audit verify-proof`: one record, without the folder it came from.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
};

use super::{
    encryption::{self, EncryptionArgs},
    folders, keys,
};
use crate::{
    audit::{self, Proof, ProveError},
    cli::{
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
        output::{print_bytes, say},
    },
};

const AFTER_PROVE: &str = "\
Examples:
  chaperone audit prove 019a8c5e-0f3c-7000-8000-000000000001/12 -o record.tlog-proof
  chaperone audit prove 019a8c5e-0f3c-7000-8000-000000000001/12 ./copy

Exit codes:
  0  the proof is written
  1  the record is not there, or no checkpoint covers it yet
  6  the trail does not verify";

const AFTER_VERIFY: &str = "\
Examples:
  chaperone audit verify-proof record.tlog-proof --key trail.vkey
  chaperone audit verify-proof record.tlog-proof --key old.vkey --key new.vkey

Exit codes:
  0  the record is proved; it is printed
  1  could not run
  6  the file proves nothing";

/// No record is longer than a frame, and a proof is a third longer than its record.
const PROOF_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_PROVE)]
pub(in crate::cli) struct Args {
    /// The record, as its receipt names it
    #[arg(value_name = "WRITER/SEQ")]
    record: String,
    /// Folder of the trail [default: the configured one]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A folder with checkpoints that were kept outside [default: the configured one]
    #[arg(long, value_name = "DIR")]
    checkpoints: Option<PathBuf>,
    /// The file to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_VERIFY)]
pub(in crate::cli) struct ProofArgs {
    /// The proof, as `audit prove` wrote it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A public key, or a file of them, as `audit vkey` prints it; repeat it for each
    #[arg(long, value_name = "VKEY", required = true)]
    key: Vec<String>,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let unread = || {
        Failure::new(Exit::Usage, format!("`{}` names no record", args.record))
            .next("a receipt names it: `WRITER/SEQ`, such as 019a8c5e-0f3c-7000-8000-000000000001/12")
    };
    let (writer, seq) = args.record.split_once('/').ok_or_else(unread)?;
    let seq: u64 = seq.parse().map_err(|_number| unread())?;
    let (dir, checkpoints) = folders(args.dir.as_ref(), args.checkpoints.as_ref(), &args.config, context)?;
    let opens = args.encryption.keys(args.dir.is_some(), &args.config, context)?;
    let proof = audit::prove(&dir, writer, seq, checkpoints.as_deref(), &opens).map_err(|error| unproved(&error))?;
    match &args.output {
        None => print_bytes(proof.to_string().as_bytes())?,
        Some(path) => {
            let failed = |error: std::io::Error| Failure::of(Exit::CannotRun, &error).at(path.display().to_string());
            let mut file = File::create(path).map_err(failed)?;
            file.write_all(proof.to_string().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        }
    }
    say(format_args!(
        "record {seq} of {writer} is among the {} records of the checkpoint; `audit verify-proof` checks its signature",
        proof.size()
    ));
    Ok(Exit::Done)
}

fn unproved(error: &ProveError) -> Failure {
    let exit = match error {
        ProveError::Broken { .. } | ProveError::Contradicted { .. } | ProveError::Changed { .. } => Exit::TrailBroken,
        ProveError::Sealed(why) => encryption::exit(why),
        ProveError::Io { .. }
        | ProveError::NoWriter(_)
        | ProveError::NoRecord { .. }
        | ProveError::Pruned { .. }
        | ProveError::NoCheckpoint { .. } => Exit::CannotRun,
    };
    let failure = Failure::of(exit, error);
    match error {
        ProveError::NoCheckpoint { .. } => failure.next(
            "a running trail with `audit.key_file` signs one each `audit.checkpoint_seconds` and as it ends; \
             --checkpoints names a folder of those that were kept outside",
        ),
        ProveError::Sealed(why) => encryption::sealed(failure, why),
        ProveError::Broken { .. } | ProveError::Contradicted { .. } | ProveError::Changed { .. } => {
            failure.next("`chaperone audit verify` says what is damaged")
        }
        ProveError::Io { .. } | ProveError::NoWriter(_) | ProveError::NoRecord { .. } | ProveError::Pruned { .. } => {
            failure
        }
    }
}

pub(super) fn verify(args: &ProofArgs) -> Result<Exit, Failure> {
    let place = || args.file.display().to_string();
    let len = fs::metadata(&args.file).map_err(|error| Failure::of(Exit::CannotRun, &error).at(place()))?.len();
    if len > PROOF_BYTES_MAX {
        return Err(Failure::new(Exit::TrailBroken, "the file is too long for a proof").at(place()));
    }
    let text = fs::read(&args.file).map_err(|error| Failure::of(Exit::CannotRun, &error).at(place()))?;
    let keys = keys(&args.key)?;
    let proof = Proof::parse(&text).and_then(|proof| proof.verify(&keys).map(|()| proof));
    let proof = proof.map_err(|error| Failure::of(Exit::TrailBroken, &error).at(place()))?;
    print_bytes(&[proof.line(), b"\n"].concat())?;
    say(format_args!(
        "record {} of {} is proved: it is among the {} records that were signed",
        proof.seq(),
        proof.writer(),
        proof.size()
    ));
    Ok(Exit::Done)
}
