//! The key that signs checkpoints, and the file it lives in.
//!
//! The file holds one line, `PRIVATE+KEY+NAME+ID+KEY`: the form that other implementations of signed notes use.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::Signer as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    merkle::Hash,
    note::{self, VerifierKey, VerifierKeyError},
};

const MARK: &str = "PRIVATE+KEY+";
const ED25519: u8 = 1;
const FILE_BYTES_MAX: u64 = 4096;
const OTHERS_MAY_READ: u32 = 0o007;

/// Why a key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("no randomness could be had: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    Name(#[from] VerifierKeyError),
    #[error("`{}` exists already, and a key is never written over", path.display())]
    Exists { path: PathBuf },
    #[error("cannot {action} the key file `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` holds no signing key: one line `PRIVATE+KEY+…`, as `chaperone audit keygen` writes it", path.display())]
    Form { path: PathBuf },
    #[error(
        "`{}` holds no encryption keys: lines `ENCRYPTION+KEY+…`, as `chaperone audit encryption-key` writes them", path.display()
    )]
    EncryptionForm { path: PathBuf },
    #[error("a data key could not be encrypted")]
    Wrap,
}

/// The text of a key file; `exposed` is what to say if everyone may read it.
pub(super) fn read_file(path: &Path, bytes_max: u64, exposed: &'static str) -> Result<Zeroizing<String>, KeyError> {
    let failed = |source| KeyError::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let stat = file.metadata().map_err(failed)?;
    // Room for the whole, so that no half of it stays behind in memory that was given back.
    let room = super::bytes::index(stat.len().min(bytes_max)).saturating_add(1);
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(bytes_max).read_to_string(&mut text).map_err(failed)?;
    if stat.permissions().mode() & OTHERS_MAY_READ != 0 {
        tracing::warn!(file = %path.display(), "{exposed}");
    }
    Ok(text)
}

/// Writes a new file for its owner alone; one that is there is left as it is.
pub(super) fn write_file(path: &Path, text: &[u8]) -> Result<(), KeyError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            return KeyError::Exists { path: path.to_owned() };
        }
        KeyError::Io { action: "write", path: path.to_owned(), source }
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(failed)?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// The private half. Wiped from memory when dropped; it prints as its name.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    verifier: VerifierKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("name", &self.verifier.name()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key for an origin.
    ///
    /// # Errors
    ///
    /// The origin is no name for a key, or the system has no randomness.
    pub fn generate(origin: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(KeyError::Random)?;
        Ok(Self::of(origin, &seed)?)
    }

    fn of(name: &str, seed: &[u8; 32]) -> Result<Self, VerifierKeyError> {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, key.verifying_key())?;
        Ok(Self { key, verifier })
    }

    /// The key in `path`.
    ///
    /// # Errors
    ///
    /// The file cannot be read or holds no key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let exposed = "everyone on this machine may read the key that signs checkpoints";
        let text = read_file(path, FILE_BYTES_MAX, exposed)?;
        parse(&text).ok_or_else(|| KeyError::Form { path: path.to_owned() })
    }

    /// Writes the key to a new file for its owner alone.
    ///
    /// # Errors
    ///
    /// The file exists, or cannot be written.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        write_file(path, self.to_line().as_bytes())
    }

    fn to_line(&self) -> Zeroizing<String> {
        let mut tagged = Zeroizing::new([ED25519; 33]);
        if let Some((_, seed)) = tagged.split_first_mut() {
            seed.copy_from_slice(self.key.as_bytes());
        }
        let secret = Zeroizing::new(BASE64_STANDARD.encode(tagged.as_slice()));
        let id = note::hex(self.verifier.id());
        Zeroizing::new([MARK, self.verifier.name(), "+", &id, "+", &secret, "\n"].concat())
    }

    /// The public half, to be given to whoever verifies.
    pub fn verifier(&self) -> VerifierKey {
        self.verifier.clone()
    }

    /// A checkpoint over the first `size` records of a writer.
    pub(super) fn sign(&self, writer: Uuid, size: u64, root: &Hash) -> String {
        self.sign_text(&note::text(self.verifier.name(), writer, size, root))
    }

    /// A note of any text, whose first line says what it is: nothing signed here can be taken for something else.
    pub(super) fn sign_text(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes());
        note::signed(text, self.verifier.name(), self.verifier.id(), &signature)
    }
}

fn parse(text: &str) -> Option<SigningKey> {
    let mut parts = text.trim().strip_prefix(MARK)?.splitn(3, '+');
    let (name, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let tagged = Zeroizing::new(BASE64_STANDARD.decode(secret).ok()?);
    let (&ED25519, seed) = tagged.split_first()? else { return None };
    let key = SigningKey::of(name, seed.try_into().ok()?).ok()?;
    (note::hex(key.verifier.id()) == id).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_reads_back_is_its_owners_alone_and_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trail.key");
        let key = SigningKey::generate("trail.example/clinic").unwrap();
        key.write_new(&path).unwrap();
        assert_eq!(SigningKey::read(&path).unwrap().verifier(), key.verifier());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let other = SigningKey::generate("trail.example/clinic").unwrap();
        assert!(matches!(other.write_new(&path), Err(KeyError::Exists { .. })));
        assert_eq!(SigningKey::read(&path).unwrap().verifier(), key.verifier());
    }

    #[test]
    fn a_signing_key_prints_as_its_name_alone() {
        let key = SigningKey::generate("trail.example/clinic").unwrap();
        let line = key.to_line();
        let secret = line.trim().splitn(5, '+').nth(4).unwrap();
        let seen = format!("{key:?}");
        assert!(seen.contains("trail.example/clinic") && !seen.contains(secret), "{seen}");
    }

    #[test]
    fn a_file_that_is_no_key_and_a_name_that_is_none_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let line = SigningKey::generate("a/b").unwrap().to_line();
        let secret = line.trim().splitn(5, '+').nth(4).unwrap();
        let half: String = secret.chars().take(20).collect();
        for text in ["", "PRIVATE+KEY+a+b", &line.replace("a/b", "a/c"), &line.replace(secret, &half)] {
            File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            assert!(matches!(SigningKey::read(&path), Err(KeyError::Form { .. })), "{text}");
        }
        for name in ["", "with space", "a+b", "a/", &"x".repeat(note::NAME_BYTES_MAX + 1)] {
            assert!(matches!(SigningKey::generate(name), Err(KeyError::Name(_))), "{name}");
        }
    }

    /// The private key of the documentation of Go's `golang.org/x/mod/sumdb/note`.
    #[test]
    fn the_signing_key_of_another_implementation_is_read() {
        let key = parse("PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").unwrap();
        let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(key.verifier().to_string(), vkey);
    }
}
