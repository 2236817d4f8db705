//! A value that must not be seen.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// What stands wherever a secret would be printed.
pub const HIDDEN: &str = "***";

/// A secret. It prints as `***`, compares in constant time and is wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret {
    value: String,
    file: Option<PathBuf>,
}

impl Secret {
    pub const fn new(value: String) -> Self {
        Self { value, file: None }
    }

    /// A secret that was read from `file`, and may be read again there after a rotation.
    pub const fn from_file(value: String, file: PathBuf) -> Self {
        Self { value, file: Some(file) }
    }

    /// The value itself. Every use is a place to look at in a review.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// The file it came from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether `other` is the same secret; the time taken tells only the lengths.
    pub fn matches(&self, other: &[u8]) -> bool {
        bool::from(self.value.as_bytes().ct_eq(other))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.file {
            Some(file) => serializer.collect_str(&format_args!("{HIDDEN} from {}", file.display())),
            None => serializer.serialize_str(HIDDEN),
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_printed_nowhere() {
        let secret = Secret::new("hunter2".to_owned());
        let seen = format!("{secret} {secret:?} {}", serde_json::to_string(&secret).unwrap());
        assert!(!seen.contains("hunter2"), "{seen}");
    }

    #[test]
    fn a_secret_matches_itself_alone() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(secret.matches(b"hunter2"));
        assert!(!secret.matches(b"hunter3"));
        assert!(!secret.matches(b"hunter"));
    }
}
