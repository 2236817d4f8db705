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
    retention::stub,
    ship::rows_of,
    walk::Position,
};
use crate::domain::IndexRow;

/// Verification reads a segment as a whole: a rebuilt one takes no more memory than a written one.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// A folder in the making.
#[derive(Debug)]
pub struct Rebuilt {
    pub(super) dir: PathBuf,
    pub(super) checkpoints: PathBuf,
}

/// One writer in the making.
#[derive(Debug)]
pub struct RebuiltWriter<'a> {
    dir: &'a Path,
    pub(super) writer: Uuid,
    header: Option<Header>,
    /// None: nothing of it is left but a stub.
    file: Option<File>,
    number: u32,
    /// Of the last record: a new month begins a new segment, so that retention meets months and not years.
    month: Option<String>,
    len: u64,
    pub(super) at: Position,
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

    /// Begins a writer, behind what its stub stands for if it has one. A name that no writer has, or a header of another
    /// size, is an error of its own kind, [`io::ErrorKind::InvalidData`].
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn writer(&self, name: &str, header: &[u8], stub: Option<&str>) -> io::Result<RebuiltWriter<'_>> {
        let writer = Uuid::try_parse(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if header.len() != HEADER_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut rebuilt = RebuiltWriter {
            dir: &self.dir,
            writer,
            header: Header::decode(header).ok(),
            file: None,
            number: 0,
            month: None,
            len: 0,
            at: Position { frame: 0, seq: 0, chain: Hash::of(&[header]) },
            tree: Frontier::default(),
            is_broken: false,
        };
        if let Some(text) = stub {
            File::create_new(self.dir.join(stub::file_name(writer)))?.write_all(text.as_bytes())?;
        }
        // What is no stub is found in the folder: then all else is laid down as if there were none.
        match stub.and_then(|text| stub::parse(text.as_bytes(), writer).ok()) {
            None => rebuilt.begin_segment(header)?,
            Some(stub::StubFile { stub, .. }) => {
                rebuilt.number = stub.segment;
                rebuilt.at = Position { frame: stub.frame, seq: stub.seq, chain: stub.chain };
                rebuilt.tree = Frontier::from_nodes(stub.seq, stub.frontier).unwrap_or_default();
                if stub.end.is_none() {
                    rebuilt.rotate()?;
                }
            }
        }
        Ok(rebuilt)
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
        let decoded = frame::decode(stored).ok();
        let rows = decoded.as_ref().map(rows_of).unwrap_or_default();
        let month = rows.iter().map(|row| &row.month).max();
        let is_next_month = self.month.as_ref().zip(month).is_some_and(|(last, next)| next > last);
        if (self.len > SEGMENT_BYTES || is_next_month || self.file.is_none()) && !self.is_broken {
            self.rotate()?;
        }
        self.month = self.month.take().max(month.cloned());
        if let Some(file) = &mut self.file {
            file.write_all(stored)?;
        }
        self.len += len64(stored.len());
        self.is_broken |= self.at.step(stored, 0).is_err();
        for leaf in decoded.iter().flat_map(|frame| frame.leaves.as_chunks::<32>().0) {
            self.tree.push(Hash(*leaf));
        }
        Ok(rows)
    }

    /// A header such as the writer itself would have put here.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(first) = &self.header else { return Ok(()) };
        let header = Header {
            segment: self.number + 1,
            first_frame: self.at.frame + 1,
            first_seq: self.at.seq + 1,
            chain: Some(self.at.chain),
            frontier: self.tree.nodes().to_vec(),
            ..first.clone()
        };
        let encoded = header.encode().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.begin_segment(&encoded)
    }

    fn begin_segment(&mut self, header: &[u8]) -> io::Result<()> {
        self.number += 1;
        let mut file = File::create_new(self.dir.join(folder::segment_name(self.writer, self.number)))?;
        file.write_all(header)?;
        self.file = Some(file);
        self.len = len64(header.len());
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
