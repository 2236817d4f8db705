//! A file that is there whole or not at all: written beside, synced, then renamed into its place.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A file in the making. Dropped before [`Self::keep`], it leaves nothing.
#[derive(Debug)]
pub(super) struct WholeFile {
    writer: BufWriter<File>,
    is_kept: bool,
    making: PathBuf,
    path: PathBuf,
}

impl WholeFile {
    /// Begins a file that will stand at `path`. It may hold what only its owner should read.
    pub(super) fn beside(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.making", std::process::id()));
        let making = path.with_file_name(hidden);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&making)?;
        Ok(Self { writer: BufWriter::new(file), is_kept: false, making, path: path.to_owned() })
    }

    /// Puts the whole file into its place.
    #[expect(clippy::disallowed_methods, reason = "the file and its folder are synced here")]
    pub(super) fn keep(mut self) -> io::Result<()> {
        self.writer.flush()?;
        self.writer.get_ref().sync_all()?;
        fs::rename(&self.making, &self.path)?;
        self.is_kept = true;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = fs::remove_file(&self.making)
        {
            tracing::debug!(%error, "an unfinished file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut file = WholeFile::beside(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        for text in ["one", "two"] {
            let mut file = WholeFile::beside(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.keep().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
