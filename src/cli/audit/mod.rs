//! `chaperone audit`: reads, verifies and proves the trail, offline.

mod disclosures;
mod encryption;
mod export;
mod filters;
mod hold;
mod key;
mod line;
mod places;
mod prove;
mod prune;
mod prune_store;
mod query;
mod rederive;
mod tail;
mod verify;
mod verify_store;
mod writing;

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
};
use crate::{
    app,
    audit::{VerifierKey, VerifierKeyError},
};

const AFTER: &str = "\
Examples:
  chaperone audit tail -f
  chaperone audit verify /var/lib/chaperone/audit

Exit codes:
  0  done
  1  could not run
  2  wrong usage: a filter, a cursor, a hold, a date
  5  a decision that was made again came out otherwise
  6  the trail does not verify, or a record is damaged";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Print the last records, and go on with -f
    Tail(tail::Args),
    /// Find records by who, whom, what, when and why
    Query(Box<query::Args>),
    /// Write records for others: stored bytes with their proof, CSV, OCSF, FHIR
    Export(Box<export::Args>),
    /// Verify exported lines by their proof, without the trail
    VerifyExport(export::VerifyArgs),
    /// Account for the disclosures of a client's data (45 CFR 164.528)
    Disclosures(Box<disclosures::Args>),
    /// Make past decisions again, of the facts that were kept
    Rederive(Box<rederive::Args>),
    /// Verify chain, sequence, seals and checkpoints
    Verify(verify::Args),
    /// Take out one record, with what proves it
    Prove(prove::Args),
    /// Verify such a proof, without the trail
    VerifyProof(prove::ProofArgs),
    /// Keep records beyond their time: place, lift and list legal holds
    Hold(hold::Args),
    /// Let segments go whose every record is over its time and under no hold
    Prune(prune::Args),
    /// Make a key that signs checkpoints
    Keygen(key::KeygenArgs),
    /// Print the public half of a key
    Vkey(key::VkeyArgs),
    /// Make a key that encrypts the records of a trail, or another one in front of it
    EncryptionKey(encryption::Args),
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    match args.command {
        AuditCommand::Tail(args) => tail::run(&args, context),
        AuditCommand::Query(args) => query::run(&args, context),
        AuditCommand::Export(args) => export::run(&args, context),
        AuditCommand::VerifyExport(args) => export::verify(&args),
        AuditCommand::Disclosures(args) => disclosures::run(&args, context),
        AuditCommand::Rederive(args) => rederive::run(&args, context),
        AuditCommand::Verify(args) => verify::run(&args, context),
        AuditCommand::Prove(args) => prove::run(&args, context),
        AuditCommand::VerifyProof(args) => prove::verify(&args),
        AuditCommand::Hold(args) => hold::run(&args, context),
        AuditCommand::Prune(args) => prune::run(&args, context),
        AuditCommand::Keygen(args) => key::keygen(&args),
        AuditCommand::Vkey(args) => key::vkey(&args),
        AuditCommand::EncryptionKey(args) => encryption::run(&args),
    }
}

/// The folder of the trail: as typed, else as configured.
fn folder(typed: Option<&PathBuf>, config: &ConfigArgs, context: &Context<'_>) -> Result<PathBuf, Failure> {
    folders(typed, None, config, context).map(|(folder, _)| folder)
}

/// The same, and the folder of checkpoints outside. A typed folder may be a copy of any trail: the configured
/// checkpoints are not held against it.
fn folders(
    typed: Option<&PathBuf>,
    checkpoints: Option<&PathBuf>,
    config: &ConfigArgs,
    context: &Context<'_>,
) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    let (folder, configured) = match typed {
        Some(folder) => (folder.clone(), None),
        None => {
            let audit = context.offline_config(config)?.audit;
            (audit.dir, audit.checkpoints_dir)
        }
    };
    if folder.is_dir() {
        return Ok((folder, checkpoints.cloned().or(configured)));
    }
    Err(Failure::new(Exit::CannotRun, "there is no trail")
        .at(folder.display().to_string())
        .next("name its folder as DIR, or the configuration that names it: --config FILE"))
}

/// Where what the trail shipped is read, by the configuration: the address for that, else the one that it is shipped to.
fn shipped_to(config: &ConfigArgs, context: &Context<'_>) -> Result<String, Failure> {
    let config = context.offline_config(config)?;
    app::shipped_address(&config).or_else(|| app::shipping_address(&config)).ok_or_else(|| {
        Failure::new(Exit::CannotRun, "the trail is not shipped")
            .next("name a database: `--store URL`, or set `audit.ship`")
    })
}

/// What stands behind each `--key`: one key, or a file with one a line.
fn keys(typed: &[String]) -> Result<Vec<VerifierKey>, Failure> {
    let mut keys = Vec::new();
    for text in typed {
        let error = match text.parse() {
            Ok(key) => {
                keys.push(key);
                continue;
            }
            Err(error) => error,
        };
        // What a private key says is not said again: the terminal may be recorded.
        let is_private = |text: &str| text.trim_start().starts_with("PRIVATE+KEY");
        let shown = if is_private(text) { "(a private key)" } else { text.as_str() };
        let refused = |what: String| Failure::new(Exit::Usage, what).at(format!("--key {shown}"));
        let private = || {
            refused("that is the private key: it signs, and whoever verifies must not have it".to_owned())
                .next("give its public half: `chaperone audit vkey FILE > trail.vkey`, then --key trail.vkey")
        };
        if is_private(text) {
            return Err(private());
        }
        let error: VerifierKeyError = error;
        let lines = std::fs::read_to_string(text).map_err(|_no_file| {
            refused(format!("{error}, and it names no file"))
                .next("give what `chaperone audit vkey` prints, or a file of it")
        })?;
        if is_private(&lines) {
            return Err(private());
        }
        let before = keys.len();
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            keys.push(line.parse().map_err(|error: VerifierKeyError| refused(format!("in the file: {error}")))?);
        }
        if keys.len() == before {
            return Err(refused("the file is empty".to_owned()));
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::config::Environment;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a configuration that a test writes need not outlive the machine")]
    fn a_store_is_read_at_the_address_for_reading_before_the_one_that_ships() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chaperone.yaml");
        let telemetry = OnceLock::new();
        let read_at = |audit: &str| {
            std::fs::write(&file, format!("audit: {{ {audit} }}\n")).unwrap();
            let context = Context::new(Environment::default(), &telemetry);
            shipped_to(&ConfigArgs { config: Some(file.clone()), set: Vec::new() }, &context)
        };
        let ships = "ship: store, key_file: /k, ship_url: 'postgres://shipper@db/ehr'";
        assert_eq!(read_at(ships).unwrap(), "postgres://shipper@db/ehr");
        let reads = format!("{ships}, read_url: 'postgres://auditor@db/ehr'");
        assert_eq!(read_at(&reads).unwrap(), "postgres://auditor@db/ehr");
        // Verifying needs no key, so that it reads an encrypted trail too.
        assert_eq!(read_at(&format!("{reads}, encryption_key_file: /e")).unwrap(), "postgres://auditor@db/ehr");
        assert_eq!(read_at("ship: off").unwrap_err().what, "the trail is not shipped");
    }
}
