//! Checkpoints outside of the trail's own folder: `<writer>.checkpoints`, one note after the other, an empty line
//! behind each. Whoever rewrites the trail cannot rewrite what has left it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{
    bytes::len64,
    note::{Checkpoint, NoteError},
};

const EXTENSION: &str = ".checkpoints";
/// More than any note takes; enough to find the last whole one.
const TAIL_BYTES: u64 = 64 * 1024;
/// A line of a note; longer ones belong to something else.
const LINE_BYTES_MAX: u64 = 16 * 1024;
const END: &[u8] = b"\n\n";
/// Origin, size, root, an empty line, and one signature at least.
const NOTE_LINES: usize = 5;

/// A writer's file.
pub(super) fn path_of(dir: &Path, writer: Uuid) -> PathBuf {
    dir.join(format!("{writer}{EXTENSION}"))
}

/// Appends a note and brings it to disk. What a crash left half written is cut off first: it was no note yet.
pub(super) fn append(dir: &Path, writer: Uuid, note: &str) -> io::Result<()> {
    let path = path_of(dir, writer);
    let is_new = !path.exists();
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path)?;
    let (tail, from) = tail_of(&mut file)?;
    let whole = whole_len(&tail);
    if whole < tail.len() {
        file.set_len(from + len64(whole))?;
    }
    file.seek(SeekFrom::End(0))?;
    // In one write, so that a reader meets a whole note or none.
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_all()?;
    if is_new { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// The last whole note of a writer, if there is a file of it.
pub(super) fn last(dir: &Path, writer: Uuid) -> io::Result<Option<Checkpoint>> {
    let mut file = match File::open(path_of(dir, writer)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut tail, _) = tail_of(&mut file)?;
    tail.truncate(whole_len(&tail));
    let before = tail.strip_suffix(END).unwrap_or_default();
    // A note has an empty line of its own, between its text and its signatures.
    let starts = before.windows(END.len()).enumerate().filter(|(_, at)| *at == END).map(|(at, _)| at + END.len());
    let starts: Vec<usize> = starts.collect();
    let start = starts.len().checked_sub(2).and_then(|nth| starts.get(nth)).copied().unwrap_or(0);
    Ok(before.get(start..).and_then(|note| Checkpoint::parse(&[note, b"\n"].concat()).ok()))
}

fn tail_of(file: &mut File) -> io::Result<(Vec<u8>, u64)> {
    let from = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    Ok((tail, from))
}

/// Up to the end of the last whole note: a signature line and an empty one.
fn whole_len(tail: &[u8]) -> usize {
    let dash = "\u{2014} ".as_bytes();
    let mut ends = tail.windows(END.len()).enumerate().rev().filter(|(_, at)| *at == END).map(|(at, _)| at);
    ends.find(|at| {
        let line = tail.get(..*at).and_then(|before| before.rsplit(|byte| *byte == b'\n').next());
        line.is_some_and(|line| line.starts_with(dash))
    })
    .map_or(0, |at| at + END.len())
}

/// One place in a writer's file.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) path: PathBuf,
    pub(super) line: u64,
    pub(super) checkpoint: Result<Checkpoint, NoteError>,
}

/// All that a folder holds, by writer, each file in its order. A note that is cut off at a file's end is left out.
pub(super) fn read(dir: &Path) -> io::Result<BTreeMap<Uuid, Vec<Kept>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(EXTENSION));
        if let Some(writer) = name.and_then(|name| Uuid::try_parse(name).ok().filter(|id| id.to_string() == name)) {
            found.insert(writer, read_file(&path)?);
        }
    }
    Ok(found)
}

fn read_file(path: &Path) -> io::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    let mut reader = BufReader::new(File::open(path)?);
    let (mut block, mut starts, mut line_number, mut is_signed) = (Vec::new(), 1, 0, false);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        line_number += 1;
        if line == b"\n" && is_signed {
            kept.push(Kept { path: path.to_owned(), line: starts, checkpoint: Checkpoint::parse(&block) });
            block.clear();
            (starts, is_signed) = (line_number + 1, false);
            continue;
        }
        is_signed |= line.starts_with("\u{2014} ".as_bytes());
        if len64(block.len()) <= 2 * LINE_BYTES_MAX {
            block.extend_from_slice(&line);
        }
    }
    // Fewer lines than a note has: it is still being written, or a crash tore it.
    if block.iter().filter(|byte| **byte == b'\n').count() >= NOTE_LINES {
        kept.push(Kept { path: path.to_owned(), line: starts, checkpoint: Checkpoint::parse(&block) });
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{key::SigningKey, merkle::Hash},
        *,
    };

    fn notes(count: u64) -> Vec<String> {
        let key = SigningKey::generate("trail.example/clinic").unwrap();
        (1..=count).map(|size| key.sign(Uuid::from_u128(7), size, &Hash([9; 32]))).collect()
    }

    #[test]
    fn what_was_appended_is_read_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Uuid::from_u128(7);
        assert_eq!(last(dir.path(), writer).unwrap(), None);
        for (note, size) in notes(3).iter().zip(1..) {
            append(dir.path(), writer, note).unwrap();
            assert_eq!(last(dir.path(), writer).unwrap().unwrap().size, size);
        }
        let read = read(dir.path()).unwrap();
        let sizes: Vec<_> =
            read[&writer].iter().map(|kept| (kept.line, kept.checkpoint.as_ref().unwrap().size)).collect();
        assert_eq!(sizes, [(1, 1), (7, 2), (13, 3)]);
    }

    #[test]
    fn a_note_torn_by_a_crash_is_no_note_and_the_next_one_takes_its_place() {
        let notes = notes(2);
        for cut in 0..notes[1].len() {
            let dir = tempfile::tempdir().unwrap();
            let writer = Uuid::from_u128(7);
            append(dir.path(), writer, &notes[0]).unwrap();
            let mut file = OpenOptions::new().append(true).open(path_of(dir.path(), writer)).unwrap();
            file.write_all(&notes[1].as_bytes()[..cut]).unwrap();
            assert_eq!(read(dir.path()).unwrap()[&writer].len(), 1, "cut at {cut}");
            assert_eq!(last(dir.path(), writer).unwrap().unwrap().size, 1, "cut at {cut}");
            append(dir.path(), writer, &notes[1]).unwrap();
            assert_eq!(read(dir.path()).unwrap()[&writer].len(), 2, "cut at {cut}");
            assert_eq!(last(dir.path(), writer).unwrap().unwrap().size, 2, "cut at {cut}");
        }
    }
}
