//! Changes that were begun, looked for in the trail: after a crash somebody has to know which of them it tells of.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    folder::Folder,
    keyring::EncryptionKeys,
    read::{ReadError, Reader},
};
use crate::domain::record::{CHANGE, NOT_MADE};

/// The writers whose records a folder holds, by id.
///
/// # Errors
///
/// The folder cannot be listed.
pub fn writers(dir: &Path) -> Result<BTreeSet<String>, ReadError> {
    let folder = Folder::list(dir).map_err(ReadError::at(dir))?;
    Ok(folder.writers.iter().map(|files| files.writer.to_string()).collect())
}

/// Which of the changes with these ids the trail says were made: it holds a record of them, and none that takes it back.
/// Reads the whole folder, which blocks.
///
/// # Errors
///
/// The folder cannot be read.
pub fn told_of(dir: &Path, keys: EncryptionKeys, changes: &BTreeSet<String>) -> Result<BTreeSet<String>, ReadError> {
    let mut told = BTreeMap::new();
    let mut reader = Reader::open(dir, keys)?;
    while let Some(stored) = reader.next_record()? {
        // Almost no line names one: only those that may are parsed.
        let names = |id: &&String| stored.line.windows(id.len()).any(|window| window == id.as_bytes());
        let Some(id) = changes.iter().find(names) else { continue };
        let Ok(line) = serde_json::from_slice::<serde_json::Value>(&stored.line) else { continue };
        let detail = line.get("detail");
        let said = |key: &str| detail.and_then(|detail| detail.get(key)).and_then(serde_json::Value::as_str);
        if said(CHANGE) == Some(id) {
            told.insert(id.clone(), said("event") != Some(NOT_MADE));
        }
    }
    Ok(told.into_iter().filter(|(_, is_told)| *is_told).map(|(id, _)| id).collect())
}
