//! The mark of a bundle that passed strict validation, so that the next start need not repeat it.
//!
//! Only validation is skipped: the text guard, the parsers and the lint run at every start. A mark names the digest of
//! every file and the programs that judged them. Its folder must be writable by this process alone: whoever can write a
//! mark there can spare one bundle its validation, though not its limits.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Rises whenever the checks, or the schema text made from field groups, change without the version doing so.
const CHECKS: u32 = 1;
const MARKS_MAX: usize = 32;
const PREFIX: &str = "validated-";

/// Says whether this program marked this revision in `cache`. Anything unreadable is a no.
pub fn was_validated(cache: &Path, revision: &str) -> bool {
    let mark = mark(revision);
    fs::read_to_string(path(cache, &mark)).is_ok_and(|found| found == mark)
}

/// Marks a revision. Call it only after the bundle passed every check.
///
/// # Errors
///
/// The folder cannot be made or written; the next start then validates again.
pub fn mark_validated(cache: &Path, revision: &str) -> io::Result<()> {
    fs::create_dir_all(cache)?;
    let mark = mark(revision);
    let path = path(cache, &mark);
    let marks = fs::read_dir(cache)?.filter_map(Result::ok).map(|entry| entry.path());
    let marks: Vec<PathBuf> = marks.filter(|other| is_mark(other) && *other != path).collect();
    if marks.len() >= MARKS_MAX {
        for old in marks {
            fs::remove_file(old)?;
        }
    }
    // A torn mark says something else than its name promises and is no mark: no fsync is needed.
    File::create(path)?.write_all(mark.as_bytes())
}

fn is_mark(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
}

fn mark(revision: &str) -> String {
    let (own, cedar) = (env!("CARGO_PKG_VERSION"), cedar_policy::get_sdk_version());
    format!("chaperone {own} checks {CHECKS} cedar {cedar} bundle {revision}\n")
}

fn path(cache: &Path, mark: &str) -> PathBuf {
    let digest = Sha256::digest(mark.as_bytes());
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    cache.join(format!("{PREFIX}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_bound_to_one_digest() {
        let cache = tempfile::tempdir().unwrap();
        mark_validated(cache.path(), "sha256:aa").unwrap();
        assert!(was_validated(cache.path(), "sha256:aa"));
        assert!(!was_validated(cache.path(), "sha256:ab"));
    }

    #[test]
    fn a_torn_mark_is_no_mark() {
        let cache = tempfile::tempdir().unwrap();
        mark_validated(cache.path(), "sha256:aa").unwrap();
        let file = fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
        File::options().write(true).open(&file).unwrap().set_len(9).unwrap();
        assert!(!was_validated(cache.path(), "sha256:aa"));
    }

    #[test]
    fn a_missing_folder_holds_no_mark_and_is_made_by_the_first() {
        let cache = tempfile::tempdir().unwrap();
        let inner = cache.path().join("a/b");
        assert!(!was_validated(&inner, "sha256:aa"));
        mark_validated(&inner, "sha256:aa").unwrap();
        assert!(was_validated(&inner, "sha256:aa"));
    }

    #[test]
    fn marks_do_not_pile_up() {
        let cache = tempfile::tempdir().unwrap();
        for index in 0..100 {
            mark_validated(cache.path(), &format!("sha256:{index}")).unwrap();
        }
        assert!(fs::read_dir(cache.path()).unwrap().count() <= MARKS_MAX + 1);
        assert!(was_validated(cache.path(), "sha256:99"));
    }
}
