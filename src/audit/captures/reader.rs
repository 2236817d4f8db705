//! Finding kept blobs again: every line of every file, by its own digest.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{
    super::{bytes::len64, merkle::Hash},
    FILE_BYTES, FOLDER,
    room::files,
};

/// Blobs that one reader keeps the places of: 64 bytes each.
const PLACES_MAX: usize = 8_000_000;

/// The blobs of one trail's folder.
#[derive(Debug, Default)]
pub struct CapturedBlobs {
    files: Vec<PathBuf>,
    places: HashMap<Hash, Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    file: usize,
    at: u64,
    len: usize,
}

impl CapturedBlobs {
    /// Looks through all that is kept in the trail's folder `dir`. A folder that never kept any has none.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or there are more blobs than places are kept of.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let folder = dir.join(FOLDER);
        let mut blobs = Self::default();
        if !folder.is_dir() {
            return Ok(blobs);
        }
        for (path, len) in files(&folder)? {
            // Not one of ours: a file is ended before it grows so large.
            if len > FILE_BYTES * 2 {
                continue;
            }
            let text = fs::read(&path)?;
            let file = blobs.files.len();
            let mut at = 0;
            for line in text.split(|byte| *byte == b'\n') {
                let place = Place { file, at: len64(at), len: line.len() };
                at += line.len() + 1;
                blobs.places.insert(Hash::of(&[line]), place);
            }
            blobs.files.push(path);
            if blobs.places.len() > PLACES_MAX {
                return Err(io::Error::other(format!("more than {PLACES_MAX} blobs are kept there")));
            }
        }
        Ok(blobs)
    }

    /// Whether anything is kept.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The blob with this digest, in base64; `None`: it is not kept, or not any more.
    ///
    /// # Errors
    ///
    /// Its file cannot be read.
    pub fn find(&self, digest: &str) -> io::Result<Option<Vec<u8>>> {
        let Ok(digest) = serde_json::from_value::<Hash>(digest.into()) else { return Ok(None) };
        let Some(place) = self.places.get(&digest) else { return Ok(None) };
        let Some(path) = self.files.get(place.file) else { return Ok(None) };
        let mut blob = vec![0; place.len];
        match File::open(path).and_then(|file| file.read_exact_at(&mut blob, place.at)) {
            Ok(()) => Ok((Hash::of(&[&blob]) == digest).then_some(blob)),
            // The oldest file went to make room.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
