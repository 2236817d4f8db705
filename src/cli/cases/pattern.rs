//! Which cases to run: text that the case's place and name hold, with `*` for anything between.

/// A pattern over `file name`, without regard to case.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Pattern(Vec<String>);

impl Pattern {
    pub(in crate::cli) fn new(text: &str) -> Self {
        Self(text.to_lowercase().split('*').filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    /// Whether `text` holds every part, in order.
    pub(in crate::cli) fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let mut rest = text.as_str();
        self.0.iter().all(|part| match rest.split_once(part.as_str()) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_anywhere_and_a_star_stands_for_anything() {
        let text = "scopes.yaml session data is not the schedule";
        for (pattern, found) in
            [("SESSION data", true), ("scopes*schedule", true), ("schedule*scopes", false), ("", true), ("x", false)]
        {
            assert_eq!(Pattern::new(pattern).matches(text), found, "{pattern}");
        }
    }
}
