//! YAML files of a bundle, with the place of whatever does not fit.

use serde::de::DeserializeOwned;
use serde_saphyr::UserMessageFormatter;

use super::{
    problem::{Problem, Problems},
    source::TextFile,
};

/// Reads one YAML document.
///
/// # Errors
///
/// The first thing that does not fit: syntax, an unknown key, a wrong type, a key said twice.
pub fn parse<T: DeserializeOwned>(file: &TextFile) -> Result<T, Problems> {
    serde_saphyr::from_str(&file.text).map_err(|error| {
        let place = error.location().filter(|place| place.line() > 0);
        let message = error.without_snippet().render_with_formatter(&UserMessageFormatter);
        let message = message.lines().next().unwrap_or_default();
        // The place is told apart from the message.
        let message = message.rfind(" at line ").and_then(|at| message.get(..at)).unwrap_or(message).to_owned();
        let problem = match place {
            Some(place) => file.error_on(
                usize_of(place.line()),
                Some(usize_of(place.column())).filter(|column| *column > 0),
                message,
            ),
            None => Problem::error(message).in_file(&file.path),
        };
        Problems(vec![problem])
    })
}

pub(super) fn usize_of(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
