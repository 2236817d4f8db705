//! Whom grants and reviews are told to: a webhook, by HTTPS alone, signed.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::{reader::Section, secret::Secret};

/// What stands before a secret of the Standard Webhooks.
const PREFIX: &str = "whsec_";
/// Bytes of a key: shorter ones can be guessed.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

const PSEUDONYM_KEY_CHARS_MIN: usize = 32;
/// What has no effect without an address.
const KEYS: [&str; 6] = [
    "notify_secret",
    "notify_secret_file",
    "notify_pseudonym_key",
    "notify_pseudonym_key_file",
    "notify_ca_file",
    "notify_link",
];

#[derive(Clone, Debug, Serialize)]
pub struct NotifyConfig {
    pub url: String,
    pub secret: Secret,
    pub pseudonym_key: Secret,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    pub link: String,
}

impl NotifyConfig {
    /// `None` where nobody is to be told.
    pub(super) fn read(s: &mut Section<'_, '_>) -> Option<Self> {
        let url = s.text("notify_url", "Where grants and overdue reviews are told: `https://…`. Left out: nowhere.");
        let secret = s.secret(
            "notify_secret",
            "notify_secret_file",
            "The key that signs what is told: `whsec_` and 24 to 64 bytes in base64.",
        );
        let pseudonym_key = s.secret(
            "notify_pseudonym_key",
            "notify_pseudonym_key_file",
            "The key that makes pseudonyms of clients' ids, 32 characters at least; the receiver must not have it.",
        );
        let ca_file = s.optional_path("notify_ca_file", "Certificates (PEM) to trust in place of the public ones.");
        let link =
            s.text("notify_link", "What stands before the path of a review in a link, as the console's address.");
        let Some(url) = url else {
            for key in KEYS {
                if s.has(key) {
                    s.problem(key, "has no effect without `notify_url`", None);
                }
            }
            return None;
        };
        if !url.starts_with("https://") || url.len() <= "https://".len() {
            s.problem(
                "notify_url",
                "must begin with `https://`",
                Some("what is told is told encrypted, or not".to_owned()),
            );
        }
        let Some(secret) = secret else {
            let hint = "the receiver knows by it who speaks: `whsec_…`".to_owned();
            s.problem("notify_url", "needs `notify_secret` or `notify_secret_file`", Some(hint));
            return None;
        };
        if key(&secret).is_none() {
            s.problem("notify_secret", "must be `whsec_` and 24 to 64 bytes in base64", None);
        }
        // Whoever can check signatures could try all ids, which are few, if pseudonyms were made with the same key.
        let hint =
            || Some("a secret of its own: the receiver has `notify_secret`, and must not have this one".to_owned());
        let Some(pseudonym_key) = pseudonym_key else {
            s.problem("notify_url", "needs `notify_pseudonym_key` or `notify_pseudonym_key_file`", hint());
            return None;
        };
        let text = pseudonym_key.expose().trim();
        if text.len() < PSEUDONYM_KEY_CHARS_MIN || text == secret.expose().trim() {
            let wanted = format!("must be {PSEUDONYM_KEY_CHARS_MIN} characters or more, and not the key that signs");
            s.problem("notify_pseudonym_key", wanted, hint());
        }
        Some(Self { url, secret, pseudonym_key, ca_file, link: link.unwrap_or_default() })
    }

    /// The bytes that sign.
    pub fn key(&self) -> Vec<u8> {
        key(&self.secret).unwrap_or_default()
    }
}

fn key(secret: &Secret) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(secret.expose().trim().strip_prefix(PREFIX)?).ok()?;
    KEY_BYTES.contains(&bytes.len()).then_some(bytes)
}
