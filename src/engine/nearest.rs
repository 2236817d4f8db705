//! The nearest known word to a mistyped one.

/// The candidate that a person most likely meant; `None` where nothing is near.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|(left, one), (right, other)| left.total_cmp(right).then_with(|| other.cmp(one)))
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or the whole list where nothing is near.
pub fn suggest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str> + Clone) -> String {
    match nearest(word, candidates.clone()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => {
            const SHOWN_MAX: usize = 20;
            let known: Vec<_> = candidates.into_iter().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
            if known.is_empty() { "none is declared".to_owned() } else { format!("known: {}", known.join(", ")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_gets_its_neighbour_and_a_strange_one_the_list() {
        assert_eq!(suggest("reson", ["text", "reason"]), "did you mean `reason`?");
        assert_eq!(suggest("zzz", ["text", "reason"]), "known: `text`, `reason`");
    }
}
