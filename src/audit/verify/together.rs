//! A folder and the store it is shipped to, laid down as one trail: what the store holds, and behind it what the folder
//! alone has. A hold that was placed a minute ago is not in the store yet, and counts.

use std::{collections::BTreeSet, fs, io, path::Path};

use super::{
    super::{
        folder::{self, Folder, WriterFiles},
        outside,
        retention::stub,
        ship::Spool,
    },
    Rebuilt, RebuiltWriter,
};

/// So many bytes of frames are read at a time.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;

impl RebuiltWriter<'_> {
    /// Lays down what a folder has of this writer behind what was laid down so far.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn rest_of(&mut self, dir: &Path) -> io::Result<()> {
        let mut spool = Spool::new(dir, self.writer);
        loop {
            let frames = spool.read(self.at.frame.saturating_add(1), u64::MAX, BATCH_BYTES)?;
            if frames.is_empty() {
                return Ok(());
            }
            for frame in frames {
                self.frame(&frame.bytes)?;
            }
        }
    }
}

impl Rebuilt {
    /// Lays down the writers of a folder that the store does not hold at all, and what stays of those that were pruned
    /// there.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn others_of(&self, dir: &Path, held: &BTreeSet<String>) -> io::Result<()> {
        let folder = Folder::list(dir)?;
        for files in folder.writers.iter().filter(|files| !held.contains(&files.writer.to_string())) {
            match Spool::new(dir, files.writer).header()? {
                Some(header) => self.writer(&files.writer.to_string(), &header.bytes, None)?.rest_of(dir)?,
                // Its beginning is gone: what is left verifies by its stub, or not at all.
                None => self.copy(files)?,
            }
        }
        let stubs = folder.stubs.iter().map(|file| file.stub.writer);
        for writer in stubs.chain(folder.bad_stubs.iter().map(|(writer, _)| *writer)) {
            let name = stub::file_name(writer);
            if !held.contains(&writer.to_string()) {
                fs::copy(dir.join(&name), self.dir.join(&name))?;
            }
        }
        Ok(())
    }

    fn copy(&self, files: &WriterFiles) -> io::Result<()> {
        for segment in &files.segments {
            let name = folder::segment_name(segment.writer, segment.number);
            match fs::copy(&segment.path, self.dir.join(name)) {
                Ok(_) => {}
                // A spare that its writer just took away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lays down the checkpoints that were kept outside, beside those that the store holds.
    ///
    /// # Errors
    ///
    /// As the system says, and where one is none.
    pub fn notes_of(&self, dir: &Path) -> io::Result<()> {
        for (writer, kept) in outside::read(dir)? {
            for one in kept {
                let note = one.checkpoint.map_err(|error| {
                    let place = format!("`{}` line {}: {error}", one.path.display(), one.line);
                    io::Error::new(io::ErrorKind::InvalidData, place)
                })?;
                outside::append(&self.checkpoints, writer, &note.note)?;
            }
        }
        Ok(())
    }
}
