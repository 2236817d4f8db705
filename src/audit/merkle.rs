//! The hash tree of RFC 6962 over one writer's records, kept as a compact range.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};

/// A SHA-256 digest. Base64 with padding wherever it is written as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Hash(pub(super) [u8; 32]);

impl Hash {
    /// The digest of the parts, one after the other.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    pub(super) fn read(bytes: &[u8], at: usize) -> Option<Self> {
        super::bytes::array(bytes, at).map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_bytes: Vec<u8>| D::Error::custom("a digest has 32 bytes"))
    }
}

/// The leaf of a record line, its newline left out.
pub(super) fn leaf(line: &[u8]) -> Hash {
    Hash::of(&[&[0x00], line])
}

pub(super) fn node(left: &Hash, right: &Hash) -> Hash {
    Hash::of(&[&[0x01], &left.0, &right.0])
}

/// The roots of the perfect subtrees that cover the first `size` leaves, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frontier {
    size: u64,
    nodes: Vec<Hash>,
}

impl Frontier {
    /// The range as a header states it, unless the number of nodes cannot belong to `size`.
    pub(super) fn from_nodes(size: u64, nodes: Vec<Hash>) -> Option<Self> {
        (usize::try_from(size.count_ones()).ok()? == nodes.len()).then_some(Self { size, nodes })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    pub(super) fn push(&mut self, leaf: Hash) {
        let (mut carry, mut size) = (leaf, self.size);
        while size & 1 == 1 {
            if let Some(left) = self.nodes.pop() {
                carry = node(&left, &carry);
            }
            size >>= 1;
        }
        self.nodes.push(carry);
        self.size += 1;
    }

    /// The root of the whole tree; of an empty one the digest of nothing.
    pub(super) fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        let Some(last) = nodes.next() else { return Hash::of(&[]) };
        nodes.fold(*last, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962 §2.1, word for word.
    fn root_by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::of(&[]),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                node(&root_by_definition(&many[..split]), &root_by_definition(&many[split..]))
            }
        }
    }

    #[test]
    fn the_compact_range_has_the_root_of_the_definition() {
        let mut frontier = Frontier::default();
        let mut leaves = Vec::new();
        assert_eq!(frontier.root(), root_by_definition(&leaves));
        for n in 0u32..130 {
            let one = leaf(&n.to_le_bytes());
            leaves.push(one);
            frontier.push(one);
            assert_eq!(frontier.root(), root_by_definition(&leaves), "{} leaves", leaves.len());
            let again = Frontier::from_nodes(frontier.size, frontier.nodes.clone());
            assert_eq!(again, Some(frontier.clone()));
        }
    }

    #[test]
    fn the_empty_leaf_is_the_one_of_the_published_test_vectors() {
        let hex: String = leaf(b"").0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    }
}
