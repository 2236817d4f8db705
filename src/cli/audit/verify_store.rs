//! `chaperone audit verify --store`: the frames that a store holds, rebuilt as a folder and verified as one, and the index
//! over them compared with the records.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    audit::{self, Finding, Rebuilt, RebuiltWriter, Report, VerifyOptions},
    cli::{context::Context, exit::Exit, failure::Failure},
    domain::IndexRow,
    store::{HeldWriter, INDEX_COLUMNS, StoreError, TrailReader},
};

/// A folder for the time of a verification, taken away at its end.
pub(super) struct Room(PathBuf);

impl Room {
    pub(super) fn new() -> Result<Self, Failure> {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes).map_err(|error| Failure::of(Exit::CannotRun, &error))?;
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = std::env::temp_dir().join(format!("chaperone-verify-{name}"));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(in_the_way(&path, &error)),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a folder of rebuilt segments stays behind");
        }
    }
}

/// The frames that the store at `url` holds, as a folder of segments and one of checkpoints.
pub(super) fn rebuilt(url: &str, room: &Room, context: &Context<'_>) -> Result<Rebuilt, Failure> {
    let rebuilt = Rebuilt::begin(&room.0).map_err(|error| in_the_way(&room.0, &error))?;
    context.block_on(rebuild(url, &rebuilt, None))??;
    Ok(rebuilt)
}

/// What a store holds and what a folder has behind it, as one trail.
pub(super) struct Together {
    pub(super) rebuilt: Rebuilt,
    /// What is wrong beside the frames.
    pub(super) beside: Vec<Finding>,
    /// Up to which frame the store holds each writer.
    pub(super) held: BTreeMap<String, u64>,
}

/// Lays down both, and the checkpoints that were kept outside. It takes as much room as the trail.
pub(super) async fn together(
    url: &str,
    room: &Room,
    folder: &Path,
    checkpoints: Option<&Path>,
) -> Result<Together, Failure> {
    let rebuilt = Rebuilt::begin(&room.0).map_err(|error| in_the_way(&room.0, &error))?;
    let laid = rebuild(url, &rebuilt, Some(folder)).await?;
    let held: BTreeMap<String, u64> = laid.held;
    let names = held.keys().cloned().collect();
    rebuilt.others_of(folder, &names).map_err(|error| in_the_way(folder, &error))?;
    if let Some(outside) = checkpoints {
        rebuilt.notes_of(outside).map_err(|error| {
            Failure::of(Exit::CannotRun, &error)
                .at(outside.display().to_string())
                .because("a checkpoint cannot be read")
        })?;
    }
    Ok(Together { rebuilt, beside: laid.beside, held })
}

/// Rebuilds and verifies all that the store at `url` holds. The folder that was verified comes back too.
pub(super) fn verify(
    url: &str,
    room: &Room,
    options: VerifyOptions,
    context: &Context<'_>,
) -> Result<(Report, PathBuf), Failure> {
    let rebuilt = Rebuilt::begin(&room.0).map_err(|error| in_the_way(&room.0, &error))?;
    let beside = context.block_on(rebuild(url, &rebuilt, None))??.beside;
    let checkpoints = options.checkpoints.clone().unwrap_or_else(|| rebuilt.checkpoints().to_owned());
    let options = VerifyOptions { is_rebuilt: true, checkpoints: Some(checkpoints), ..options };
    let verified = audit::verify(rebuilt.dir(), &options);
    let mut report = verified.map_err(|error| Failure::of(Exit::CannotRun, &error))?;
    // A frame that was changed explains an index that differs: it is said first.
    beside.into_iter().for_each(|finding| report.add(finding));
    Ok((report, rebuilt.dir().to_owned()))
}

/// What came of laying down a store's frames.
struct Laid {
    beside: Vec<Finding>,
    held: BTreeMap<String, u64>,
}

async fn rebuild(url: &str, rebuilt: &Rebuilt, folder: Option<&Path>) -> Result<Laid, Failure> {
    let mut reader = TrailReader::begin(url).await.map_err(|error| unread(&error))?;
    let stubs = reader.stubs().await.map_err(|error| unread(&error))?;
    let mut laid = Laid { beside: Vec::new(), held: BTreeMap::new() };
    for held in reader.writers().await.map_err(|error| unread(&error))? {
        laid.held.insert(held.writer.clone(), held.frame);
        match rebuilt.writer(&held.writer, &held.header, stubs.get(&held.writer).map(String::as_str)) {
            Ok(mut writer) => {
                laid.beside.extend(rebuild_writer(&mut reader, &held, &mut writer).await?);
                if let Some(dir) = folder {
                    writer.rest_of(dir).map_err(|error| in_the_way(dir, &error))?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                laid.beside.push(Finding::beside(&held.writer, 1, "header", "its first header is none".to_owned()));
            }
            Err(error) => return Err(in_the_way(rebuilt.dir(), &error)),
        }
        for note in reader.notes(&held.writer).await.map_err(|error| unread(&error))? {
            rebuilt.note(&held.writer, &note.note).map_err(|error| in_the_way(rebuilt.dir(), &error))?;
        }
        if let Some(alarm) = &held.alarm {
            laid.beside.push(Finding::beside(&held.writer, 1, "volume", alarm.clone()));
        }
    }
    let unknown = |writer: &str, what: &str| {
        Finding::beside(writer, 1, "index", format!("{what} names a writer that the store does not hold"))
    };
    let stray = stubs.keys().filter(|writer| !laid.held.contains_key(*writer));
    laid.beside.extend(stray.map(|writer| unknown(writer, "a stub")));
    for writer in reader.unknown_writers().await.map_err(|error| unread(&error))? {
        laid.beside.push(unknown(&writer, "the index"));
    }
    Ok(laid)
}

/// All frames of one writer, and what is wrong beside them.
async fn rebuild_writer(
    reader: &mut TrailReader,
    held: &HeldWriter,
    writer: &mut RebuiltWriter<'_>,
) -> Result<Option<Finding>, Failure> {
    // Behind what a stub stands for. What it stands for and is there all the same does not follow, and is found.
    let pruned = writer.last_seq();
    let mut after = 0;
    let mut bad = None;
    loop {
        let frames = reader.frames(&held.writer, after).await.map_err(|error| unread(&error))?;
        let Some(last) = frames.last() else { break };
        after = last.frame;
        let mut wanted = Vec::new();
        for frame in &frames {
            let rows = writer.frame(&frame.bytes);
            wanted.extend(rows.map_err(|error| in_the_way(Path::new("the folder of rebuilt segments"), &error))?);
        }
        let (Some(from), Some(to)) = (wanted.first().map(|row| row.seq), wanted.last().map(|row| row.seq)) else {
            continue;
        };
        if bad.is_none() {
            let index = reader.index(&held.writer, from, to).await.map_err(|error| unread(&error))?;
            bad = first_difference(&wanted, &index)
                .map(|(seq, detail)| Finding::beside(&held.writer, seq, "index", detail));
        }
    }
    if bad.is_some() {
        return Ok(bad);
    }
    let last = writer.last_seq();
    if !writer.ends_at(held.frame, held.seq, &held.chain) {
        let detail = "the store says that it holds more, or less, than its frames".to_owned();
        return Ok(Some(Finding::beside(&held.writer, last + 1, "missing", detail)));
    }
    let stray = [
        (last + 1, u64::MAX, "the index has a record that no frame holds"),
        (1, pruned, "the index has a record that was pruned"),
    ];
    for (from, to, detail) in stray.into_iter().filter(|(from, to, _)| from <= to) {
        let beyond = reader.index(&held.writer, from, to).await.map_err(|error| unread(&error))?;
        if let Some((seq, _)) = beyond.first() {
            return Ok(Some(Finding::beside(&held.writer, *seq, "index", detail.to_owned())));
        }
    }
    Ok(None)
}

/// The first record whose index is not the one that its line makes, and in which columns. No value is said.
fn first_difference(wanted: &[IndexRow], index: &[(u64, Vec<Option<String>>)]) -> Option<(u64, String)> {
    let mut held = index.iter().peekable();
    for row in wanted {
        let Some((_, cells)) = held.next_if(|(seq, _)| *seq == row.seq) else {
            return Some((row.seq, "the record is not in the index, or not once".to_owned()));
        };
        let differs: Vec<&str> = INDEX_COLUMNS
            .iter()
            .zip(cells_of(row))
            .zip(cells)
            .filter(|((column, wanted), found)| !is_same(column, wanted.as_deref(), found.as_deref()))
            .map(|((column, _), _)| *column)
            .collect();
        if !differs.is_empty() {
            return Some((row.seq, format!("the index differs from the record in {}", differs.join(", "))));
        }
    }
    None
}

fn is_same(column: &str, wanted: Option<&str>, found: Option<&str>) -> bool {
    if column != "at" {
        return wanted == found;
    }
    // A database keeps microseconds, and rounds a half of one in its own way.
    let instant = |text: Option<&str>| text?.parse::<Timestamp>().ok();
    let apart = instant(wanted).zip(instant(found)).map(|(wanted, found)| wanted.duration_since(found).abs());
    apart.is_some_and(|apart| apart <= SignedDuration::from_micros(1))
}

/// In the order of [`INDEX_COLUMNS`].
fn cells_of(row: &IndexRow) -> [Option<String>; 17] {
    [
        Some(row.month.clone()),
        Some(row.frame.to_string()),
        Some(row.at.clone()),
        row.decision_id.clone(),
        Some(row.kind.clone()),
        row.tenant.clone(),
        row.principal.clone(),
        row.principal_type.clone(),
        row.action.clone(),
        row.resource_type.clone(),
        row.resource_id.clone(),
        row.client.clone(),
        row.decision.clone(),
        row.reason.clone(),
        row.grant_id.clone(),
        row.line.clone(),
        row.resource_tenant.clone(),
    ]
}

fn unread(error: &StoreError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        StoreError::Refused { .. } => failure
            .next("give the address of a role that may read the trail: `chaperone db install --auditor-role NAME`"),
        _ => failure.next("name the database of the trail: `chaperone audit verify --store URL`"),
    }
}

fn in_the_way(path: &Path, error: &std::io::Error) -> Failure {
    Failure::of(Exit::CannotRun, error)
        .at(path.display().to_string())
        .next("it needs as much room as the trail takes, in TMPDIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_may_be_rounded_either_way_and_no_further() {
        let at = |found: &str| is_same("at", Some("2026-03-10T15:00:00.0000025Z"), Some(found));
        assert!(at("2026-03-10T15:00:00.000002Z") && at("2026-03-10T15:00:00.000003Z"), "half to even, or up");
        assert!(!at("2026-03-10T15:00:00.000001Z") && !at("2026-03-10T15:00:00.000004Z"));
        assert!(!is_same("at", Some("2026-03-10T15:00:00Z"), None) && !is_same("client", Some("C1"), Some("C2")));
    }
}
