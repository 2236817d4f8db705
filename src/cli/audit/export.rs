//! `chaperone audit export` and `audit verify-export`: records for others, and what proves them.

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Write, stderr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use super::{
    encryption::EncryptionArgs,
    filters::FilterArgs,
    keys,
    places::{CONFIGURED, Places},
    query::{unread, whole},
    verify_store,
};
use crate::{
    audit::{
        EncryptionKeys, Missing, ProveError,
        export::{ExportProof, Format, Runs},
        query::{Query, RecordRun},
    },
    cli::{
        bundle::plural,
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
        output::{print, say},
        whole_file::WholeFile,
    },
};

const AFTER: &str = "\
Examples:
  chaperone audit export --format jsonl --tenant T1 --out t1.jsonl
  chaperone audit export --format csv --store postgres://auditor@db/ehr --from 2026-03-01T00:00:00Z

Exit codes:
  0  done
  1  could not run; no half file is left
  2  a filter or format is none
  6  the trail is damaged, or no place that is read has some records; with --out nothing was written

Every form has the same rows in the same order, and the same records always give the same bytes. Without DIR and --store
both the configured folder and the store are read, as `audit query` does. With jsonl and --out, FILE.proof ties each line to a signed checkpoint: `audit verify-export FILE --key VKEY`.";

const AFTER_VERIFY: &str = "\
Examples:
  chaperone audit verify-export t1.jsonl --key trail.vkey
  chaperone audit verify-export t1.jsonl --proof elsewhere/t1.jsonl.proof --key trail.vkey

Exit codes:
  0  every signed line is proved; how many are not signed is said
  1  could not run
  6  the proof does not prove the file, or no line of it is under a signature

It proves that every line stands in the trail, unchanged. That the file has all lines that were asked for, it does not.";

/// No proof of an export is longer: it grows with the places where a selection is torn.
const PROOF_BYTES_MAX: u64 = 1024 * 1024 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Folder of the trail [default: the configured one]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Read what a store holds, beside DIR if it is given [default address: the configured one]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = CONFIGURED)]
    store: Option<String>,
    /// The form
    #[arg(long, value_enum)]
    format: ExportFormat,
    /// The file to write, whole or not at all [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A folder with checkpoints that were kept outside, for the proof [default: the configured one]
    #[arg(long, value_name = "DIR")]
    checkpoints: Option<PathBuf>,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// The stored bytes
    Jsonl,
    /// For a spreadsheet; no cell is calculated
    Csv,
    /// OCSF 1.8 API Activity, one a line
    Ocsf,
    /// FHIR R4 AuditEvent, one a line
    Fhir,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_VERIFY)]
pub(in crate::cli) struct VerifyArgs {
    /// The exported lines
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Their proof [default: FILE.proof]
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// A public key, or a file of them, as `audit vkey` prints it; repeat it for each that ever signed
    #[arg(long, value_name = "VKEY", required = true)]
    key: Vec<String>,
}

impl ExportFormat {
    const fn format(self) -> Format {
        match self {
            Self::Jsonl => Format::Jsonl,
            Self::Csv => Format::Csv,
            Self::Ocsf => Format::Ocsf,
            Self::Fhir => Format::Fhir,
        }
    }
}

/// What was written.
struct Written {
    records: u64,
    sha256: String,
    runs: Runs,
    lost: Option<String>,
    /// As of the last record.
    missing: Option<Missing>,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let query = args.filters.query()?;
    let places = Places::of(args.dir.as_ref(), args.store.as_deref(), &args.config, context)?;
    let bar = stderr().is_terminal().then(moving);
    let keys = args.encryption.keys(args.dir.is_some(), &args.config, context)?;
    let format = args.format.format();
    let is_whole =
        |lost: &Option<String>, missing: &Option<Missing>| whole(lost.as_deref(), missing.as_ref(), &places.named());
    let written = match &args.out {
        None => context.block_on(async {
            let mut run = begun(&places, keys, query).await?;
            write(&mut *run, format, &mut BufWriter::new(io::stdout().lock()), bar.as_ref()).await
        })??,
        Some(path) => {
            let place = |error: io::Error| Failure::of(Exit::CannotRun, &error).at(path.display().to_string());
            let mut file = WholeFile::beside(path).map_err(place)?;
            let written = context.block_on(async {
                let mut run = begun(&places, keys, query).await?;
                is_whole(&run.lost(), &run.missing().await.map_err(|error| unread(&error))?)?;
                write(&mut *run, format, &mut file, bar.as_ref()).await
            })??;
            is_whole(&written.lost, &written.missing)?;
            // The proof first: a file that stands there without it would look like one that has none.
            if format == Format::Jsonl {
                let checkpoints = checkpoints(args, context)?;
                prove(&places, path, &written, checkpoints.as_deref(), context)?;
            }
            file.keep().map_err(place)?;
            written
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let records = plural(usize::try_from(written.records).unwrap_or(usize::MAX), "record");
    say(format_args!(
        "{records} · sha256 {}\nthis was read beside the sidecar: nothing in the trail says so. Over the operators' listener \
         (GET /admin/v1/audit/export) an export is recorded",
        written.sha256
    ));
    is_whole(&written.lost, &written.missing)
}

async fn begun(places: &Places, keys: EncryptionKeys, query: Query) -> Result<Box<dyn RecordRun>, Failure> {
    places.source(keys)?.begin(query, None).await.map_err(|error| unread(&error))
}

/// Those that were kept outside. A typed place may be a copy of any trail: the configured ones are not held against it.
fn checkpoints(args: &Args, context: &Context<'_>) -> Result<Option<PathBuf>, Failure> {
    if args.checkpoints.is_some() || args.dir.is_some() || args.store.is_some() {
        return Ok(args.checkpoints.clone());
    }
    Ok(context.offline_config(&args.config)?.audit.checkpoints_dir)
}

/// Records that are taken at a time.
const AT_ONCE: usize = 500;

async fn write(
    run: &mut dyn RecordRun,
    format: Format,
    into: &mut dyn Write,
    bar: Option<&ProgressBar>,
) -> Result<Written, Failure> {
    let (mut digest, mut runs, mut records) = (Sha256::new(), Runs::default(), 0_u64);
    let mut put = |bytes: &[u8]| {
        digest.update(bytes);
        into.write_all(bytes)
    };
    let unwritten = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Exit::CannotRun, "nobody reads any more: the export is not whole"),
        _ => Failure::of(Exit::CannotRun, &error).because("the export cannot be written"),
    };
    put(&format.head()).map_err(unwritten)?;
    let mut row = Vec::new();
    loop {
        let some = run.next(AT_ONCE).await.map_err(|error| unread(&error))?;
        if some.is_empty() {
            break;
        }
        for found in &some {
            row.clear();
            format.row(found, &mut row).map_err(|error| Failure::of(Exit::CannotRun, &error))?;
            put(&row).map_err(unwritten)?;
            runs.push(found);
            records += 1;
        }
        if let Some(bar) = bar {
            bar.set_message(format!("{records} records"));
        }
    }
    into.flush().map_err(unwritten)?;
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let missing = run.missing().await.map_err(|error| unread(&error))?;
    Ok(Written { records, sha256, runs, lost: run.lost(), missing })
}

fn moving() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} exporting {msg} · {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn proof_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".proof");
    name.into()
}

/// Of the folder if it has all that was written, else of the frames that the store holds.
fn prove(
    places: &Places,
    path: &Path,
    written: &Written,
    checkpoints: Option<&Path>,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let make = |dir: &Path, checkpoints: Option<&Path>| {
        ExportProof::make(dir, written.runs.clone(), written.sha256.clone(), checkpoints)
    };
    let here = places.folder.as_deref().map(|dir| make(dir, checkpoints));
    let made = match (here, &places.store) {
        (Some(here), None) => here,
        (Some(Ok(proof)), Some(_)) => Ok(proof),
        (_, Some(url)) => {
            let room = verify_store::Room::new()?;
            let rebuilt = verify_store::rebuilt(url, &room, context)?;
            make(rebuilt.dir(), Some(checkpoints.unwrap_or_else(|| rebuilt.checkpoints())))
        }
        (None, None) => return Ok(()),
    };
    let proof = made.map_err(|error| match error {
        ProveError::Broken { .. } | ProveError::Contradicted { .. } => Failure::of(Exit::TrailBroken, &error)
            .next("`chaperone audit verify` says what is damaged; --format jsonl without --out writes what is there"),
        _ => Failure::of(Exit::CannotRun, &error),
    })?;
    let path = proof_of(path);
    let place = |error: io::Error| Failure::of(Exit::CannotRun, &error).at(path.display().to_string());
    let mut text = serde_json::to_vec(&proof).map_err(|error| Failure::of(Exit::CannotRun, &error))?;
    text.push(b'\n');
    let mut file = WholeFile::beside(&path).map_err(place)?;
    file.write_all(&text).map_err(place)?;
    file.keep().map_err(place)
}

pub(super) fn verify(args: &VerifyArgs) -> Result<Exit, Failure> {
    let keys = keys(&args.key)?;
    let proof_path = args.proof.clone().unwrap_or_else(|| proof_of(&args.file));
    let at = |path: &Path| {
        let place = path.display().to_string();
        move |error: io::Error| Failure::of(Exit::CannotRun, &error).at(place)
    };
    let len = File::open(&proof_path).and_then(|file| file.metadata()).map_err(at(&proof_path))?.len();
    if len > PROOF_BYTES_MAX {
        return Err(
            Failure::new(Exit::TrailBroken, "the file is too long for a proof").at(proof_path.display().to_string())
        );
    }
    let text = fs::read(&proof_path).map_err(at(&proof_path))?;
    let file = fs::read(&args.file).map_err(at(&args.file))?;
    let proved = ExportProof::parse(&text).and_then(|proof| proof.verify(&file, &keys));
    let proved = proved.map_err(|error| Failure::of(Exit::TrailBroken, &error).at(args.file.display().to_string()))?;
    // Whoever gives a key expects signatures: without any, whoever wrote the file wrote its proof too.
    if proved.records > 0 && proved.unsigned == proved.records {
        let unsigned =
            format!("unsigned: none of its {} lines is under a signature, so nothing is proved", proved.records);
        return Err(Failure::new(Exit::TrailBroken, unsigned).at(args.file.display().to_string()).next(
            "export again once a checkpoint covers the lines (`audit.checkpoint_seconds`, or the end of the writer); a \
             trail without `audit.key_file` signs none",
        ));
    }
    print(format_args!(
        "{} lines · {} proved · {} under no signature",
        proved.records,
        proved.records - proved.unsigned,
        proved.unsigned
    ))?;
    Ok(Exit::Done)
}
