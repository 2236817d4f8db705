//! Frames of one writer out of the folder, by number. Nothing is written here.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    super::{
        bytes::{index, len64},
        folder::{self, read_header},
        frame::{self, HEAD_BYTES, Head},
        header::HEADER_BYTES,
    },
    frames,
};
use crate::domain::{ShippedFrame, ShippedHeader};

/// A frame takes less; a head that says more is no head.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where the reading of one writer stands.
#[derive(Debug)]
pub(in crate::audit) struct Spool {
    dir: PathBuf,
    writer: Uuid,
    /// The file that held the last frame, and where the next one starts.
    open: Option<(File, u64)>,
}

impl Spool {
    pub(in crate::audit) fn new(dir: &Path, writer: Uuid) -> Self {
        Self { dir: dir.to_owned(), writer, open: None }
    }

    /// The writer's first header, unless its first segment is gone.
    pub(in crate::audit) fn header(&self) -> io::Result<Option<ShippedHeader>> {
        let Some(first) = folder::segments_of(&self.dir, self.writer)?.into_iter().find(|first| first.number == 1)
        else {
            return Ok(None);
        };
        let mut stored = vec![0; HEADER_BYTES];
        match File::open(&first.path)?.read_exact_at(&mut stored, 0) {
            Ok(()) => Ok(frames::header(&stored).ok().flatten()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whole frames from `next` on up to `upto`, each following the one before; none: there is no such frame.
    pub(in crate::audit) fn read(&mut self, next: u64, upto: u64, bytes_max: u64) -> io::Result<Vec<ShippedFrame>> {
        let mut read = Vec::new();
        let mut len = 0;
        let mut wanted = next;
        while wanted <= upto && len < bytes_max {
            let found = match self.here(wanted)? {
                Some(frame) => Some(frame),
                None => self.elsewhere(wanted)?,
            };
            let Some(frame) = found else { break };
            len += len64(frame.bytes.len());
            wanted += 1;
            read.push(frame);
        }
        Ok(read)
    }

    /// The frame, if it is the next one in the file at hand.
    fn here(&mut self, wanted: u64) -> io::Result<Option<ShippedFrame>> {
        let Some((file, offset)) = &mut self.open else { return Ok(None) };
        let Some((head, len)) = head_at(file, *offset)? else { return Ok(None) };
        if head.frame != wanted {
            return Ok(None);
        }
        let mut stored = vec![0; len];
        match file.read_exact_at(&mut stored, *offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let Ok(frame) = frames::frame(Arc::new(stored)) else { return Ok(None) };
        *offset += len64(len);
        Ok(Some(frame))
    }

    /// The frame in whatever segment has it whole. After a failed sync two have it, and the later one is sound.
    fn elsewhere(&mut self, wanted: u64) -> io::Result<Option<ShippedFrame>> {
        for segment in folder::segments_of(&self.dir, self.writer)?.iter().rev() {
            let begins = match read_header(&segment.path) {
                Ok(header) => header.is_ok_and(|header| header.first_frame <= wanted),
                // A spare that its writer just took away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
            if !begins {
                continue;
            }
            let file = File::open(&segment.path)?;
            let mut offset = len64(HEADER_BYTES);
            while let Some((head, len)) = head_at(&file, offset)?
                && head.frame < wanted
            {
                offset += len64(len);
            }
            self.open = Some((file, offset));
            if let Some(frame) = self.here(wanted)? {
                return Ok(Some(frame));
            }
        }
        self.open = None;
        Ok(None)
    }
}

fn head_at(file: &File, offset: u64) -> io::Result<Option<(Head, usize)>> {
    let mut head = [0; HEAD_BYTES];
    match file.read_exact_at(&mut head, offset) {
        Ok(()) => Ok(frame::len_behind(&head).ok().filter(|(_, len)| *len <= FRAME_BYTES_MAX.min(index(u64::MAX)))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
