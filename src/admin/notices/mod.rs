//! Notices: what others are told of grants and reviews, by pseudonym and link.
//!
//! One is written into the store by the transaction of the change that it tells of, so that neither a crash nor a receiver
//! that is away loses it. [`Admin::next_notice`] hands the next one out and says in the same commit when it is due again: it
//! leaves once at least, with one id at each try, until [`Admin::notice_taken`].
//!
//! Deliberately absent: the sending itself, which is `app/`'s, and names: a pseudonym is the client's id under a key.

mod outbox;

pub use outbox::Notice;
pub(super) use outbox::Told;

use std::{fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value as Json, json};
use sha2::Sha256;

use super::Admin;
use crate::domain::Timestamp;

/// Characters of a pseudonym behind its mark: enough to tell the clients of a tenant apart.
const PSEUDONYM_CHARS: usize = 16;
const DAY_SECONDS: i64 = 86_400;

/// How soon something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Immediate,
    /// With the others of the tenant, at the next midnight (UTC).
    Digest,
    Overdue,
}

impl Urgency {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::Digest => "digest",
            Self::Overdue => "overdue",
        }
    }

    fn due(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Immediate | Self::Overdue => now,
            Self::Digest => {
                let midnight = (now.as_second().div_euclid(DAY_SECONDS) + 1).saturating_mul(DAY_SECONDS);
                Timestamp::from_second(midnight).unwrap_or(now)
            }
        }
    }
}

/// How people and reviews are told of.
pub struct Notices {
    key: Vec<u8>,
    link: String,
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Notices {
    /// `key` makes the pseudonyms and is nobody else's, `link` stands before the path of a review.
    pub fn new(key: Vec<u8>, link: &str) -> Self {
        Self { key, link: link.trim_end_matches('/').to_owned() }
    }

    /// All that leaves about a review.
    fn about(&self, client: &str, review: &str) -> Json {
        json!({ "client": self.pseudonym(client), "link": format!("{}/admin/v1/reviews/{review}", self.link) })
    }

    /// The same for the same client, and of no use to whoever has not the key.
    fn pseudonym(&self, client: &str) -> String {
        // HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return "c_".to_owned() };
        mac.update(b"pseudonym\0");
        mac.update(client.as_bytes());
        let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("c_{}", digest.chars().take(PSEUDONYM_CHARS).collect::<String>())
    }
}

impl Admin {
    /// The same, telling others of grants and reviews.
    #[must_use]
    pub fn telling(self, notices: Notices) -> Self {
        Self { notices: Some(Arc::new(notices)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_of_by_a_pseudonym_that_needs_the_key() {
        let about = |key: &[u8]| Notices::new(key.to_vec(), "https://console.example/").about("C4", "RV9");
        let told = about(b"one key");
        assert_eq!(told["link"], "https://console.example/admin/v1/reviews/RV9");
        assert_eq!(told["client"].as_str().unwrap().len(), 2 + PSEUDONYM_CHARS);
        assert_eq!(told, about(b"one key"));
        assert_ne!(told["client"], about(b"another key")["client"]);
        assert!(!told.to_string().contains("C4"));
    }

    #[test]
    fn a_digest_waits_for_the_next_midnight() {
        let due = |now: &str| Urgency::Digest.due(now.parse().unwrap()).to_string();
        assert_eq!(due("2026-03-10T15:00:00Z"), "2026-03-11T00:00:00Z");
        assert_eq!(due("2026-03-11T00:00:00Z"), "2026-03-12T00:00:00Z");
    }
}
