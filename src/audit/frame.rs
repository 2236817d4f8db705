//! One frame: what the writer appends in one piece.
//!
//! The checksums find accidents, the chain binds the stored bytes to all that came before, and the leaves name the
//! exact record. Little-endian throughout; `docs/reference/trail.md` is the same layout for readers of other programs.

use super::{bytes, merkle::Hash};

pub(super) const HEAD_BYTES: usize = 40;
const LEAF_BYTES: usize = 32;
/// Checksum of leaves and body, then the chain.
const FOOT_BYTES: usize = 36;
const ALIGNMENT: usize = 8;
pub(super) const MAGIC: [u8; 4] = *b"CFRM";

/// A seal with its padding. Every segment keeps this much free, so that it can always be ended.
pub(super) const SEAL_BYTES: u64 = 112;

/// The body is encrypted.
pub(super) const FLAG_ENCRYPTED: u8 = 1;
/// On a seal: the writer ended here, no segment follows.
pub(super) const FLAG_FINAL: u8 = 2;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Records,
    /// Nothing but its `synced`: written when the trail falls idle.
    SyncMark,
    /// A signed note over the tree.
    Checkpoint,
    /// The root of the tree, at the end of a segment.
    Seal,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Records => 1,
            Self::SyncMark => 2,
            Self::Checkpoint => 3,
            Self::Seal => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Records),
            2 => Some(Self::SyncMark),
            3 => Some(Self::Checkpoint),
            4 => Some(Self::Seal),
            _ => None,
        }
    }
}

/// The fixed part in front of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) count: u16,
    pub(super) body_len: u32,
    pub(super) frame: u64,
    /// The first record of this frame, or of the next one that has any.
    pub(super) first_seq: u64,
    /// The highest frame known to be on disk as this one was written.
    pub(super) synced: u64,
}

impl Head {
    pub(super) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(self.kind.code());
        bytes.push(self.flags);
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.body_len.to_le_bytes());
        bytes.extend_from_slice(&self.frame.to_le_bytes());
        bytes.extend_from_slice(&self.first_seq.to_le_bytes());
        bytes.extend_from_slice(&self.synced.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.try_into().unwrap_or([0; HEAD_BYTES])
    }

    fn decode(head: &[u8]) -> Result<Self, Damage> {
        let fixed = head.get(..HEAD_BYTES - 4).ok_or(Damage::Cut)?;
        let crc = bytes::u32_at(head, HEAD_BYTES - 4).ok_or(Damage::Cut)?;
        if !fixed.starts_with(&MAGIC) {
            return Err(Damage::Magic);
        }
        if crc32c::crc32c(fixed) != crc {
            return Err(Damage::HeadChecksum);
        }
        let read = || {
            Some((
                Kind::from_code(*fixed.get(4)?)?,
                *fixed.get(5)?,
                bytes::u16_at(fixed, 6)?,
                bytes::u32_at(fixed, 8)?,
                bytes::u64_at(fixed, 12)?,
                bytes::u64_at(fixed, 20)?,
                bytes::u64_at(fixed, 28)?,
            ))
        };
        let (kind, flags, count, body_len, frame, first_seq, synced) = read().ok_or(Damage::Unknown)?;
        if flags & !(FLAG_ENCRYPTED | FLAG_FINAL) != 0 {
            return Err(Damage::Unknown);
        }
        Ok(Self { kind, flags, count, body_len, frame, first_seq, synced })
    }
}

/// Why the bytes at some place are no whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// Zeros where a frame should be: nothing was written here.
    #[error("no frame")]
    End,
    #[error("the file ends inside a frame")]
    Cut,
    #[error("no frame starts here")]
    Magic,
    #[error("the checksum of the frame's head does not match")]
    HeadChecksum,
    #[error("the frame's kind or flags are unknown to this program")]
    Unknown,
    #[error("the checksum of the frame's leaves and body does not match")]
    BodyChecksum,
    #[error("the padding after the frame is not zero")]
    Padding,
}

/// A frame as it is stored, its checksums verified. The chain is not: that needs the frame before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) head: Head,
    pub(super) leaves: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) chain: Hash,
    /// All that the chain binds.
    bound: &'a [u8],
    /// With padding.
    pub(super) len: usize,
}

/// The parts of a frame whose head is good, whatever the rest is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) head: Head,
    pub(super) leaves: &'a [u8],
    pub(super) body: &'a [u8],
    foot_at: usize,
}

/// The parts of the frame at the start of `bytes`.
pub(super) fn parts(bytes: &[u8]) -> Result<Parts<'_>, Damage> {
    let head_bytes = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
    if bytes::all_zero(head_bytes) {
        return Err(Damage::End);
    }
    let head = Head::decode(head_bytes)?;
    let body_at = HEAD_BYTES + usize::from(head.count) * LEAF_BYTES;
    let foot_at = usize::try_from(head.body_len).ok().and_then(|len| body_at.checked_add(len)).ok_or(Damage::Cut)?;
    let leaves = bytes.get(HEAD_BYTES..body_at).ok_or(Damage::Cut)?;
    let body = bytes.get(body_at..foot_at).ok_or(Damage::Cut)?;
    Ok(Parts { head, leaves, body, foot_at })
}

/// What the frame behind a head takes, padding included.
pub(super) fn len_behind(head: &[u8]) -> Result<(Head, usize), Damage> {
    if bytes::all_zero(head) {
        return Err(Damage::End);
    }
    let head = Head::decode(head)?;
    let body_len = usize::try_from(head.body_len).map_err(|_range| Damage::Cut)?;
    Ok((head, encoded_len(usize::from(head.count), body_len)))
}

/// The frame at the start of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Frame<'_>, Damage> {
    let Parts { head, leaves, body, foot_at } = parts(bytes)?;
    let crc = bytes::u32_at(bytes, foot_at).ok_or(Damage::Cut)?;
    if bytes.get(HEAD_BYTES..foot_at).map(crc32c::crc32c) != Some(crc) {
        return Err(Damage::BodyChecksum);
    }
    let chain_at = foot_at + 4;
    let chain = Hash::read(bytes, chain_at).ok_or(Damage::Cut)?;
    let bound = bytes.get(..chain_at).ok_or(Damage::Cut)?;
    let end = foot_at + FOOT_BYTES;
    let len = end.next_multiple_of(ALIGNMENT);
    if !bytes::all_zero(bytes.get(end..len).ok_or(Damage::Cut)?) {
        return Err(Damage::Padding);
    }
    Ok(Frame { head, leaves, body, chain, bound, len })
}

impl Frame<'_> {
    /// The chain after this frame if `before` is the chain before it.
    pub(super) fn chain_after(&self, before: &Hash) -> Hash {
        Hash::of(&[&before.0, self.bound])
    }

    /// So many of its bytes are bound by the chain.
    pub(super) const fn bound_len(&self) -> usize {
        self.bound.len()
    }

    /// The last record up to this frame.
    pub(super) fn last_seq(&self) -> u64 {
        self.head.first_seq.saturating_add(u64::from(self.head.count)).saturating_sub(1)
    }

    pub(super) fn is_final(&self) -> bool {
        self.head.kind == Kind::Seal && self.head.flags & FLAG_FINAL != 0
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.head.flags & FLAG_ENCRYPTED != 0
    }

    /// The head as it is stored.
    pub(super) fn head_bytes(&self) -> &[u8] {
        self.bound.get(..HEAD_BYTES).unwrap_or(self.bound)
    }
}

/// The stored bytes of a frame, padding included, and the chain after it.
pub(super) fn encode(head: &Head, leaves: &[Hash], body: &[u8], before: &Hash) -> (Vec<u8>, Hash) {
    let mut bytes = Vec::with_capacity(encoded_len(leaves.len(), body.len()));
    bytes.extend_from_slice(&head.encode());
    for leaf in leaves {
        bytes.extend_from_slice(&leaf.0);
    }
    bytes.extend_from_slice(body);
    let crc = bytes.get(HEAD_BYTES..).map_or(0, crc32c::crc32c);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let chain = Hash::of(&[&before.0, &bytes]);
    bytes.extend_from_slice(&chain.0);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    (bytes, chain)
}

/// What a frame of `count` records and `body_len` bytes takes in the segment.
pub(super) const fn encoded_len(count: usize, body_len: usize) -> usize {
    (HEAD_BYTES + count * LEAF_BYTES + body_len + FOOT_BYTES).next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{cipher, merkle::leaf},
        *,
    };

    fn encoded(lines: &[Vec<u8>], frame: u64, first_seq: u64, before: Hash) -> (Vec<u8>, Hash) {
        let body: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
        let leaves: Vec<Hash> = lines.iter().map(|line| leaf(line)).collect();
        let head = Head {
            kind: Kind::Records,
            flags: 0,
            count: u16::try_from(lines.len()).unwrap(),
            body_len: u32::try_from(body.len()).unwrap(),
            frame,
            first_seq,
            synced: frame / 2,
        };
        encode(&head, &leaves, &body, &before)
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>().prop_filter("no newline in a line", |byte| *byte != b'\n'), 0..80)
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_as_it_was_written(
            lines in prop::collection::vec(line(), 1..20), frame in 1u64..1 << 60, first_seq in 1u64..1 << 60, before: [u8; 32],
        ) {
            let (bytes, chain) = encoded(&lines, frame, first_seq, Hash(before));
            let read = decode(&bytes).unwrap();
            prop_assert_eq!(read.len, bytes.len());
            prop_assert_eq!(bytes.len() % 8, 0);
            prop_assert_eq!(cipher::lines(read.body).map(<[u8]>::to_vec).collect::<Vec<_>>(), lines.clone());
            prop_assert_eq!(read.chain, chain);
            prop_assert_eq!(read.chain_after(&Hash(before)), chain);
            prop_assert_eq!(read.last_seq(), first_seq + u64::try_from(lines.len()).unwrap() - 1);
        }

        #[test]
        fn a_changed_byte_is_noticed_by_a_checksum_or_by_the_chain(
            lines in prop::collection::vec(line(), 1..6), before: [u8; 32], at: prop::sample::Index, flip in 1u8..,
        ) {
            let (mut bytes, _) = encoded(&lines, 3, 5, Hash(before));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let sound = decode(&bytes).is_ok_and(|frame| frame.chain_after(&Hash(before)) == frame.chain);
            prop_assert!(!sound, "byte {}", at);
        }

        #[test]
        fn any_bytes_at_all_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn a_good_head_over_any_bytes_is_read_without_harm(count: u16, body_len: u32, rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let head = Head { kind: Kind::Records, flags: 0, count, body_len, frame: u64::MAX, first_seq: u64::MAX, synced: 0 };
            let bytes = [head.encode().as_slice(), &rest].concat();
            if let Ok(frame) = decode(&bytes) {
                prop_assert!(frame.len <= bytes.len());
            }
        }
    }

    #[test]
    fn a_seal_takes_the_room_that_is_kept_for_it() {
        assert_eq!(u64::try_from(encoded_len(0, 32)).unwrap(), SEAL_BYTES);
    }

    #[test]
    fn zeros_are_the_end_and_not_damage() {
        assert_eq!(decode(&[0; 64]).unwrap_err(), Damage::End);
    }
}
