//! The keys that encrypt trails, and the file they live in: one line a key, `ENCRYPTION+KEY+ID+KEY`. The first encrypts
//! what is written from now on, all of them open what was written before.

use std::{fmt, path::Path, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    cipher::{self, DataKey, KEY_BYTES, Secret},
    header::{self, Header},
    key::{self, KeyError},
    merkle::Hash,
};

const MARK: &str = "ENCRYPTION+KEY+";
/// More rotations than anybody will see.
const KEYS_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Keys that encrypt and open trails. Wiped from memory when the last of them is dropped; they print as their ids.
#[derive(Clone, Default)]
pub struct EncryptionKeys(Arc<Vec<EncryptionKey>>);

struct EncryptionKey {
    id: String,
    secret: Secret,
}

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EncryptionKeys").field(&self.ids()).finish()
    }
}

/// Why records that are encrypted cannot be read. None of these says that a record was changed, but the last.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    #[error("the records of writer {writer} are encrypted with key {key}, and no key is given")]
    NoKey { writer: Uuid, key: String },
    #[error("the records of writer {writer} are encrypted with key {key}; the key given is another: {given}")]
    OtherKey { writer: Uuid, key: String, given: String },
    /// The id is that of a key at hand, and what it wrapped does not open with it.
    #[error("the data key of writer {writer} does not open with key {key}, which made it: its header was changed")]
    Changed { writer: Uuid, key: String },
}

impl EncryptionKeys {
    /// One new key, with those of `older` behind it.
    ///
    /// # Errors
    ///
    /// The system has no randomness.
    pub fn generate(older: &Self) -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(secret.as_mut_slice()).map_err(KeyError::Random)?;
        let mut keys = vec![EncryptionKey::of(secret)];
        keys.extend(older.0.iter().map(|key| EncryptionKey::of(key.secret.clone())));
        Ok(Self(Arc::new(keys)))
    }

    /// The keys in `path`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or a line of it holds no key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text =
            key::read_file(path, FILE_BYTES_MAX, "everyone on this machine may read the key that encrypts the trail")?;
        let form = || KeyError::EncryptionForm { path: path.to_owned() };
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let keys: Vec<EncryptionKey> = lines.map(parse).collect::<Option<_>>().ok_or_else(form)?;
        if keys.is_empty() || keys.len() > KEYS_MAX { Err(form()) } else { Ok(Self(Arc::new(keys))) }
    }

    /// Writes the keys to a new file for its owner alone.
    ///
    /// # Errors
    ///
    /// The file exists, or cannot be written.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        let lines: Vec<Zeroizing<String>> = self.0.iter().map(EncryptionKey::to_line).collect();
        let mut text = Zeroizing::new(String::with_capacity(lines.iter().map(|line| line.len()).sum()));
        lines.iter().for_each(|line| text.push_str(line));
        key::write_file(path, text.as_bytes())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What tells the keys apart, and nothing about them; the one that encrypts first.
    pub fn ids(&self) -> Vec<&str> {
        self.0.iter().map(|key| key.id.as_str()).collect()
    }

    /// A data key for a new writer, and what its headers say of it; `None` without keys.
    pub(super) fn begin(&self, writer: Uuid) -> Result<Option<(DataKey, header::Key)>, KeyError> {
        let Some(key) = self.0.first() else { return Ok(None) };
        let (mut secret, mut nonce) = (Zeroizing::new([0; KEY_BYTES]), [0; 12]);
        getrandom::fill(secret.as_mut_slice()).map_err(KeyError::Random)?;
        getrandom::fill(&mut nonce).map_err(KeyError::Random)?;
        let wrapped = cipher::wrap(&key.secret, nonce, &secret, writer).map_err(|_cipher| KeyError::Wrap)?;
        let said = header::Key {
            id: key.id.clone(),
            wrapped: BASE64_STANDARD.encode(wrapped),
            nonce: BASE64_STANDARD.encode(nonce),
        };
        Ok(Some((DataKey::new(&secret, writer), said)))
    }

    /// What opens the records behind a header; `None` where nothing is encrypted.
    pub(super) fn open(&self, header: &Header) -> Result<Option<Arc<DataKey>>, SealedError> {
        let Some(said) = &header.key else { return Ok(None) };
        let (writer, key) = (header.writer, said.id.clone());
        let Some(found) = self.0.iter().find(|key| key.id == said.id) else {
            return Err(match self.ids().join(", ") {
                none if none.is_empty() => SealedError::NoKey { writer, key },
                given => SealedError::OtherKey { writer, key, given },
            });
        };
        let opened = || {
            let nonce = BASE64_STANDARD.decode(&said.nonce).ok()?.try_into().ok()?;
            let wrapped = BASE64_STANDARD.decode(&said.wrapped).ok()?;
            cipher::unwrap(&found.secret, nonce, &wrapped, writer).ok()
        };
        let secret = opened().ok_or(SealedError::Changed { writer, key })?;
        Ok(Some(Arc::new(DataKey::new(&secret, writer))))
    }
}

impl EncryptionKey {
    fn of(secret: Secret) -> Self {
        let digest = Hash::of(&[b"chaperone trail encryption key\0", secret.as_slice()]);
        Self { id: digest.0.iter().take(8).map(|byte| format!("{byte:02x}")).collect(), secret }
    }

    fn to_line(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(BASE64_STANDARD.encode(self.secret.as_slice()));
        Zeroizing::new([MARK, &self.id, "+", &secret, "\n"].concat())
    }
}

fn parse(line: &str) -> Option<EncryptionKey> {
    let (id, secret) = line.trim().strip_prefix(MARK)?.split_once('+')?;
    let secret = Zeroizing::new(BASE64_STANDARD.decode(secret).ok()?);
    let key = EncryptionKey::of(Zeroizing::new(secret.as_slice().try_into().ok()?));
    (key.id == id).then_some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_reads_back_is_its_owners_alone_and_keeps_older_keys_behind_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("1.key"), dir.path().join("2.key"));
        let keys = EncryptionKeys::generate(&EncryptionKeys::default()).unwrap();
        keys.write_new(&first).unwrap();
        assert_eq!(first.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let rotated = EncryptionKeys::generate(&EncryptionKeys::read(&first).unwrap()).unwrap();
        rotated.write_new(&second).unwrap();
        let read = EncryptionKeys::read(&second).unwrap();
        assert_eq!((read.ids().len(), read.ids()[1]), (2, keys.ids()[0]));
        assert!(matches!(rotated.write_new(&second), Err(KeyError::Exists { .. })));
        let secret = std::fs::read_to_string(&first).unwrap();
        assert!(!format!("{keys:?}").contains(secret.trim().rsplit('+').next().unwrap()));
    }

    #[test]
    fn a_file_with_a_line_that_is_no_key_is_refused_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        EncryptionKeys::generate(&EncryptionKeys::default()).unwrap().write_new(&path).unwrap();
        let line = std::fs::read_to_string(&path).unwrap();
        let other_id = line.replacen(line.split('+').nth(2).unwrap(), "0123456789abcdef", 1);
        let half: String = line.chars().take(60).collect();
        for (nth, text) in ["", "\n", &half, &other_id, &format!("{line}x\n")].iter().enumerate() {
            let path = dir.path().join(nth.to_string());
            key::write_file(&path, text.as_bytes()).unwrap();
            assert!(matches!(EncryptionKeys::read(&path), Err(KeyError::EncryptionForm { .. })), "{text:?}");
        }
    }
}
