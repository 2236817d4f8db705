//! Which state of a row somebody read: a change that names it is refused once the row is another.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::AdminError;

/// Half a digest is enough to tell states apart, and short enough for a header.
const BYTES: usize = 12;

/// The digest of a row's columns. Rows changed by another program have one too, since none is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// What a caller gave as `If-Match`.
    pub fn given(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn of(row: &impl Serialize) -> Self {
        // What cannot be written has no version that anybody could name.
        let written = serde_json::to_vec(row).unwrap_or_default();
        let digest = Sha256::digest(&written);
        Self(URL_SAFE_NO_PAD.encode(digest.get(..BYTES).unwrap_or(&digest)))
    }

    /// Refuses unless `expected`, where one is given, is this one.
    pub(super) fn meet(&self, expected: Option<&Self>) -> Result<(), AdminError> {
        match expected {
            Some(expected) if expected != self => Err(AdminError::Changed),
            Some(_) | None => Ok(()),
        }
    }
}
