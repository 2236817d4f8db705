//! Expressions as PostgreSQL prints them in a plan: which column they tie to the key, and what they call.
//!
//! A plan's expressions are printed with every parenthesis and every qualifier, so few shapes mean "this column equals
//! the key". Whatever is not one of them letter by letter ties nothing: the facts are then forgotten more coarsely.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

/// A word or a sign of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    sort: Sort,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Name,
    Quoted,
    Literal,
    Number,
    Parameter,
    Sign,
}

/// How the key meets the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tie {
    /// As text, letter by letter: `column = $1`, `column::text = $1`.
    Text {
        is_cast: bool,
    },
    /// As a value that several texts may mean: `column = $1::uuid`.
    Uuid,
    Integer,
}

/// A column that must equal the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tied {
    pub(super) column: String,
    pub(super) tie: Tie,
}

/// The columns of `alias` that `condition` demands to equal `$1`.
pub(super) fn tied(condition: &str, alias: &str) -> Vec<Tied> {
    let Some(tokens) = tokens(condition) else { return Vec::new() };
    let mut found = Vec::new();
    conjuncts(&tokens, &mut |conjunct| found.extend(equals_key(conjunct, alias)));
    found
}

/// The column whose text `output` is: `alias.column`, or that cast to text.
pub(super) fn text_of(output: &str) -> Option<(String, String)> {
    let tokens = tokens(output)?;
    column(&tokens).map(|(alias, column, _)| (alias, column))
}

/// What an expression uses that may do more than its name says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Names of functions, in whatever schema.
    pub(super) functions: BTreeSet<String>,
    pub(super) operators: BTreeSet<String>,
    /// Words of the types that something is cast to.
    pub(super) types: BTreeSet<String>,
    /// Something that answers otherwise from one moment or session to the next, or that is not understood.
    pub(super) strange: Option<String>,
    /// A parameter other than the key: the value of a subquery.
    pub(super) other_parameters: bool,
}

/// SQL's own constructs that are printed in capitals before a parenthesis and depend on their operands alone.
const CONSTRUCTS: [&str; 27] = [
    "AND",
    "OR",
    "NOT",
    "IN",
    "ANY",
    "ALL",
    "WHEN",
    "THEN",
    "ELSE",
    "CASE",
    "COALESCE",
    "GREATEST",
    "LEAST",
    "NULLIF",
    "ROW",
    "EXTRACT",
    "SUBSTRING",
    "POSITION",
    "OVERLAY",
    "TRIM",
    "FROM",
    "FOR",
    "LIKE",
    "IS",
    "OVER",
    "FILTER",
    "WHERE",
];

/// SQL's words for the moment, the user or the session.
const OF_THE_MOMENT: [&str; 10] = [
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "CURRENT_USER",
    "CURRENT_ROLE",
    "SESSION_USER",
    "CURRENT_CATALOG",
    "CURRENT_SCHEMA",
];

impl Used {
    /// Adds what `expression` uses.
    pub(super) fn add(&mut self, expression: &str) {
        let Some(tokens) = tokens(expression) else {
            self.strange = Some("an expression that is not understood".to_owned());
            return;
        };
        let mut rest = tokens.as_slice();
        while let [token, after @ ..] = rest {
            rest = after;
            match token.sort {
                Sort::Sign if token.text == "::" => rest = self.type_name(after),
                Sort::Sign if is_operator(&token.text) => drop(self.operators.insert(token.text.clone())),
                Sort::Parameter if token.text != "$1" => self.other_parameters = true,
                Sort::Name if OF_THE_MOMENT.contains(&token.text.as_str()) => {
                    self.strange.get_or_insert_with(|| format!("`{}`", token.text));
                }
                Sort::Name if after.first().is_some_and(|next| next.is("(")) => {
                    // Capitals are SQL's own: a name of a person's is printed in quotes if it has any.
                    if !token.text.chars().any(char::is_lowercase) {
                        if !CONSTRUCTS.contains(&token.text.as_str()) {
                            self.strange.get_or_insert_with(|| format!("`{}`", token.text));
                        }
                    } else {
                        self.functions.insert(token.text.clone());
                    }
                }
                Sort::Quoted if after.first().is_some_and(|next| next.is("(")) => {
                    self.functions.insert(token.text.clone());
                }
                Sort::Name | Sort::Quoted | Sort::Literal | Sort::Number | Sort::Parameter | Sort::Sign => {}
            }
        }
    }

    /// Takes the words of a type from the front: `character varying(10)`, `public.mood`, `text[]`.
    fn type_name<'t>(&mut self, tokens: &'t [Token]) -> &'t [Token] {
        let mut rest = tokens;
        while let [token, after @ ..] = rest {
            match token.sort {
                // Words of types are small or in quotes: capitals are SQL going on.
                Sort::Name if token.text.chars().any(char::is_lowercase) => drop(self.types.insert(token.text.clone())),
                Sort::Quoted => drop(self.types.insert(token.text.clone())),
                Sort::Sign if token.text == "." => {}
                _ => break,
            }
            rest = after;
        }
        rest
    }
}

fn is_operator(sign: &str) -> bool {
    !matches!(sign, "(" | ")" | "[" | "]" | "," | "." | "::" | ":" | ";")
}

impl Token {
    fn is(&self, sign: &str) -> bool {
        self.sort == Sort::Sign && self.text == sign
    }

    fn is_word(&self, word: &str) -> bool {
        self.sort == Sort::Name && self.text == word
    }

    fn name(&self) -> Option<&str> {
        matches!(self.sort, Sort::Name | Sort::Quoted).then_some(self.text.as_str())
    }
}

/// `None` if the expression does not end properly.
fn tokens(expression: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut letters = expression.chars().peekable();
    while let Some(letter) = letters.next() {
        let (sort, text) = match letter {
            space if space.is_whitespace() => continue,
            '\'' => (Sort::Literal, quoted(&mut letters, '\'')?),
            '"' => (Sort::Quoted, quoted(&mut letters, '"')?),
            '$' => (Sort::Parameter, format!("${}", taken(&mut letters, |next| next.is_ascii_digit()))),
            first if first.is_alphabetic() || first == '_' => {
                let rest = taken(&mut letters, |next| next.is_alphanumeric() || next == '_' || next == '$');
                (Sort::Name, format!("{first}{rest}"))
            }
            first if first.is_ascii_digit() => {
                let rest = taken(&mut letters, |next| next.is_alphanumeric() || next == '.');
                (Sort::Number, format!("{first}{rest}"))
            }
            ':' if letters.next_if_eq(&':').is_some() => (Sort::Sign, "::".to_owned()),
            '(' | ')' | '[' | ']' | ',' | '.' | ';' | ':' => (Sort::Sign, letter.to_string()),
            first => {
                let rest = taken(&mut letters, |next| "+-*/<>=~!@#%^&|`?".contains(next));
                (Sort::Sign, format!("{first}{rest}"))
            }
        };
        tokens.push(Token { sort, text });
    }
    Some(tokens)
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn taken(letters: &mut Letters<'_>, belongs: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| letters.next_if(|next| belongs(*next))).collect()
}

/// The text up to the closing mark; a doubled mark stands for itself.
fn quoted(letters: &mut Letters<'_>, mark: char) -> Option<String> {
    let mut text = String::new();
    loop {
        match letters.next()? {
            letter if letter != mark => text.push(letter),
            _ if letters.next_if_eq(&mark).is_some() => text.push(mark),
            _ => return Some(text),
        }
    }
}

/// Without the parentheses around all of it.
fn bare(mut tokens: &[Token]) -> &[Token] {
    while let [first, inner @ .., last] = tokens {
        let closes = first.is("(") && last.is(")") && depths(inner).all(|depth| depth >= 0);
        if !closes {
            break;
        }
        tokens = inner;
    }
    tokens
}

/// How deep in parentheses one is after each token.
fn depths(tokens: &[Token]) -> impl Iterator<Item = i32> {
    tokens.iter().scan(0_i32, |depth, token| {
        if token.is("(") || token.is("[") {
            *depth += 1;
        } else if token.is(")") || token.is("]") {
            *depth -= 1;
        }
        Some(*depth)
    })
}

/// Everything that must hold for `tokens` to hold.
fn conjuncts(tokens: &[Token], take: &mut dyn FnMut(&[Token])) {
    let tokens = bare(tokens);
    let parts: Vec<&[Token]> = split(tokens, |token| token.is_word("AND"));
    if parts.len() > 1 && split(tokens, |token| token.is_word("OR")).len() == 1 {
        parts.into_iter().for_each(|part| take(bare(part)));
    } else {
        take(tokens);
    }
}

/// The parts between the tokens outside of all parentheses that are `separator`.
fn split(tokens: &[Token], separator: impl Fn(&Token) -> bool) -> Vec<&[Token]> {
    let outside: Vec<bool> = depths(tokens).map(|depth| depth == 0).collect();
    let mut position = 0;
    tokens
        .split(|token| {
            let is_outside = outside.get(position).copied().unwrap_or(false);
            position += 1;
            is_outside && separator(token)
        })
        .collect()
}

fn equals_key(conjunct: &[Token], alias: &str) -> Option<Tied> {
    let sides = split(conjunct, |token| token.is("="));
    let [left, right] = sides.as_slice() else { return None };
    one_way(left, right, alias).or_else(|| one_way(right, left, alias))
}

fn one_way(column_side: &[Token], key_side: &[Token], alias: &str) -> Option<Tied> {
    let (of, column, is_cast) = column(column_side)?;
    let tie = match (key(key_side)?, is_cast) {
        (Tie::Text { .. }, is_cast) => Tie::Text { is_cast },
        (tie, false) => tie,
        (_, true) => return None,
    };
    (of == alias).then_some(Tied { column, tie })
}

/// `alias.column`, or `(alias.column)::text`.
fn column(tokens: &[Token]) -> Option<(String, String, bool)> {
    match bare(tokens) {
        [alias, dot, column] if dot.is(".") => Some((alias.name()?.to_owned(), column.name()?.to_owned(), false)),
        [inner @ .., cast, text] if cast.is("::") && text.is_word("text") => {
            let (alias, column, false) = column(inner)? else { return None };
            Some((alias, column, true))
        }
        _ => None,
    }
}

/// `$1`, or `($1)::type` of a type whose texts are understood.
fn key(tokens: &[Token]) -> Option<Tie> {
    let is_key = |token: &Token| token.sort == Sort::Parameter && token.text == "$1";
    match bare(tokens) {
        [key] if is_key(key) => Some(Tie::Text { is_cast: false }),
        [open, key, close, cast, kind] if open.is("(") && is_key(key) && close.is(")") && cast.is("::") => {
            match kind.text.as_str() {
                "uuid" => Some(Tie::Uuid),
                "smallint" | "integer" | "bigint" => Some(Tie::Integer),
                _ => None,
            }
            .filter(|_| kind.sort == Sort::Name)
        }
        _ => None,
    }
}
