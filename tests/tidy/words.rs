//! Names, lengths and loose ends of one source file: docs/architecture.md, section 7.

use super::tokens::{Token, tokens};

/// Above this a file is named, above [`LINES_MAX`] refused: it wants a wall.
pub(crate) const LINES_PLANNED: usize = 350;
const LINES_MAX: usize = 500;

/// Words that say nothing about what a thing is.
const EMPTY_WORDS: [&str; 9] = ["Manager", "Service", "Helper", "Helpers", "Util", "Utils", "Common", "Types", "Misc"];

pub(crate) fn too_long(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LINES_MAX).then(|| format!("{path}: {lines} lines, at most {LINES_MAX}: split it by concept"))
}

pub(crate) fn without_door_sign(path: &str, text: &str) -> Option<String> {
    (!text.starts_with("//! ")).then(|| format!("{path}:1: opens without a `//!` that says what lives here"))
}

pub(crate) fn left_for_later(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in line.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if matches!(word, "TODO" | "FIXME" | "XXX" | "HACK") {
                found.push(format!("{path}:{}: `{word}`: do it, or file it", number + 1));
            }
        }
    }
    let tokens = tokens(text);
    for pair in tokens.windows(2) {
        if matches!(pair[0].text.as_str(), "unimplemented" | "todo") && pair[1].is("!") {
            found.push(format!("{path}:{}: `{}!` in the source", pair[0].line, pair[0].text));
        }
    }
    found
}

/// Names of modules, types and functions that the house does not use.
pub(crate) fn avoided(path: &str, text: &str) -> Vec<String> {
    let mut found = bad_file_name(path);
    let tokens = tokens(text);
    let mut blocks = Vec::new();
    let mut opening = Block::Other;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => blocks.push(std::mem::replace(&mut opening, Block::Other)),
            "}" => drop(blocks.pop()),
            ";" => opening = Block::Other,
            // `impl Trait` inside a signature opens nothing: an item starts after a brace, a `;` or an attribute.
            "impl" if starts_item(&tokens[..at]) => opening = impl_block(&tokens[at + 1..]),
            _ => {}
        }
        let Some(name) = tokens.get(at + 1).filter(|next| next.is_word()) else { continue };
        // The names inside `impl Trait for T` are the trait's, which may be somebody else's.
        let is_foreign = blocks.contains(&Block::TraitImpl);
        match token.text.as_str() {
            "struct" | "enum" | "trait" | "union" => found.extend(empty_type(path, name)),
            "type" if !is_foreign => found.extend(empty_type(path, name)),
            "mod" => found.extend(empty_module(path, name)),
            "fn" if name.text.starts_with("get_") && !is_foreign => {
                let bare = name.text.trim_start_matches("get_");
                found.push(format!("{path}:{}: `{}`: say `{bare}`", name.line, name.text));
            }
            _ => {}
        }
    }
    found
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    TraitImpl,
    Other,
}

fn starts_item(before: &[Token]) -> bool {
    before.last().is_none_or(|t| matches!(t.text.as_str(), "{" | "}" | ";" | "]" | "unsafe"))
}

fn impl_block(rest: &[Token]) -> Block {
    let head: Vec<&Token> = rest.iter().take_while(|t| !t.is("{")).collect();
    let names_trait = head.windows(2).any(|pair| pair[0].is("for") && !pair[1].is("<"));
    if names_trait { Block::TraitImpl } else { Block::Other }
}

fn empty_type(path: &str, name: &Token) -> Option<String> {
    let word = EMPTY_WORDS.iter().find(|word| name.text.ends_with(**word))?;
    Some(format!("{path}:{}: type `{}`: `{word}` says nothing about what it is", name.line, name.text))
}

fn empty_module(path: &str, name: &Token) -> Option<String> {
    let word = empty_stem(&name.text)?;
    Some(format!("{path}:{}: module `{}`: `{word}` says nothing about what lives there", name.line, name.text))
}

fn empty_stem(stem: &str) -> Option<String> {
    let last = stem.rsplit('_').next()?;
    EMPTY_WORDS.iter().map(|word| word.to_lowercase()).find(|word| word == last)
}

fn bad_file_name(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let mut found = Vec::new();
    for part in &parts {
        if let Some(word) = empty_stem(part) {
            found.push(format!("{path}: `{word}` says nothing about what lives there"));
        }
    }
    if let [.., folder, file] = parts.as_slice()
        && (folder == file || file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('_')))
    {
        found.push(format!("{path}: carries the name of its folder"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_words_are_refused_as_types_and_modules() {
        for text in [
            "pub struct CacheManager;",
            "enum Common { A }",
            "trait AuthService {}",
            "type Types = u8;",
            "mod utils;",
            "mod sql_helpers {}",
        ] {
            assert_eq!(avoided("src/engine/x.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn files_named_for_nothing_or_for_their_folder_are_refused() {
        for path in ["src/engine/utils.rs", "src/common/a.rs", "src/audit/audit_writer.rs", "src/audit/audit.rs"] {
            assert_eq!(avoided(path, "").len(), 1, "{path}");
        }
        assert_eq!(avoided("src/audit/auditor.rs", ""), [""; 0]);
    }

    #[test]
    fn a_getter_is_refused_outside_the_traits_of_others() {
        let own = "impl<T> Cache<T> { pub fn get_row(&self) {} }";
        assert_eq!(avoided("src/a/b.rs", own), ["src/a/b.rs:1: `get_row`: say `row`"]);
        assert_eq!(avoided("src/a/b.rs", "fn f() -> impl Fn() { g() }\nfn get_x() {}").len(), 1);
        let foreign = "impl<'a, S: for<'b> F<'b>> Source for Cache<S> { fn get_row(&self) { if x {} } fn get_b() {} }";
        assert_eq!(avoided("src/a/b.rs", foreign), [""; 0]);
        assert_eq!(avoided("src/a/b.rs", "impl A { fn get(&self) {} fn target_of() {} }"), [""; 0]);
    }

    #[test]
    fn implementing_a_foreign_service_is_no_name_of_ours() {
        let text = "use tower::Service;\nimpl Service<Request> for Door { type Service = Self; fn call() {} }";
        assert_eq!(avoided("src/http/door.rs", text), [""; 0]);
    }

    #[test]
    fn what_is_left_for_later_is_named_with_its_line() {
        let text = "//! x\n// TODO: y\nfn f() { unimplemented!() }\nfn todo() {}\nconst MASTODON: u8 = 1;";
        let found = left_for_later("src/a.rs", text);
        assert_eq!(found, ["src/a.rs:2: `TODO`: do it, or file it", "src/a.rs:3: `unimplemented!` in the source"]);
    }

    #[test]
    fn the_line_after_the_last_allowed_one_is_too_many() {
        assert_eq!(too_long("a", &"x\n".repeat(500)), None);
        assert!(too_long("a", &"x\n".repeat(501)).is_some());
    }

    #[test]
    fn a_file_without_a_door_sign_is_named() {
        assert!(without_door_sign("a", "use x;").is_some());
        assert!(without_door_sign("a", "/// Of an item.").is_some());
        assert_eq!(without_door_sign("a", "//! The door."), None);
    }
}
