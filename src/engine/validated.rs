//! The mark of a bundle that passed strict validation, so that the next start need not repeat it.
//!
//! Only validation is skipped: the text guard, the parsers and the lint run at every start. A mark names the digest of
//! every file and the programs that judged them. Whoever can write a mark can spare one bundle its validation, though
//! not its limits: a mark counts only where this user alone could have put it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Rises whenever the checks, or the schema text made from field groups, change without the version doing so.
const CHECKS: u32 = 2;
const MARKS_MAX: usize = 32;
const PREFIX: &str = "validated-";
/// A folder of its own: the volume around it may be everybody's.
const FOLDER: &str = "marks";
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Says whether this program marked this revision in `cache`. Anything unreadable is a no, and so is a mark in a place
/// where another user could have made it.
pub fn was_validated(cache: &Path, revision: &str) -> bool {
    let (folder, mark) = (cache.join(FOLDER), mark(revision));
    let read = || -> io::Result<String> {
        let mut text = String::new();
        let file = File::open(path(&folder, &mark))?;
        if !is_ours_alone(&fs::symlink_metadata(&folder)?) || !is_ours_alone(&file.metadata()?) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        file.take(mark.len().saturating_add(1) as u64).read_to_string(&mut text)?;
        Ok(text)
    };
    read().is_ok_and(|found| found == mark)
}

fn is_ours_alone(found: &fs::Metadata) -> bool {
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    is_ours && !found.is_symlink() && found.mode() & WRITABLE_BY_OTHERS == 0
}

/// Marks a revision. Call it only after the bundle passed every check.
///
/// # Errors
///
/// The folder cannot be made or written; the next start then validates again.
pub fn mark_validated(cache: &Path, revision: &str) -> io::Result<()> {
    let (folder, mark) = (cache.join(FOLDER), mark(revision));
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    if fs::symlink_metadata(&folder)?.is_symlink() {
        return Err(io::Error::other("the folder of marks is a link"));
    }
    // A volume's owner may have been given to a group since.
    fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    let path = path(&folder, &mark);
    let marks = fs::read_dir(&folder)?.filter_map(Result::ok).map(|entry| entry.path());
    let marks: Vec<PathBuf> = marks.filter(|other| is_mark(other) && *other != path).collect();
    if marks.len() >= MARKS_MAX {
        for old in marks {
            fs::remove_file(old)?;
        }
    }
    // A torn mark says something else than its name promises and is no mark: no fsync is needed.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(mark.as_bytes())
}

fn is_mark(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
}

fn mark(revision: &str) -> String {
    let (own, cedar) = (env!("CARGO_PKG_VERSION"), cedar_policy::get_sdk_version());
    format!("chaperone {own} checks {CHECKS} cedar {cedar} bundle {revision}\n")
}

fn path(folder: &Path, mark: &str) -> PathBuf {
    let digest = Sha256::digest(mark.as_bytes());
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("{PREFIX}{name}"))
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
        let file = fs::read_dir(cache.path().join(FOLDER)).unwrap().next().unwrap().unwrap().path();
        File::options().write(true).open(&file).unwrap().set_len(9).unwrap();
        assert!(!was_validated(cache.path(), "sha256:aa"));
    }

    #[test]
    fn a_mark_that_another_user_could_have_made_is_none() {
        let cache = tempfile::tempdir().unwrap();
        mark_validated(cache.path(), "sha256:aa").unwrap();
        let folder = cache.path().join(FOLDER);
        let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        for (place, closed, open) in [(&folder, 0o700, 0o770), (&file, 0o600, 0o602)] {
            fs::set_permissions(place, Permissions::from_mode(open)).unwrap();
            assert!(!was_validated(cache.path(), "sha256:aa"), "{}", place.display());
            fs::set_permissions(place, Permissions::from_mode(closed)).unwrap();
            assert!(was_validated(cache.path(), "sha256:aa"));
        }
        let elsewhere = cache.path().join("elsewhere");
        #[expect(clippy::disallowed_methods, reason = "the test moves the folder away")]
        fs::rename(&folder, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
        assert!(!was_validated(cache.path(), "sha256:aa"), "a link leads where others may write");
        // The next mark is trusted again where the folder was opened to a group.
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o775)).unwrap();
        mark_validated(cache.path(), "sha256:aa").unwrap();
        assert!(was_validated(cache.path(), "sha256:aa"));
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
        assert!(fs::read_dir(cache.path().join(FOLDER)).unwrap().count() <= MARKS_MAX + 1);
        assert!(was_validated(cache.path(), "sha256:99"));
    }
}
