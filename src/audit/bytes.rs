//! Little-endian numbers and lengths, without a cast that could cut one short.

/// The length of something in memory as the formats count it.
pub(super) fn len64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A position of the format as an index into memory. A position that does not fit points past every buffer.
pub(super) fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// Whether nothing but zeros stands here.
pub(super) fn all_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| chunk.iter().fold(0u8, |seen, byte| seen | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

/// The length up to and with the last byte that is not zero.
pub(super) fn len_without_zeros(bytes: &[u8]) -> usize {
    let (chunks, rest) = bytes.as_chunks::<64>();
    if let Some(last) = rest.iter().rposition(|byte| *byte != 0) {
        return chunks.len() * 64 + last + 1;
    }
    for (index, chunk) in chunks.iter().enumerate().rev() {
        if let Some(last) = chunk.iter().rposition(|byte| *byte != 0) {
            return index * 64 + last + 1;
        }
    }
    0
}
