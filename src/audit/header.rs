//! The first 4,096 bytes of a segment: who writes, where it goes on, and what came before.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    bytes,
    merkle::{Frontier, Hash},
};
use crate::domain::Timestamp;

/// The size of a header, its padding included.
pub(super) const HEADER_BYTES: usize = 4096;

const MAGIC: [u8; 8] = *b"CHAPTRL1";
const JSON_AT: usize = 16;
const VERSION: u32 = 1;

/// What a segment says before its first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) v: u32,
    #[serde(with = "id")]
    pub(super) writer: Uuid,
    pub(super) segment: u32,
    pub(super) first_frame: u64,
    pub(super) first_seq: u64,
    /// The chain before `first_frame`. Null in a writer's first header, whose own digest starts the chain.
    pub(super) chain: Option<Hash>,
    /// The compact range over the records before `first_seq`.
    pub(super) frontier: Vec<Hash>,
    pub(super) created: Timestamp,
    /// The writer before this one in the folder; the same in every header of a writer.
    pub(super) prev: Option<Predecessor>,
    /// The wrapped data key, if bodies are encrypted; the same in every header of a writer.
    pub(super) key: Option<Key>,
}

/// Where the writer before ended, as the next one found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Predecessor {
    #[serde(with = "id")]
    pub(super) writer: Uuid,
    /// Its last segment.
    pub(super) segment: u32,
    /// Its last good frame, that frame's last record, and the chain after it.
    pub(super) frame: u64,
    pub(super) seq: u64,
    pub(super) chain: Hash,
    /// It sealed its trail and left.
    pub(super) clean: bool,
    /// Something it had on disk is damaged: not a torn tail.
    pub(super) damaged: bool,
    /// Bytes of its last segment from the end of the last good frame there to the last one that is not zero.
    pub(super) tail_bytes: u64,
    pub(super) tail_sha256: Option<Hash>,
}

/// A data key, encrypted with a key of the key file; base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    /// Which key of the key file wrapped it.
    pub(super) id: String,
    pub(super) wrapped: String,
    pub(super) nonce: String,
}

/// A writer's id as text.
pub(super) mod id {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use uuid::Uuid;

    pub(in crate::audit) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(in crate::audit) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        Uuid::try_parse(&text).map_err(D::Error::custom)
    }
}

/// Why 4,096 bytes are no header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("nothing but zeros")]
    Empty,
    #[error("does not start as a segment")]
    Magic,
    #[error("its checksum does not match")]
    Crc,
    #[error("its padding is not zero")]
    Padding,
    #[error("cannot be read: {0}")]
    Json(String),
    #[error("format version {0} is newer than this program")]
    Version(u32),
    #[error("too long for 4,096 bytes")]
    TooLong,
}

impl Header {
    pub(super) const VERSION: u32 = VERSION;

    pub(super) fn encode(&self) -> Result<Vec<u8>, HeaderError> {
        let json = serde_json::to_vec(self).map_err(|error| HeaderError::Json(error.to_string()))?;
        let length = u32::try_from(json.len()).map_err(|_range| HeaderError::TooLong)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&json).to_le_bytes());
        bytes.extend_from_slice(&json);
        if bytes.len() > HEADER_BYTES {
            return Err(HeaderError::TooLong);
        }
        bytes.resize(HEADER_BYTES, 0);
        Ok(bytes)
    }

    pub(super) fn decode(segment: &[u8]) -> Result<Self, HeaderError> {
        let Some(head) = segment.get(..HEADER_BYTES) else {
            return Err(if bytes::all_zero(segment) { HeaderError::Empty } else { HeaderError::Magic });
        };
        if bytes::all_zero(head) {
            return Err(HeaderError::Empty);
        }
        if !head.starts_with(&MAGIC) {
            return Err(HeaderError::Magic);
        }
        let length = bytes::u32_at(head, 8).ok_or(HeaderError::Magic)?;
        let crc = bytes::u32_at(head, 12).ok_or(HeaderError::Magic)?;
        let end = JSON_AT.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        let json = head.get(JSON_AT..end).ok_or(HeaderError::Crc)?;
        if crc32c::crc32c(json) != crc {
            return Err(HeaderError::Crc);
        }
        if !head.get(end..).is_some_and(bytes::all_zero) {
            return Err(HeaderError::Padding);
        }
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        let versioned: Versioned =
            serde_json::from_slice(json).map_err(|error| HeaderError::Json(error.to_string()))?;
        if versioned.v != VERSION {
            return Err(HeaderError::Version(versioned.v));
        }
        serde_json::from_slice(json).map_err(|error| HeaderError::Json(error.to_string()))
    }

    /// The chain value that the first frame of this segment continues; `encoded` is the header as it is stored.
    pub(super) fn chain_before(&self, encoded: &[u8]) -> Hash {
        self.chain.unwrap_or_else(|| Hash::of(&[encoded.get(..HEADER_BYTES).unwrap_or(encoded)]))
    }

    /// The tree over the records before this segment, if the header can be right about it.
    pub(super) fn tree_before(&self) -> Option<Frontier> {
        Frontier::from_nodes(self.first_seq.checked_sub(1)?, self.frontier.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            v: VERSION,
            writer: Uuid::from_u128(7),
            segment: 3,
            first_frame: 9,
            first_seq: u64::MAX,
            chain: Some(Hash([7; 32])),
            frontier: vec![Hash([255; 32]); 63],
            created: Timestamp::MIN,
            prev: Some(Predecessor {
                writer: Uuid::from_u128(6),
                segment: u32::MAX,
                frame: u64::MAX,
                seq: u64::MAX,
                chain: Hash([9; 32]),
                clean: false,
                damaged: true,
                tail_bytes: u64::MAX,
                tail_sha256: Some(Hash([1; 32])),
            }),
            key: Some(Key { id: "f".repeat(16), wrapped: "w".repeat(64), nonce: "n".repeat(16) }),
        }
    }

    #[test]
    fn the_longest_possible_header_fits_and_reads_back() {
        let encoded = header().encode().unwrap();
        assert_eq!(encoded.len(), HEADER_BYTES);
        assert_eq!(Header::decode(&encoded), Ok(header()));
    }

    #[test]
    fn every_flipped_byte_of_a_header_is_noticed() {
        let encoded = header().encode().unwrap();
        for at in 0..encoded.len() {
            let mut flipped = encoded.clone();
            flipped[at] ^= 0x20;
            assert!(Header::decode(&flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_version_is_named_rather_than_guessed_at() {
        let newer = Header { v: 2, ..header() }.encode().unwrap();
        assert_eq!(Header::decode(&newer), Err(HeaderError::Version(2)));
    }
}
