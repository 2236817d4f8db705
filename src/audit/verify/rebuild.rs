//! A trail that a store holds, as the segments of a folder: frames are the truth there, and verify as they would have
//! where they were written.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::super::{
    bytes::len64,
    folder, frame,
    header::{HEADER_BYTES, Header},
    merkle::{Frontier, Hash},
    outside,
    ship::rows_of,
    walk::Position,
};
use crate::domain::IndexRow;

/// Verification reads a segment as a whole: a rebuilt one takes no more memory than a written one.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// A folder in the making.
#[derive(Debug)]
pub struct Rebuilt {
    dir: PathBuf,
    checkpoints: PathBuf,
}

/// One writer in the making.
#[derive(Debug)]
pub struct RebuiltWriter<'a> {
    dir: &'a Path,
    writer: Uuid,
    header: Option<Header>,
    file: File,
    number: u32,
    len: u64,
    at: Position,
    tree: Frontier,
    /// A frame does not follow: from here on bytes are laid down as they come, and verification says what is wrong.
    is_broken: bool,
}

impl Rebuilt {
    /// In an empty folder, which the caller takes away.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn begin(dir: &Path) -> io::Result<Self> {
        let (segments, checkpoints) = (dir.join("segments"), dir.join("checkpoints"));
        fs::create_dir(&segments)?;
        fs::create_dir(&checkpoints)?;
        Ok(Self { dir: segments, checkpoints })
    }

    /// The folder that [`verify`](super::verify()) reads.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of checkpoints to hold it against.
    pub fn checkpoints(&self) -> &Path {
        &self.checkpoints
    }

    /// Begins a writer. A name that no writer has, or a header of another size, is an error of its own kind,
    /// [`io::ErrorKind::InvalidData`].
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn writer(&self, name: &str, header: &[u8]) -> io::Result<RebuiltWriter<'_>> {
        let writer = Uuid::try_parse(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if header.len() != HEADER_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut file = File::create_new(self.dir.join(folder::segment_name(writer, 1)))?;
        file.write_all(header)?;
        Ok(RebuiltWriter {
            dir: &self.dir,
            writer,
            header: Header::decode(header).ok(),
            file,
            number: 1,
            len: len64(header.len()),
            at: Position { frame: 0, seq: 0, chain: Hash::of(&[header]) },
            tree: Frontier::default(),
            is_broken: false,
        })
    }

    /// Lays down a checkpoint that is held beside the frames.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn note(&self, writer: &str, note: &str) -> io::Result<()> {
        let writer = Uuid::try_parse(writer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        outside::append(&self.checkpoints, writer, note)
    }
}

impl RebuiltWriter<'_> {
    /// Lays down the next frame, and returns the index that belongs to its records.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn frame(&mut self, stored: &[u8]) -> io::Result<Vec<IndexRow>> {
        if self.len > SEGMENT_BYTES && !self.is_broken {
            self.rotate()?;
        }
        self.file.write_all(stored)?;
        self.len += len64(stored.len());
        self.is_broken |= self.at.step(stored, 0).is_err();
        let Ok(frame) = frame::decode(stored) else { return Ok(Vec::new()) };
        for leaf in frame.leaves.as_chunks::<32>().0 {
            self.tree.push(Hash(*leaf));
        }
        Ok(rows_of(&frame))
    }

    /// A header such as the writer itself would have put here.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(first) = &self.header else { return Ok(()) };
        self.number += 1;
        let header = Header {
            segment: self.number,
            first_frame: self.at.frame + 1,
            first_seq: self.at.seq + 1,
            chain: Some(self.at.chain),
            frontier: self.tree.nodes().to_vec(),
            ..first.clone()
        };
        let encoded = header.encode().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.file = File::create_new(self.dir.join(folder::segment_name(self.writer, self.number)))?;
        self.file.write_all(&encoded)?;
        self.len = len64(encoded.len());
        Ok(())
    }

    /// Whether the frames end where the store says that it holds the writer.
    pub fn ends_at(&self, frame: u64, seq: u64, chain: &[u8]) -> bool {
        self.is_broken || (self.at.frame == frame && self.at.seq == seq && self.at.chain.0 == chain)
    }

    /// The last record of its frames.
    pub fn last_seq(&self) -> u64 {
        self.at.seq
    }
}
