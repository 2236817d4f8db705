//! Checkpoints: tree heads as C2SP signed notes, which any program that knows that format can verify.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::merkle::Hash;

/// The longest name of a key. It bounds a note, and with it the room that a segment keeps for its end.
pub(super) const NAME_BYTES_MAX: usize = 128;
/// The longest note of ours: name twice, a writer, a size, a root, a signature, and what joins them.
pub(super) const NOTE_BYTES_MAX: usize = 2 * NAME_BYTES_MAX + 37 + 21 + 45 + 1 + 5 + 94;
/// A note may carry signatures of others too; what is longer than this is no note.
const FOREIGN_NOTE_BYTES_MAX: usize = 16 * 1024;
/// Ed25519, as the format numbers algorithms.
const ED25519: u8 = 1;

/// Why a text is no verifier key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    #[error("a verifier key is `NAME+ID+KEY`, as `chaperone audit vkey` prints it")]
    Form,
    #[error("the key's name must have 1 to {NAME_BYTES_MAX} bytes and neither spaces nor `+`, nor end in `/`")]
    Name,
    #[error("the key is not an Ed25519 public key")]
    Key,
    #[error("the id `{found}` is not the one of this name and key, `{expected}`: something was lost in copying")]
    Id { found: String, expected: String },
}

/// The public half of a signing key, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl VerifierKey {
    pub(super) fn new(name: &str, key: VerifyingKey) -> Result<Self, VerifierKeyError> {
        if !is_name(name) {
            return Err(VerifierKeyError::Name);
        }
        Ok(Self { id: key_id(name, &key), name: name.to_owned(), key })
    }

    /// The origin that it was made for: the name before the writer in every checkpoint.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn id(&self) -> [u8; 4] {
        self.id
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tagged = vec![ED25519];
        tagged.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex(self.id), BASE64_STANDARD.encode(tagged))
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeyError::Form);
        };
        let tagged = BASE64_STANDARD.decode(key).map_err(|_base64| VerifierKeyError::Key)?;
        let Some((&ED25519, bytes)) = tagged.split_first() else { return Err(VerifierKeyError::Key) };
        let bytes: [u8; 32] = bytes.try_into().map_err(|_length| VerifierKeyError::Key)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_point| VerifierKeyError::Key)?;
        let key = Self::new(name, key)?;
        if id != hex(key.id) {
            return Err(VerifierKeyError::Id { found: id.to_owned(), expected: hex(key.id) });
        }
        Ok(key)
    }
}

/// Whether a key may have this name.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.ends_with('/')
        && !name.chars().any(|letter| letter.is_whitespace() || letter.is_control() || letter == '+')
}

fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let digest: [u8; 32] =
        Sha256::new().chain_update(name).chain_update([b'\n', ED25519]).chain_update(key.as_bytes()).finalize().into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

pub(super) fn hex(id: [u8; 4]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The three lines that are signed.
pub(super) fn text(name: &str, writer: Uuid, size: u64, root: &Hash) -> String {
    format!("{name}/{writer}\n{size}\n{root}\n")
}

/// The whole note: its text, and one signature.
pub(super) fn signed(text: &str, name: &str, id: [u8; 4], signature: &Signature) -> String {
    let mut tagged = id.to_vec();
    tagged.extend_from_slice(&signature.to_bytes());
    format!("{text}\n\u{2014} {name} {}\n", BASE64_STANDARD.encode(tagged))
}

/// Why bytes are no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("it is not text")]
    Utf8,
    #[error("it is too long")]
    TooLong,
    #[error("a checkpoint is an origin, a size, a root, an empty line and signatures, each line ended")]
    Lines,
    #[error("its origin does not end in a writer")]
    Origin,
    #[error("its size is not a number as checkpoints write it")]
    Size,
    #[error("its root is not a digest in base64")]
    Root,
    #[error("one of its signatures cannot be read")]
    Signature,
}

/// What the given keys say of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// One of the keys signed it, and its name is the origin's.
    Valid,
    /// None of its signatures claims to be by one of the keys.
    Unknown,
    /// A signature claims to be by one of the keys and is not.
    Bad,
}

/// A checkpoint as it was read, its signatures not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The origin without the writer.
    pub(super) name: String,
    pub(super) writer: Uuid,
    pub(super) size: u64,
    pub(super) root: Hash,
    /// As it was read, to be handed on.
    pub(super) note: String,
    text_bytes: usize,
    signatures: Vec<NoteSignature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoteSignature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Checkpoint {
    pub(super) fn parse(note: &[u8]) -> Result<Self, NoteError> {
        if note.len() > FOREIGN_NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let note = std::str::from_utf8(note).map_err(|_utf8| NoteError::Utf8)?;
        let (text, signatures) = note.split_once("\n\n").ok_or(NoteError::Lines)?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Lines);
        };
        let (name, writer) = origin.rsplit_once('/').ok_or(NoteError::Origin)?;
        let id = Uuid::try_parse(writer).map_err(|_uuid| NoteError::Origin)?;
        if id.to_string() != writer || !is_name(name) {
            return Err(NoteError::Origin);
        }
        let number: u64 = size.parse().map_err(|_number| NoteError::Size)?;
        if number.to_string() != size {
            return Err(NoteError::Size);
        }
        let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Lines)?;
        Ok(Self {
            name: name.to_owned(),
            writer: id,
            size: number,
            root: root_of(root).ok_or(NoteError::Root)?,
            note: note.to_owned(),
            text_bytes: text.len() + 1,
            signatures: signatures_of(signatures).ok_or(NoteError::Signature)?,
        })
    }

    pub(super) fn judged_by(&self, keys: &[VerifierKey]) -> Signed {
        let text = self.note.get(..self.text_bytes).unwrap_or_default().as_bytes();
        judged(text, &self.name, &self.signatures, keys)
    }

    /// Who says to have signed it, as `NAME+ID`.
    pub(super) fn signers(&self) -> String {
        let signers: Vec<String> = self.signatures.iter().map(|by| format!("{}+{}", by.name, hex(by.id))).collect();
        signers.join(", ")
    }
}

pub(super) fn root_of(text: &str) -> Option<Hash> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok().map(Hash)
}

/// The signatures of a note, each line ended.
pub(super) fn signatures(text: &str) -> Option<Vec<NoteSignature>> {
    signatures_of(text.strip_suffix('\n')?)
}

fn signatures_of(lines: &str) -> Option<Vec<NoteSignature>> {
    lines.split('\n').map(signature_of).collect()
}

/// What the keys say of a text that was signed under a name.
pub(super) fn judged(text: &[u8], name: &str, signatures: &[NoteSignature], keys: &[VerifierKey]) -> Signed {
    let mut verdict = Signed::Unknown;
    for key in keys.iter().filter(|key| key.name == name) {
        for signature in signatures.iter().filter(|by| by.name == key.name && by.id == key.id) {
            let is_good = Signature::from_slice(&signature.bytes)
                .is_ok_and(|signature| key.key.verify_strict(text, &signature).is_ok());
            if !is_good {
                return Signed::Bad;
            }
            verdict = Signed::Valid;
        }
    }
    verdict
}

fn signature_of(line: &str) -> Option<NoteSignature> {
    let (name, tagged) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let tagged = BASE64_STANDARD.decode(tagged).ok()?;
    let (id, bytes) = tagged.split_first_chunk::<4>()?;
    Some(NoteSignature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::{super::key::SigningKey, *};

    fn key() -> SigningKey {
        SigningKey::generate("trail.example/clinic").unwrap()
    }

    fn note(key: &SigningKey) -> String {
        key.sign(Uuid::from_u128(7), 70_000, &Hash([3; 32]))
    }

    #[test]
    fn a_checkpoint_reads_back_and_its_key_and_no_other_vouches_for_it() {
        let (key, other) = (key(), key());
        let read = Checkpoint::parse(note(&key).as_bytes()).unwrap();
        assert_eq!((read.name.as_str(), read.writer), ("trail.example/clinic", Uuid::from_u128(7)));
        assert_eq!((read.size, read.root), (70_000, Hash([3; 32])));
        assert_eq!(read.judged_by(&[other.verifier(), key.verifier()]), Signed::Valid);
        assert_eq!(read.judged_by(&[other.verifier()]), Signed::Unknown);
        assert_eq!(read.judged_by(&[]), Signed::Unknown);
    }

    #[test]
    fn a_flipped_byte_anywhere_in_a_note_is_never_vouched_for() {
        let key = key();
        let note = note(&key).into_bytes();
        for at in 0..note.len() {
            for flip in [1, 0x20, 0x80] {
                let mut changed = note.clone();
                changed[at] ^= flip;
                let vouched =
                    Checkpoint::parse(&changed).is_ok_and(|read| read.judged_by(&[key.verifier()]) == Signed::Valid);
                assert!(!vouched, "byte {at} with {flip:#x}");
            }
        }
    }

    #[test]
    fn a_verifier_key_reads_back_and_a_damaged_one_does_not() {
        let key = key().verifier();
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed.parse::<VerifierKey>().is_err(), "{changed}");
        }
    }

    /// The pair of the documentation of Go's `golang.org/x/mod/sumdb/note`, and the note it signs there.
    #[test]
    fn the_verifier_key_of_another_implementation_is_read() {
        let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key: VerifierKey = vkey.parse().unwrap();
        assert_eq!(key.name(), "PeterNeumann");
        assert_eq!(key.to_string(), vkey);
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let line = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let signature = signature_of(line).unwrap();
        assert_eq!(signature.id, key.id);
        let signature = Signature::from_slice(&signature.bytes).unwrap();
        assert!(key.key.verify_strict(text.as_bytes(), &signature).is_ok());
        assert!(key.key.verify_strict(text.trim_end().as_bytes(), &signature).is_err());
    }

    #[test]
    fn the_longest_note_fits_its_bound() {
        let key = SigningKey::generate(&"n".repeat(NAME_BYTES_MAX)).unwrap();
        let note = key.sign(Uuid::max(), u64::MAX, &Hash([255; 32]));
        assert_eq!(note.len(), NOTE_BYTES_MAX);
    }
}
