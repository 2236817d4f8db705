//! Where a page ended: the place of its last record, and how far the run goes.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::Query;
use crate::domain::Timestamp;

/// A record's place in the order of every query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub at: Timestamp,
    pub writer: Uuid,
    pub seq: u64,
}

/// The last record that was there when the first page was asked for: later ones are no part of its pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Until {
    /// Of a folder; nil: it had none, or no folder was asked.
    pub writer: Uuid,
    pub seq: u64,
    /// How many had arrived in a store; 0: none, or no store was asked.
    pub arrived: u64,
}

/// From where on the next page goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub after: Place,
    pub until: Option<Until>,
}

/// Why a text is no cursor of this query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    #[error("is no cursor")]
    Form,
    #[error("is of another query, or of another process: ask from the start")]
    Foreign,
}

/// Ties the cursors that leave a process to it and to their query.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey")
    }
}

const VERSION: u8 = 1;
const PLACE_BYTES: usize = 12 + 16 + 8;
const UNTIL_BYTES: usize = 16 + 8;
const ARRIVED_UNTIL_BYTES: usize = UNTIL_BYTES + 8;
const MAC_BYTES: usize = 16;

impl CursorKey {
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn mac(&self, payload: &[u8], query: &Query) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(payload);
        for (word, value) in query.said() {
            mac.update(word.as_bytes());
            mac.update(&super::super::bytes::len64(value.len()).to_be_bytes());
            mac.update(value.as_bytes());
        }
        Some(mac)
    }
}

impl Cursor {
    /// The cursor as a text without meaning to its reader. The same place is always the same text.
    pub fn encode(&self, query: &Query, key: Option<&CursorKey>) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.after.at.as_second().to_be_bytes());
        bytes.extend_from_slice(&self.after.at.subsec_nanosecond().to_be_bytes());
        bytes.extend_from_slice(self.after.writer.as_bytes());
        bytes.extend_from_slice(&self.after.seq.to_be_bytes());
        if let Some(until) = &self.until {
            bytes.extend_from_slice(until.writer.as_bytes());
            bytes.extend_from_slice(&until.seq.to_be_bytes());
            if until.arrived > 0 {
                bytes.extend_from_slice(&until.arrived.to_be_bytes());
            }
        }
        let mac = key.and_then(|key| key.mac(&bytes, query)).map(|mac| mac.finalize().into_bytes());
        bytes.extend(mac.iter().flat_map(|mac| mac.iter().take(MAC_BYTES)));
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// # Errors
    ///
    /// It is none, or with a key: none that this process made for this query.
    pub fn decode(text: &str, query: &Query, key: Option<&CursorKey>) -> Result<Self, CursorError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_base64| CursorError::Form)?;
        let payload = match key {
            None => bytes.as_slice(),
            Some(key) => {
                let at = bytes.len().checked_sub(MAC_BYTES).ok_or(CursorError::Form)?;
                let (payload, said) = bytes.split_at_checked(at).ok_or(CursorError::Form)?;
                let mac = key.mac(payload, query).ok_or(CursorError::Foreign)?;
                mac.verify_truncated_left(said).map_err(|_mac| CursorError::Foreign)?;
                payload
            }
        };
        Self::read(payload).ok_or(CursorError::Form)
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = payload.split_first()? else { return None };
        let (place, until) = rest.split_at_checked(PLACE_BYTES)?;
        let seconds = i64::from_be_bytes(super::super::bytes::array(place, 0)?);
        let nanos = i32::from_be_bytes(super::super::bytes::array(place, 8)?);
        let after = Place {
            at: Timestamp::new(seconds, nanos).ok()?,
            writer: Uuid::from_bytes(super::super::bytes::array(place, 12)?),
            seq: u64::from_be_bytes(super::super::bytes::array(place, 28)?),
        };
        let until = match until.len() {
            0 => None,
            UNTIL_BYTES => Some(Self::until(until, 0)?),
            ARRIVED_UNTIL_BYTES => {
                Some(Self::until(until, u64::from_be_bytes(super::super::bytes::array(until, UNTIL_BYTES)?))?)
            }
            _ => return None,
        };
        Some(Self { after, until })
    }

    fn until(bytes: &[u8], arrived: u64) -> Option<Until> {
        Some(Until {
            writer: Uuid::from_bytes(super::super::bytes::array(bytes, 0)?),
            seq: u64::from_be_bytes(super::super::bytes::array(bytes, 16)?),
            arrived,
        })
    }
}
