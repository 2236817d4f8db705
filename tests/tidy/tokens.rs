//! Rust text as words and signs, without comments, literals and lifetimes: enough to ask what a file names.

/// A word or a sign, with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0, line: 1 };
    let mut found = Vec::new();
    while let Some(c) = reader.peek(0) {
        let line = reader.line;
        match c {
            '/' if reader.peek(1) == Some('/') => reader.skip_line(),
            '/' if reader.peek(1) == Some('*') => reader.skip_block(),
            '"' => reader.skip_string(),
            '\'' => reader.skip_quote(),
            c if c.is_alphabetic() || c == '_' => {
                let word = reader.word();
                if matches!(word.as_str(), "r" | "br" | "cr") && matches!(reader.peek(0), Some('"' | '#')) {
                    // `r#type` is a word, `r#"…"#` a literal.
                    if !reader.skip_raw() {
                        reader.next();
                    }
                } else if !(matches!(word.as_str(), "b" | "c") && matches!(reader.peek(0), Some('"' | '\''))) {
                    found.push(Token { line, text: word });
                }
            }
            c if c.is_numeric() => drop(reader.word()),
            c if c.is_whitespace() => drop(reader.next()),
            ':' if reader.peek(1) == Some(':') => {
                reader.next();
                reader.next();
                found.push(Token { line, text: "::".to_owned() });
            }
            c => {
                reader.next();
                found.push(Token { line, text: c.to_string() });
            }
        }
    }
    found
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek(0).filter(|c| c.is_alphanumeric() || *c == '_') {
            word.push(c);
            self.next();
        }
        word
    }

    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.next();
        }
    }

    fn skip_block(&mut self) {
        let mut depth = 0_usize;
        while let Some(c) = self.next() {
            if c == '/' && self.peek(0) == Some('*') {
                self.next();
                depth += 1;
            } else if c == '*' && self.peek(0) == Some('/') {
                self.next();
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
        }
    }

    fn skip_string(&mut self) {
        self.next();
        while let Some(c) = self.next() {
            match c {
                '\\' => drop(self.next()),
                '"' => return,
                _ => {}
            }
        }
    }

    /// A character literal, or a lifetime.
    fn skip_quote(&mut self) {
        self.next();
        if self.peek(0) == Some('\\') {
            self.next();
            self.next();
            while self.next().is_some_and(|c| c != '\'') {}
        } else if self.peek(1) == Some('\'') {
            self.next();
            self.next();
        } else {
            self.word();
        }
    }

    /// Skips `"…"` or `#"…"#` after an `r`; false if no literal starts here.
    fn skip_raw(&mut self) -> bool {
        let hashes = self.chars.iter().skip(self.at).take_while(|c| **c == '#').count();
        if self.peek(hashes) != Some('"') {
            return false;
        }
        self.skip(hashes + 1);
        while let Some(c) = self.next() {
            if c == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.skip(hashes);
                break;
            }
        }
        true
    }
}

#[test]
fn comments_literals_and_lifetimes_are_no_words() {
    let text =
        "// crate::a\n/* crate::b /* in */ c */ x<'y>(\"crate::d \\\" e\", 'f', '\\'', r#\"g\"h\"#, b\"i\") 0x1f";
    let words: Vec<String> = tokens(text).into_iter().filter(Token::is_word).map(|t| t.text).collect();
    assert_eq!(words, ["x"]);
}

#[test]
fn a_token_knows_its_line_after_literals_of_several_lines() {
    let found = tokens("a\n\"\n\n\" b r\"\n\" c /*\n*/ d");
    assert_eq!(
        found.iter().map(|t| (t.text.as_str(), t.line)).collect::<Vec<_>>(),
        [("a", 1), ("b", 4), ("c", 5), ("d", 6)]
    );
}

#[test]
fn a_raw_identifier_is_a_word() {
    let words: Vec<String> = tokens("r#type::x").into_iter().map(|t| t.text).collect();
    assert_eq!(words, ["type", "::", "x"]);
}
