//! The files of a bundle, read in one piece and sized before anything parses them.
//!
//! A Kubernetes ConfigMap shows its files as symlinks through `..data`, which is swapped as a whole: hidden entries are
//! skipped, links are followed, and a read during which the link moved is done again.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::problem::{Problem, Problems};

/// Bytes of one file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Bytes of the schema as its author wrote it.
pub const SCHEMA_BYTES_MAX: usize = 100_000;
/// Bytes of all files together.
pub const BUNDLE_BYTES_MAX: usize = 4 << 20;
/// Folders inside folders.
const FOLDER_DEPTH_MAX: usize = 16;
const FILES_MAX: usize = 10_000;
const READ_ATTEMPTS_MAX: usize = 3;

/// One file of a bundle, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// Where it was read, as the person who named the folder would write it.
    pub path: PathBuf,
    /// Its place in the bundle, the same on every machine: `policies/roles/therapist.cedar`.
    pub name: String,
    pub text: Arc<str>,
}

/// Every file of a bundle, and the digest that names them.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Every `*.cedar`, sorted by name; at least one.
    pub policies: Vec<TextFile>,
    /// `reasons.yaml`, beside the policies.
    pub reasons: Option<TextFile>,
    pub schema: TextFile,
    /// `*.fields.yaml`.
    pub fields: Option<TextFile>,
    /// `*.entities.yaml`.
    pub mapping: Option<TextFile>,
    /// `sha256:` and the digest over names, lengths and bytes of all files.
    pub digest: Arc<str>,
}

impl Sources {
    /// Reads both folders.
    ///
    /// # Errors
    ///
    /// Every file and folder that is missing, unreadable, too large or one too many, all at once.
    pub fn read(policies: &Path, schemas: &Path) -> Result<Self, Problems> {
        for _ in 1..READ_ATTEMPTS_MAX {
            let before = [data_link(policies), data_link(schemas)];
            let sources = read_once(policies, schemas);
            if before == [data_link(policies), data_link(schemas)] {
                return sources;
            }
        }
        read_once(policies, schemas)
    }

    /// Every file, in the order of the digest.
    pub fn files(&self) -> impl Iterator<Item = &TextFile> {
        let rest = [self.reasons.as_ref(), Some(&self.schema), self.fields.as_ref(), self.mapping.as_ref()];
        self.policies.iter().chain(rest.into_iter().flatten())
    }
}

/// Where `..data` points, when the folder is a projected volume.
fn data_link(folder: &Path) -> Option<PathBuf> {
    fs::read_link(folder.join("..data")).ok()
}

fn read_once(policies: &Path, schemas: &Path) -> Result<Sources, Problems> {
    let mut problems = Vec::new();
    let (rules, reasons) = read_policies(policies, &mut problems);
    let (schema, fields, mapping) = read_schemas(schemas, &mut problems);
    match schema {
        Some(schema) if problems.is_empty() => {
            let mut sources = Sources { policies: rules, reasons, schema, fields, mapping, digest: Arc::from("") };
            let bytes: usize = sources.files().map(|file| file.text.len()).sum();
            if bytes > BUNDLE_BYTES_MAX {
                problems.push(
                    Problem::error(format!("the bundle has {bytes} bytes, more than {BUNDLE_BYTES_MAX}"))
                        .in_file(policies)
                        .hint("split it: one sidecar needs the policies of one application"),
                );
                return Err(Problems(problems));
            }
            sources.digest = digest(&sources);
            Ok(sources)
        }
        _ => Err(Problems(problems)),
    }
}

fn read_policies(folder: &Path, problems: &mut Vec<Problem>) -> (Vec<TextFile>, Option<TextFile>) {
    let mut rules = Vec::new();
    let Some(found) = list(folder, "policies", "`*.cedar` policy files", Depth::Every, problems) else {
        return (rules, None);
    };
    let mut reasons = None;
    let before = problems.len();
    for entry in found {
        if entry.name.ends_with(".cedar") {
            rules.extend(read_file(entry, FILE_BYTES_MAX, problems));
        } else if entry.name == "policies/reasons.yaml" {
            reasons = read_file(entry, FILE_BYTES_MAX, problems);
        }
    }
    if rules.is_empty() && problems.len() == before {
        problems.push(
            Problem::error("no policy file `*.cedar` in this folder or under it")
                .in_file(folder)
                .hint("a bundle needs at least one policy; without any, everything would be denied"),
        );
    }
    (rules, reasons)
}

type Schemas = (Option<TextFile>, Option<TextFile>, Option<TextFile>);

fn read_schemas(folder: &Path, problems: &mut Vec<Problem>) -> Schemas {
    let expected = "one `*.cedarschema`, and at most one `*.fields.yaml` and `*.entities.yaml`";
    let Some(found) = list(folder, "schemas", expected, Depth::Top, problems) else {
        return (None, None, None);
    };
    let mut one = |ending: &str, bytes_max: usize| {
        let mut matching = found.iter().filter(|entry| entry.name.ends_with(ending));
        let first = matching.next()?;
        for other in matching {
            problems.push(
                Problem::error(format!("a second `*{ending}` beside `{}`", first.path.display()))
                    .in_file(&other.path)
                    .hint("keep one of them: a bundle has exactly one schema and one mapping"),
            );
        }
        read_file(first.clone(), bytes_max, problems)
    };
    let files = (
        one(".cedarschema", SCHEMA_BYTES_MAX),
        one(".fields.yaml", FILE_BYTES_MAX),
        one(".entities.yaml", FILE_BYTES_MAX),
    );
    if !found.iter().any(|entry| entry.name.ends_with(".cedarschema")) {
        problems.push(Problem::error("no schema `*.cedarschema` in this folder").in_file(folder).hint(expected));
    }
    files
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Top,
    Every,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: String,
    path: PathBuf,
}

/// The visible files of a folder, sorted by name, each once however many links lead to it.
fn list(folder: &Path, name: &str, expected: &str, depth: Depth, problems: &mut Vec<Problem>) -> Option<Vec<Entry>> {
    if !folder.is_dir() {
        let what = if folder.exists() { "this is not a folder" } else { "this folder does not exist" };
        problems.push(Problem::error(what).in_file(folder).hint(format!("expected {expected} here")));
        return None;
    }
    let mut walk = Walk { found: Vec::new(), seen: BTreeSet::new(), depth, problems };
    walk.folder(folder, name, 0);
    walk.found.sort();
    let mut found = walk.found;
    let mut targets = BTreeSet::new();
    found.retain(|entry| fs::canonicalize(&entry.path).map_or(true, |target| targets.insert(target)));
    Some(found)
}

struct Walk<'p> {
    found: Vec<Entry>,
    /// Folders on the way or done, so that a link cannot lead round in a circle.
    seen: BTreeSet<PathBuf>,
    depth: Depth,
    problems: &'p mut Vec<Problem>,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, name: &str, depth: usize) {
        match fs::canonicalize(path) {
            Ok(target) => {
                if !self.seen.insert(target) {
                    return;
                }
            }
            Err(error) => return self.unreadable(path, &error),
        }
        if depth > FOLDER_DEPTH_MAX {
            let message = format!("folders are nested deeper than {FOLDER_DEPTH_MAX}");
            self.problems.push(Problem::error(message).in_file(path));
            return;
        }
        match fs::read_dir(path) {
            Ok(entries) => {
                let mut children: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
                children.sort();
                for child in children {
                    // Hidden entries: an editor's, and the versions that a ConfigMap keeps behind `..data`.
                    let Some(word) = child.to_str().filter(|word| !word.starts_with('.')) else { continue };
                    self.entry(path.join(&child), format!("{name}/{word}"), depth);
                }
            }
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn entry(&mut self, path: PathBuf, name: String, depth: usize) {
        let is_ours = [".cedar", ".yaml", ".cedarschema"].iter().any(|ending| name.ends_with(ending));
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                if self.depth == Depth::Every {
                    self.folder(&path, &name, depth.saturating_add(1));
                }
            }
            // Never a pipe or a socket: one could hold the reader for ever.
            Ok(meta) if meta.is_file() && is_ours => {
                if self.found.len() == FILES_MAX {
                    self.problems.push(Problem::error(format!("more than {FILES_MAX} files")).in_file(&path));
                }
                if self.found.len() <= FILES_MAX {
                    self.found.push(Entry { name, path });
                }
            }
            Err(error) if is_ours => self.unreadable(&path, &error),
            Ok(_) | Err(_) => {}
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.problems.push(Problem::error(format!("cannot be read: {error}")).in_file(path));
    }
}

fn read_file(entry: Entry, bytes_max: usize, problems: &mut Vec<Problem>) -> Option<TextFile> {
    let wanted = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    if let Err(error) = File::open(&entry.path).and_then(|file| file.take(wanted).read_to_end(&mut bytes)) {
        problems.push(Problem::error(format!("cannot be read: {error}")).in_file(entry.path));
        return None;
    }
    if bytes.len() > bytes_max {
        problems.push(Problem::error(format!("the file has more than {bytes_max} bytes")).in_file(entry.path));
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(TextFile { path: entry.path, name: entry.name, text: Arc::from(text) }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count().saturating_add(1);
            let mut problem = Problem::error("the file is not UTF-8 text").in_file(entry.path);
            problem.line = Some(line);
            problems.push(problem);
            None
        }
    }
}

/// Lengths stand before names and bytes, so that no two different bundles have the same list.
fn digest(sources: &Sources) -> Arc<str> {
    let mut hash = Sha256::new();
    for file in sources.files() {
        for part in [file.name.as_bytes(), file.text.as_bytes()] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
    }
    let mut text = String::from("sha256:");
    for byte in hash.finalize() {
        // Writing to a `String` cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    Arc::from(text)
}

impl TextFile {
    /// An error at a byte of this file: line, column and the line's text are filled in.
    pub fn error_at(&self, offset: usize, message: impl Into<String>) -> Problem {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let column = before.get(line_start..).unwrap_or("").chars().count().saturating_add(1);
        self.error_on(self.line_of(offset), Some(column), message)
    }

    /// An error on a 1-based line of this file.
    pub fn error_on(&self, line: usize, column: Option<usize>, message: impl Into<String>) -> Problem {
        let mut problem = Problem::error(message).in_file(&self.path);
        problem.line = Some(line);
        problem.column = column;
        problem.source_line = self.text.lines().nth(line.saturating_sub(1)).map(|text| shortened(text.trim_end()));
        problem
    }

    /// The 1-based line of a byte.
    pub fn line_of(&self, offset: usize) -> usize {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1)
    }
}

/// A line as it is shown: a hostile one may be a megabyte long.
fn shortened(line: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 200;
    match line.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests;
