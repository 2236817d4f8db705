//! A session as a person types it: pairs, of words that the policies know.

use serde_json::{Map, Value as Json};

/// The pairs of a session. What is not said counts against it; a word that no policy knows would be as good as not said.
pub(super) fn pairs(text: &str) -> Result<Map<String, Json>, String> {
    let mut session = Map::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').map_or((pair, ""), |(key, value)| (key.trim(), value.trim()));
        let read = match key {
            "mfa" | "device_managed" => value.parse().ok().map(Json::Bool).ok_or("true or false"),
            "age_seconds" | "idle_seconds" | "mfa_age_seconds" => {
                value.parse::<u32>().ok().map(Json::from).ok_or("a number of seconds")
            }
            "tenant" => Some(value).filter(|id| !id.is_empty()).map(Json::from).ok_or("an organization's id"),
            _ => {
                return Err(format!(
                    "`{key}` is nothing that a session says: mfa, mfa_age_seconds, idle_seconds, age_seconds, device_managed, tenant"
                ));
            }
        };
        let value =
            read.map_err(|meant| format!("`{key}` is {meant}, as in `mfa=true,idle_seconds=5,age_seconds=60`"))?;
        if session.insert(key.to_owned(), value).is_some() {
            return Err(format!("`{key}` is said twice"));
        }
    }
    Ok(session)
}

/// The same, kept as it was typed.
pub(super) fn typed(text: &str) -> Result<String, String> {
    pairs(text).map(|_session| text.to_owned())
}

/// What to do where a session was not enough.
pub(super) fn hint(reason: &str) -> Option<&'static str> {
    match reason {
        "mfa_required" => Some(
            "say --session mfa=true,…; a second factor that was shown long ago (`mfa_age_seconds`) is shown again before \
             rights are changed",
        ),
        _ => reason
            .starts_with("session_")
            .then_some("say --session mfa=true,idle_seconds=…,age_seconds=…; what it does not say counts against it"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_word_that_no_policy_knows_is_refused_with_those_that_are_known() {
        let read = pairs("mfa=true, idle_seconds=5,age_seconds=60,tenant=T1,device_managed=false").unwrap();
        let whole = json!({
            "mfa": true, "idle_seconds": 5, "age_seconds": 60, "tenant": "T1", "device_managed": false
        });
        assert_eq!(Json::Object(read), whole);
        assert!(pairs("").unwrap().is_empty());
        let refused = pairs("mfa=true,idle=5").unwrap_err();
        assert!(refused.contains("`idle`") && refused.contains("idle_seconds, age_seconds"), "{refused}");
        for wrong in ["mfa", "mfa=yes", "age_seconds=x", "mfa_age_seconds=-1", "tenant=", "mfa=true,mfa=false"] {
            assert!(typed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_refusal_for_the_session_is_answered_with_how_to_say_it() {
        assert!(hint("session_idle").is_some_and(|hint| hint.contains("--session mfa=true")));
        assert!(hint("mfa_required").is_some_and(|hint| hint.contains("mfa_age_seconds")));
        assert_eq!(hint("role"), None);
    }
}
