//! The text guard: what Cedar's recursive parser must never see.
//!
//! Deep nesting overflows the parser's stack, which ends the process, and a long chain of operators makes a policy that
//! parses and validates but fails when it is evaluated, so that a forbid is skipped. Both are found here by one pass over
//! the bytes that knows strings and comments as Cedar's lexer does and calls nothing recursively.

use std::{io, thread};

use super::{
    problem::{Problem, Problems},
    source::TextFile,
};

/// Bytes of one policy, from its first annotation to its semicolon.
pub const POLICY_BYTES_MAX: usize = 10_000;
/// Brackets open at once; in a schema `<` is one of them.
pub const NESTING_MAX: usize = 64;
/// Characters of `&& || + - * . ! < > =` in one policy.
pub const OPERATORS_MAX: usize = 300;
/// `if` expressions in one policy.
pub const IFS_MAX: usize = 64;
/// Policies of one bundle.
pub const POLICIES_MAX: usize = 10_000;

/// The stack of the thread on which Cedar parses, validates and converts.
const BIG_STACK_BYTES: usize = 64 << 20;

/// Runs `work` where Cedar's recursion has room for everything the guard lets through.
///
/// # Errors
///
/// One [`Problem`] if the thread cannot be started or `work` panics.
pub fn on_big_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Problems> {
    beside(work, || ()).map(|(done, ())| done)
}

/// Runs `aside` on a thread with a big stack while `here` runs on this one: of what a start waits for, half at once.
///
/// # Errors
///
/// As [`on_big_stack`]. `here` does not run where the thread cannot be started.
pub fn beside<A: Send, H>(aside: impl FnOnce() -> A + Send, here: impl FnOnce() -> H) -> Result<(A, H), Problems> {
    let one = |problem: Problem| Problems(vec![problem]);
    let failed = |error: io::Error| {
        one(Problem::error(format!("cannot start the thread that parses policies: {error}"))
            .hint("64 MiB of address space and one more thread are needed: raise the limits of this process"))
    };
    thread::scope(|scope| {
        let aside = thread::Builder::new()
            .name("policies".to_owned())
            .stack_size(BIG_STACK_BYTES)
            .spawn_scoped(scope, aside)
            .map_err(failed)?;
        let here = here();
        let stopped = |_panic| one(Problem::error("the policy engine stopped while it worked on the bundle"));
        Ok((aside.join().map_err(stopped)?, here))
    })
}

/// Judges every policy file of a bundle.
pub fn guard_policies(files: &[TextFile]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut policies = 0_usize;
    for file in files {
        let was_few = policies <= POLICIES_MAX;
        let mut guard = Guard::new(file);
        for (at, piece) in Pieces::new(&file.text) {
            guard.piece(at, piece);
        }
        guard.end_policy(file.text.len());
        policies = policies.saturating_add(guard.policies);
        problems.append(&mut guard.problems);
        if was_few && policies > POLICIES_MAX {
            let mut problem = Problem::error(format!("more than {POLICIES_MAX} policies in the bundle"));
            problem.hint =
                Some("say with facts what differs from case to case: sets, tags and rows are not limited".into());
            problems.push(problem.in_file(&file.path));
        }
    }
    problems
}

/// Judges the schema as its author wrote it.
pub fn guard_schema(file: &TextFile) -> Vec<Problem> {
    let mut nesting = Nesting::default();
    for (at, piece) in Pieces::new(&file.text) {
        let is_too_deep = match piece {
            Piece::Open(bracket) => nesting.open(bracket),
            Piece::Operator(b'<') => nesting.open(b'<'),
            Piece::Operator(b'>') => nesting.close(b'>'),
            Piece::Close(bracket) => nesting.close(bracket),
            _ => false,
        };
        if is_too_deep {
            return vec![too_deep(file, at)];
        }
    }
    Vec::new()
}

fn too_deep(file: &TextFile, at: usize) -> Problem {
    file.error_at(at, format!("brackets are nested deeper than {NESTING_MAX}"))
        .hint("split the expression into several policies or `when` clauses")
}

/// The brackets that are open. One that closes nothing is the parser's to complain about and never counts in favour.
#[derive(Default)]
struct Nesting(Vec<u8>);

impl Nesting {
    fn open(&mut self, bracket: u8) -> bool {
        self.0.push(bracket);
        self.0.len() > NESTING_MAX
    }

    fn close(&mut self, bracket: u8) -> bool {
        let opening = match bracket {
            b')' => b'(',
            b']' => b'[',
            b'}' => b'{',
            _ => b'<',
        };
        self.0.pop_if(|open| *open == opening);
        false
    }
}

/// The counts of one file and of the policy at hand.
struct Guard<'f> {
    file: &'f TextFile,
    nesting: Nesting,
    is_too_deep: bool,
    start: Option<usize>,
    operators: usize,
    ifs: usize,
    policies: usize,
    problems: Vec<Problem>,
}

impl<'f> Guard<'f> {
    fn new(file: &'f TextFile) -> Self {
        let (nesting, problems) = (Nesting::default(), Vec::new());
        Self { file, nesting, is_too_deep: false, start: None, operators: 0, ifs: 0, policies: 0, problems }
    }

    fn piece(&mut self, at: usize, piece: Piece<'_>) {
        self.start.get_or_insert(at);
        match piece {
            Piece::Open(bracket) => {
                if self.nesting.open(bracket) && !self.is_too_deep {
                    self.is_too_deep = true;
                    self.problems.push(too_deep(self.file, at));
                }
            }
            Piece::Close(bracket) => {
                self.nesting.close(bracket);
            }
            Piece::Operator(_) => {
                self.operators = self.operators.saturating_add(1);
                if self.operators == OPERATORS_MAX.saturating_add(1) {
                    let message = format!("more than {OPERATORS_MAX} operator characters in one policy");
                    self.complain(at, message, "compare with a set (`[a, b].contains(x)`), or split the policy in two");
                }
            }
            Piece::Word("if") => {
                self.ifs = self.ifs.saturating_add(1);
                if self.ifs == IFS_MAX.saturating_add(1) {
                    self.complain(at, format!("more than {IFS_MAX} `if` in one policy"), "split the policy");
                }
            }
            Piece::Semicolon => self.end_policy(at.saturating_add(1)),
            Piece::Word(_) | Piece::Quoted(_) | Piece::Other => {}
        }
    }

    fn end_policy(&mut self, end: usize) {
        let Some(start) = self.start.take() else { return };
        if end.saturating_sub(start) > POLICY_BYTES_MAX {
            let message = format!("the policy has more than {POLICY_BYTES_MAX} bytes");
            self.complain(start, message, "split the policy; say with facts what differs from case to case");
        }
        self.policies = self.policies.saturating_add(1);
        (self.operators, self.ifs) = (0, 0);
    }

    fn complain(&mut self, at: usize, message: String, hint: &str) {
        self.problems.push(self.file.error_at(at, message).hint(hint));
    }
}

/// What the guard tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Open(u8),
    Close(u8),
    Operator(u8),
    Word(&'t str),
    Semicolon,
    /// What stands between the quotes of a string, escapes as they are.
    Quoted(&'t str),
    /// A digit or another character without weight.
    Other,
}

/// Pieces of Cedar text, each with the byte where it starts; strings are one piece, blanks and comments none.
pub(super) struct Pieces<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Pieces<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// The first byte from `at` on for which `stop` holds, or the end.
    fn until(&self, at: usize, stop: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        rest.iter().position(|byte| stop(*byte)).map_or(self.text.len(), |skipped| at.saturating_add(skipped))
    }

    /// The string that opens at `start`, and the byte after it; the end of the text if it never closes.
    fn quoted(&self, start: usize) -> (usize, Piece<'t>) {
        let inside = start.saturating_add(1);
        let mut at = inside;
        loop {
            at = self.until(at, |byte| byte == b'"' || byte == b'\\');
            match self.byte(at) {
                Some(b'\\') => at = at.saturating_add(2),
                Some(_) => break (at.saturating_add(1), Piece::Quoted(self.text.get(inside..at).unwrap_or_default())),
                None => break (self.text.len(), Piece::Other),
            }
        }
    }
}

impl<'t> Iterator for Pieces<'t> {
    type Item = (usize, Piece<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.at;
            let byte = self.byte(start)?;
            let (end, piece) = match byte {
                b'"' => self.quoted(start),
                // Cedar's comments end at a carriage return as well: what follows one is code.
                b'/' if self.byte(start.saturating_add(1)) == Some(b'/') => {
                    self.at = self.until(start, |byte| byte == b'\n' || byte == b'\r');
                    continue;
                }
                b'(' | b'[' | b'{' => (start.saturating_add(1), Piece::Open(byte)),
                b')' | b']' | b'}' => (start.saturating_add(1), Piece::Close(byte)),
                b';' => (start.saturating_add(1), Piece::Semicolon),
                b'&' | b'|' | b'+' | b'*' | b'-' | b'.' | b'!' | b'<' | b'>' | b'=' => {
                    (start.saturating_add(1), Piece::Operator(byte))
                }
                b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                    let end = self.until(start, |byte| !(byte == b'_' || byte.is_ascii_alphanumeric()));
                    (end, Piece::Word(self.text.get(start..end).unwrap_or_default()))
                }
                _ if byte.is_ascii_whitespace() => {
                    self.at = start.saturating_add(1);
                    continue;
                }
                _ => (start.saturating_add(1), Piece::Other),
            };
            self.at = end;
            return Some((start, piece));
        }
    }
}

#[cfg(test)]
mod tests;
