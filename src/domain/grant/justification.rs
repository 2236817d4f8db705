//! Whether a text says why. It has to be written by somebody who thought for a moment; a person judges it afterwards.

/// The longest justification, in characters: what the trail keeps of a free text.
pub const JUSTIFICATION_CHARS_MAX: usize = super::super::record::FREE_TEXT_CHARS_MAX;

/// Fewer characters than this, blanks aside, say nothing.
const CHARS_MIN: usize = 15;

/// Whether `text` is a reason: long enough, more than one character repeated, more than the code again, and none of the
/// person's last texts.
pub fn is_a_reason<'t>(text: &str, code: &str, last: impl IntoIterator<Item = &'t str>) -> bool {
    let said = visible(text);
    let Some(first) = said.chars().next() else { return false };
    let code = letters(code);
    // What is left without the code: nothing, where the code is all that was said.
    let beside_code = if code.is_empty() { letters(&said) } else { letters(&said).replace(&code, "") };
    said.chars().count() >= CHARS_MIN
        && said.chars().any(|letter| letter != first)
        && !beside_code.is_empty()
        && !last.into_iter().any(|earlier| visible(earlier) == said)
}

/// Lower case and without blanks: two texts that differ only there are one.
fn visible(text: &str) -> String {
    text.chars().filter(|letter| !is_blank(*letter)).flat_map(char::to_lowercase).collect()
}

fn letters(text: &str) -> String {
    text.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// What leaves no ink: white space, control characters, and the marks of zero width that would pass for text.
fn is_blank(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_good(text: &str) -> bool {
        is_a_reason(text, "EMERG_TREAT", ["Client in crisis in the lobby"])
    }

    #[test]
    fn fifteen_characters_are_enough_and_blanks_do_not_count() {
        assert!(is_good("abcdefghijklmno"));
        assert!(!is_good("abcdefghijklmn"));
        assert!(!is_good("a b c d e f g h i j k l m n    "));
        assert!(is_good("a b c d e f g h i j k l m n o"));
        assert!(!is_good("abcdefghijklmn\u{200b}\u{200b}\u{3000}\n"));
        assert!(is_good("überfällig ist die Hilfe"));
        assert!(!is_good(""));
    }

    #[test]
    fn one_character_again_and_again_says_nothing() {
        assert!(!is_good("aaaaaaaaaaaaaaaaaaaa"));
        assert!(!is_good("AAAA aaaa AAAA aaaa aaaa"));
        assert!(!is_good("...................."));
        assert!(is_good("aaaaaaaaaaaaaaaaaaab"));
    }

    #[test]
    fn the_code_again_says_nothing() {
        assert!(!is_a_reason("PART2_MED_EMERGENCY", "PART2_MED_EMERGENCY", []));
        assert!(!is_a_reason("part2 med emergency!", "PART2_MED_EMERGENCY", []));
        assert!(!is_a_reason("EMERG_TREAT EMERG_TREAT", "EMERG_TREAT", []));
        assert!(is_a_reason("PART2_MED_EMERGENCY in room 4", "PART2_MED_EMERGENCY", []));
    }

    #[test]
    fn a_text_used_before_says_nothing() {
        assert!(!is_good("Client in crisis in the lobby"));
        assert!(!is_good("  client in CRISIS  in the lobby "));
        assert!(is_good("Client in crisis in the lobby again"));
    }
}
