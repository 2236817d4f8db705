//! Bodies that only the holder of a key can read: AES-256-GCM with a data key a writer, made at its start.
//!
//! The nonce is the frame's number. It cannot come twice with one key: numbers only rise in a writer, every start is a new
//! writer with a data key of its own, and a frame that goes into a second segment goes there as the bytes it was. One that
//! was encrypted and not committed never leaves memory.

use std::{borrow::Cow, fmt};

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::frame::{Frame, HEAD_BYTES, Kind};

pub(super) const KEY_BYTES: usize = 32;
/// What encryption adds to a body: GCM's tag.
pub(super) const TAG_BYTES: usize = 16;

/// A secret of 256 bits. It prints as nothing.
pub(super) type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// What one writer's records are encrypted with.
pub(super) struct DataKey {
    cipher: Aes256Gcm,
    writer: Uuid,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("writer", &self.writer).finish_non_exhaustive()
    }
}

/// Why bytes could not be encrypted, or do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CipherError {
    #[error("the records could not be encrypted")]
    Encrypt,
    /// Made with another key, or changed.
    #[error("the encrypted records do not open: they, or the frame around them, were changed")]
    Changed,
    #[error("the records are encrypted, and the key to them is not here")]
    NoKey,
}

impl DataKey {
    pub(super) fn new(secret: &Secret, writer: Uuid) -> Self {
        Self { cipher: Aes256Gcm::new((&**secret).into()), writer }
    }

    /// The body as it is stored. `head` is the frame's own, and says the length of what comes out.
    pub(super) fn encrypt(&self, frame: u64, head: &[u8], body: &[u8]) -> Result<Vec<u8>, CipherError> {
        let aad = self.bound(head);
        let payload = Payload { msg: body, aad: &aad };
        self.cipher.encrypt(&nonce(frame), payload).map_err(|_opaque| CipherError::Encrypt)
    }

    fn decrypt(&self, frame: &Frame<'_>) -> Result<Vec<u8>, CipherError> {
        let aad = self.bound(frame.head_bytes());
        let payload = Payload { msg: frame.body, aad: &aad };
        self.cipher.decrypt(&nonce(frame.head.frame), payload).map_err(|_opaque| CipherError::Changed)
    }

    /// What a body is tied to: whose it is, and all that its frame's head says.
    fn bound(&self, head: &[u8]) -> Vec<u8> {
        let mut bound = Vec::with_capacity(16 + HEAD_BYTES);
        bound.extend_from_slice(self.writer.as_bytes());
        bound.extend_from_slice(head);
        bound
    }
}

fn nonce(frame: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut bytes = [0; 12];
    let (number, _zeros) = bytes.split_at_mut(8);
    number.copy_from_slice(&frame.to_le_bytes());
    bytes.into()
}

/// The record lines of a frame in the clear, each ended by a newline; empty for a frame that holds none.
pub(super) fn clear<'a>(frame: &Frame<'a>, key: Option<&DataKey>) -> Result<Cow<'a, [u8]>, CipherError> {
    if frame.head.kind != Kind::Records {
        return Ok(Cow::Borrowed(&[]));
    }
    match (frame.is_encrypted(), key) {
        (false, _) => Ok(Cow::Borrowed(frame.body)),
        (true, Some(key)) => key.decrypt(frame).map(Cow::Owned),
        (true, None) => Err(CipherError::NoKey),
    }
}

/// The lines of such a body, without their newlines.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.strip_suffix(b"\n").into_iter().flat_map(|body| body.split(|byte| *byte == b'\n'))
}

/// A data key under a key of the key file.
pub(super) fn wrap(key: &Secret, nonce: [u8; 12], secret: &Secret, writer: Uuid) -> Result<Vec<u8>, CipherError> {
    let aad = wrapped_for(writer);
    let payload = Payload { msg: secret.as_slice(), aad: &aad };
    let cipher = Aes256Gcm::new((&**key).into());
    cipher.encrypt(&nonce.into(), payload).map_err(|_opaque| CipherError::Encrypt)
}

pub(super) fn unwrap(key: &Secret, nonce: [u8; 12], wrapped: &[u8], writer: Uuid) -> Result<Secret, CipherError> {
    let aad = wrapped_for(writer);
    let cipher = Aes256Gcm::new((&**key).into());
    let opened = cipher.decrypt(&nonce.into(), Payload { msg: wrapped, aad: &aad });
    let opened = Zeroizing::new(opened.map_err(|_opaque| CipherError::Changed)?);
    let secret: [u8; KEY_BYTES] = opened.as_slice().try_into().map_err(|_length| CipherError::Changed)?;
    Ok(Zeroizing::new(secret))
}

fn wrapped_for(writer: Uuid) -> Vec<u8> {
    [b"chaperone trail data key 1 ".as_slice(), writer.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            frame::{self, FLAG_ENCRYPTED, Head},
            merkle::{Hash, leaf},
        },
        *,
    };

    fn encrypted(key: &DataKey, number: u64, body: &[u8]) -> Vec<u8> {
        let body_len = u32::try_from(body.len() + TAG_BYTES).unwrap();
        let (first_seq, synced) = (7, number - 1);
        let head =
            Head { kind: Kind::Records, flags: FLAG_ENCRYPTED, count: 1, body_len, frame: number, first_seq, synced };
        let stored = key.encrypt(number, &head.encode(), body).unwrap();
        frame::encode(&head, &[leaf(&body[..body.len() - 1])], &stored, &Hash([1; 32])).0
    }

    #[test]
    fn a_body_opens_with_its_key_in_its_frame_and_in_no_other_way() {
        let writer = Uuid::from_u128(7);
        let key = DataKey::new(&Zeroizing::new([9; KEY_BYTES]), writer);
        let stored = encrypted(&key, 3, b"{\"v\":1}\n");
        let frame = frame::decode(&stored).unwrap();
        assert_eq!(&*clear(&frame, Some(&key)).unwrap(), b"{\"v\":1}\n");
        assert!(!stored.windows(4).any(|bytes| bytes == b"\"v\":"), "the line stands there in the clear");
        assert_eq!(clear(&frame, None), Err(CipherError::NoKey));
        for other in [
            DataKey::new(&Zeroizing::new([8; KEY_BYTES]), writer),
            DataKey::new(&Zeroizing::new([9; KEY_BYTES]), Uuid::from_u128(8)),
        ] {
            assert_eq!(clear(&frame, Some(&other)), Err(CipherError::Changed));
        }
        let moved = Head { frame: 4, ..frame.head };
        let (moved, _) = frame::encode(&moved, &[leaf(b"{\"v\":1}")], frame.body, &Hash([1; 32]));
        let elsewhere = frame::decode(&moved).unwrap();
        assert_eq!(clear(&elsewhere, Some(&key)), Err(CipherError::Changed));
    }

    #[test]
    fn a_data_key_is_unwrapped_for_its_own_writer_alone() {
        let (key, secret) = (Zeroizing::new([1; KEY_BYTES]), Zeroizing::new([2; KEY_BYTES]));
        let wrapped = wrap(&key, [3; 12], &secret, Uuid::from_u128(7)).unwrap();
        assert_eq!(unwrap(&key, [3; 12], &wrapped, Uuid::from_u128(7)).unwrap(), secret);
        assert!(unwrap(&key, [3; 12], &wrapped, Uuid::from_u128(8)).is_err());
        assert!(unwrap(&secret, [3; 12], &wrapped, Uuid::from_u128(7)).is_err());
    }
}
