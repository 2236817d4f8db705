//! Bundles kept by their digest, so that what one decided can be decided by it again.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{Bundle, load::BundlePaths, problem::Problems, source::Sources};

/// Bundles that one folder keeps: each has 4 MiB at most.
const BUNDLES_MAX: usize = 1_000;

/// Why a bundle could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("the files of the bundle cannot be read again:\n{0}")]
    Unread(Problems),
    #[error("the files of the bundle have changed since it went live")]
    Changed,
    #[error("{BUNDLES_MAX} bundles are kept already")]
    TooMany,
    #[error("cannot write `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Where the bundle of `revision` is kept in `folder`; `None` if that is no revision.
fn place(folder: &Path, revision: &str) -> Option<PathBuf> {
    let hex = revision.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| folder.join(hex))
}

fn paths_in(place: &Path) -> BundlePaths {
    BundlePaths { policies: place.join("policies"), schemas: place.join("schemas"), cache: None }
}

impl BundlePaths {
    /// Copies the bundle of `revision`, which went live from here, into `folder`. Kept before: nothing is done.
    ///
    /// # Errors
    ///
    /// [`KeepError`]; a copy that is not whole is none, and is made again.
    pub fn keep(&self, revision: &str, folder: &Path) -> Result<(), KeepError> {
        let Some(place) = place(folder, revision) else { return Err(KeepError::Changed) };
        let is_kept = place.is_dir() && paths_in(&place).digest().is_ok_and(|digest| &*digest == revision);
        if is_kept {
            return Ok(());
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| KeepError::Io { path, source }
        };
        let sources = Sources::read(&self.policies, &self.schemas).map_err(KeepError::Unread)?;
        if &*sources.digest != revision {
            return Err(KeepError::Changed);
        }
        let folders = |path: &Path| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(failed(path))
        };
        folders(folder)?;
        if !place.is_dir() && fs::read_dir(folder).map_err(failed(folder))?.count() >= BUNDLES_MAX {
            return Err(KeepError::TooMany);
        }
        for text in sources.files() {
            let path = place.join(&text.name);
            folders(path.parent().unwrap_or(&place))?;
            let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
            let mut file = file.map_err(failed(&path))?;
            file.write_all(text.text.as_bytes()).and_then(|()| file.sync_data()).map_err(failed(&path))?;
        }
        Ok(())
    }
}

impl Bundle {
    /// The bundle that `folder` keeps of `revision`; `None`: it keeps none, or no whole one.
    ///
    /// # Errors
    ///
    /// This program refuses what an earlier one let live.
    pub fn load_kept(folder: &Path, revision: &str) -> Result<Option<Self>, Problems> {
        let Some(paths) = place(folder, revision).filter(|place| place.is_dir()).map(|place| paths_in(&place)) else {
            return Ok(None);
        };
        if !paths.digest().is_ok_and(|digest| &*digest == revision) {
            return Ok(None);
        }
        Self::load(&paths).map(|(bundle, _)| Some(bundle))
    }
}
