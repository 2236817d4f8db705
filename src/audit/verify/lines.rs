//! Which record of a frame is the first that cannot be relied on.

use crate::{
    audit::{
        bytes::len64,
        cipher,
        frame::{Frame, Kind},
        merkle,
    },
    domain::record::RECORD_VERSION,
};

/// The number in the frame of the first line that its leaf does not name.
pub(super) fn first_unlike_its_leaf(body: &[u8], leaves: &[u8]) -> Option<u64> {
    let mut lines = body.split(|byte| *byte == b'\n');
    let leaves = leaves.as_chunks::<32>().0;
    leaves.iter().position(|stored| lines.next().map(|line| merkle::leaf(line).0) != Some(*stored)).map(len64)
}

/// The first record of a frame that is not what leaf and position say; `body` is its body in the clear.
pub(super) fn first_bad_record(frame: &Frame<'_>, body: &[u8]) -> Option<u64> {
    if frame.head.kind != Kind::Records {
        return None;
    }
    let mut lines = cipher::lines(body);
    let mut seq = frame.head.first_seq;
    for stored in frame.leaves.as_chunks::<32>().0 {
        let sound = lines.next().is_some_and(|line| merkle::leaf(line).0 == *stored && states_its_place(line, seq));
        if !sound {
            return Some(seq);
        }
        seq += 1;
    }
    lines.next().map(|_| seq.saturating_sub(1))
}

fn states_its_place(line: &[u8], seq: u64) -> bool {
    line.starts_with(format!("{{\"v\":{},\"seq\":{seq},", RECORD_VERSION).as_bytes())
}
