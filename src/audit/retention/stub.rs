//! What stays of pruned segments: `<writer>.pruned`, a few lines that say where chain and tree stood at their end.
//!
//! It is a signed note, as a checkpoint is: an origin, a digest, one line of JSON, an empty line, signatures. Where the
//! trail is not signed the origin is the writer's alone, and there is no signature.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    audit::{
        header::{Predecessor, id},
        key::SigningKey,
        merkle::{Frontier, Hash},
        note::{self, NoteSignature, Signed, VerifierKey},
    },
    domain::Timestamp,
};

const EXTENSION: &str = ".pruned";
/// While it is written, it is called so.
const MAKING: &str = ".pruned.new";
const VERSION: u32 = 1;
/// 63 nodes, a predecessor, and signatures of others: no stub is longer.
const STUB_BYTES_MAX: u64 = 32 * 1024;

/// Where a writer's pruned segments ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::audit) struct Stub {
    pub(super) v: u32,
    #[serde(with = "id")]
    pub(in crate::audit) writer: Uuid,
    /// All segments up to this one are gone.
    pub(in crate::audit) segment: u32,
    /// Their last frame and record, and the chain after it.
    pub(in crate::audit) frame: u64,
    pub(in crate::audit) seq: u64,
    pub(in crate::audit) chain: Hash,
    /// The compact range over all records up to `seq`, and its root.
    pub(in crate::audit) frontier: Vec<Hash>,
    pub(in crate::audit) root: Hash,
    /// Nothing of the writer is left: how it ended.
    pub(in crate::audit) end: Option<StubEnd>,
    /// The writer before it.
    pub(in crate::audit) prev: Option<Predecessor>,
    /// The earliest and the latest instant of the records that are gone.
    pub(in crate::audit) from: Timestamp,
    pub(in crate::audit) to: Timestamp,
    /// When they were pruned.
    pub(in crate::audit) pruned: Timestamp,
}

/// How a writer ended of which nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::audit) struct StubEnd {
    pub(in crate::audit) clean: bool,
}

/// A stub as it was read.
#[derive(Clone, Debug)]
pub(in crate::audit) struct StubFile {
    pub(in crate::audit) stub: Stub,
    text: String,
    name: Option<String>,
    signatures: Vec<NoteSignature>,
}

pub(in crate::audit) fn file_name(writer: Uuid) -> String {
    format!("{writer}{EXTENSION}")
}

pub(super) fn making_name(writer: Uuid) -> String {
    format!("{writer}{MAKING}")
}

/// Whether a file is a stub that was not finished.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(MAKING).is_some_and(|writer| Uuid::try_parse(writer).is_ok())
}

impl Stub {
    pub(super) const VERSION: u32 = VERSION;

    /// The whole file, signed if there is a key.
    pub(super) fn encode(&self, key: Option<&SigningKey>) -> Result<String, serde_json::Error> {
        let json = serde_json::to_string(self)?;
        let digest = Hash::of(&[json.as_bytes()]);
        let verifier = key.map(SigningKey::verifier);
        let origin = match &verifier {
            Some(verifier) => format!("{}/{}/pruned", verifier.name(), self.writer),
            None => format!("{}/pruned", self.writer),
        };
        let text = format!("{origin}\n{digest}\n{json}\n");
        Ok(key.map_or_else(|| format!("{text}\n"), |key| key.sign_text(&text)))
    }

    /// Whether the tree that it states can be one of so many records, with the root that it states.
    fn is_consistent(&self) -> bool {
        Frontier::from_nodes(self.seq, self.frontier.clone()).is_some_and(|tree| tree.root() == self.root)
    }
}

/// The name of the writer in a stub's file name.
pub(in crate::audit) fn writer_of(name: &str) -> Option<Uuid> {
    let text = name.strip_suffix(EXTENSION)?;
    Uuid::try_parse(text).ok().filter(|writer| writer.to_string() == text)
}

/// Reads a stub; what is wrong with it is said in words.
pub(in crate::audit) fn read(path: &Path, writer: Uuid) -> io::Result<Result<StubFile, &'static str>> {
    if fs::metadata(path)?.len() > STUB_BYTES_MAX {
        return Ok(Err("it is too long"));
    }
    Ok(parse(&fs::read(path)?, writer))
}

pub(in crate::audit) fn parse(stored: &[u8], writer: Uuid) -> Result<StubFile, &'static str> {
    let stored = std::str::from_utf8(stored).map_err(|_utf8| "it is not text")?;
    let (text, signatures) = stored.split_once("\n\n").ok_or("it breaks off")?;
    let mut lines = text.split('\n');
    let (Some(origin), Some(digest), Some(json), None) = (lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return Err("it has not the form of a stub");
    };
    if note::root_of(digest) != Some(Hash::of(&[json.as_bytes()])) {
        return Err("its digest is not that of its line");
    }
    let stub: Stub = serde_json::from_str(json).map_err(|_json| "its line says not what a stub says")?;
    if stub.v != VERSION {
        return Err("it is of another version than this program");
    }
    let named = format!("{writer}/pruned");
    let name = match origin.strip_suffix(&named) {
        Some("") => None,
        Some(name) => name.strip_suffix('/').map(str::to_owned),
        None => return Err("it is of another writer"),
    };
    if stub.writer != writer {
        return Err("it is of another writer");
    }
    if !stub.is_consistent() {
        return Err("its root is not that of its tree");
    }
    let signatures = match signatures {
        "" => Vec::new(),
        signatures => note::signatures(signatures).ok_or("its signatures cannot be read")?,
    };
    Ok(StubFile { stub, text: format!("{text}\n"), name, signatures })
}

impl StubFile {
    /// Whether it says that it is signed, whoever did.
    pub(super) fn is_signed(&self) -> bool {
        self.name.is_some()
    }

    /// What the keys say of it.
    pub(in crate::audit) fn judged_by(&self, keys: &[VerifierKey]) -> Signed {
        match &self.name {
            Some(name) => note::judged(self.text.as_bytes(), name, &self.signatures, keys),
            None => Signed::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stub() -> Stub {
        let mut tree = Frontier::default();
        (0..5_u8).for_each(|n| tree.push(Hash([n; 32])));
        Stub {
            v: VERSION,
            writer: Uuid::from_u128(7),
            segment: 3,
            frame: 9,
            seq: 5,
            chain: Hash([4; 32]),
            frontier: tree.nodes().to_vec(),
            root: tree.root(),
            end: None,
            prev: None,
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            pruned: Timestamp::MAX,
        }
    }

    #[test]
    fn a_stub_reads_back_and_its_key_and_no_other_vouches_for_it() {
        let (key, other) = (SigningKey::generate("a/b").unwrap(), SigningKey::generate("a/b").unwrap());
        let text = stub().encode(Some(&key)).unwrap();
        let read = parse(text.as_bytes(), stub().writer).unwrap();
        assert_eq!(read.stub, stub());
        assert_eq!(read.judged_by(&[key.verifier()]), Signed::Valid);
        assert_eq!(read.judged_by(&[other.verifier()]), Signed::Unknown);
        let unsigned = stub().encode(None).unwrap();
        let read = parse(unsigned.as_bytes(), stub().writer).unwrap();
        assert_eq!((read.stub.clone(), read.judged_by(&[key.verifier()])), (stub(), Signed::Unknown));
    }

    #[test]
    fn a_changed_byte_is_found_by_the_digest_or_by_the_signature() {
        let key = SigningKey::generate("a/b").unwrap();
        let text = stub().encode(Some(&key)).unwrap().into_bytes();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            let verdict = parse(&changed, stub().writer).map(|read| read.judged_by(&[key.verifier()]));
            assert_ne!(verdict, Ok(Signed::Valid), "byte {at}");
        }
    }

    #[test]
    fn a_tree_that_is_none_is_refused() {
        for bad in [Stub { seq: 7, ..stub() }, Stub { root: Hash([1; 32]), ..stub() }, Stub { v: 2, ..stub() }] {
            let text = bad.encode(None).unwrap();
            assert!(parse(text.as_bytes(), bad.writer).is_err(), "{bad:?}");
        }
        let text = stub().encode(None).unwrap();
        assert!(parse(text.as_bytes(), Uuid::from_u128(8)).is_err());
    }
}
