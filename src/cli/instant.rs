//! An instant as a person types it.

use jiff::Timestamp;

/// Reads one, or says what one looks like: a parser's own words name offsets of bytes.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_no_instant| "an instant as 2026-03-10T15:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_none_is_told_what_one_looks_like() {
        assert!(instant("2026-03-10T15:00:00Z").is_ok());
        assert_eq!(instant("yesterday").unwrap_err(), "an instant as 2026-03-10T15:00:00Z");
    }
}
