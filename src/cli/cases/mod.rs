//! Decision cases: files that say which answer is expected, run over the real path and never recorded.
//!
//! `file` is the format (docs/reference/cases.md), `world` the databases behind it, `run` asks and compares, `coverage`
//! tells which policies no case matched, `report` prints.

pub(super) mod coverage;
pub(super) mod expected;
pub(super) mod file;
pub(super) mod pattern;
pub(super) mod report;
pub(super) mod run;
pub(super) mod world;

use std::path::{Path, PathBuf};

use super::{exit::Exit, failure::Failure};

/// Where the cases are, and the policies that they belong to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// `None`: the configured folder.
    pub(super) policies: Option<PathBuf>,
    /// A case file, or a folder of them.
    pub(super) cases: PathBuf,
}

/// Cases lie in a folder `cases` inside the folder of their policies.
pub(super) fn locate(path: Option<&Path>, configured: &Path) -> Located {
    let Some(path) = path else { return Located { policies: None, cases: configured.join("cases") } };
    let inside = path.join("cases");
    if inside.is_dir() {
        return Located { policies: Some(path.to_path_buf()), cases: inside };
    }
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let policies = folder.filter(|folder| folder.file_name().is_some_and(|name| name == "cases"));
    let policies = policies
        .and_then(Path::parent)
        .map(|parent| if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() });
    Located { policies, cases: path.to_path_buf() }
}

/// The case files at `place`, sorted.
pub(super) fn files(place: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unread = |error: std::io::Error| Failure::of(Exit::CannotRun, &error).at(place.display().to_string());
    if place.is_file() {
        return Ok(vec![place.to_path_buf()]);
    }
    let mut files = Vec::new();
    let entries = std::fs::read_dir(place).map_err(|error| {
        unread(error).because("no cases can be read there").next("cases are `cases/*.yaml` beside the policies")
    })?;
    for entry in entries {
        let path = entry.map_err(unread)?.path();
        let is_case = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let is_hidden = path.file_name().and_then(|name| name.to_str()).is_none_or(|name| name.starts_with('.'));
        if is_case && !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_found_from_the_policies_from_their_folder_and_from_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let policies = folder.path().join("policies");
        let cases = policies.join("cases");
        std::fs::create_dir_all(&cases).unwrap();
        let file = cases.join("a.yaml");
        drop(std::fs::File::create(&file).unwrap());
        let nowhere = Path::new("/nowhere");
        let expected = |place: &Path| Located { policies: Some(policies.clone()), cases: place.to_path_buf() };
        assert_eq!(locate(Some(&policies), nowhere), expected(&cases));
        assert_eq!(locate(Some(&cases), nowhere), expected(&cases));
        assert_eq!(locate(Some(&file), nowhere), expected(&file));
        assert_eq!(locate(None, &policies), Located { policies: None, cases: cases.clone() });
        assert_eq!(files(&cases).unwrap(), [file]);
    }
}
