//! Which room may use which: docs/architecture.md, section 1.

use super::tokens::{Token, tokens};

/// A floor's number, and the rooms on it. Rooms joined by `+` count as one; the others of a floor are strangers.
const FLOORS: [&[&str]; 7] = [
    &["domain"],
    &["engine", "entities", "audit", "store", "disclosures"],
    &["authorize"],
    &["admin"],
    &["http", "grpc", "console"],
    &["app+lifecycle"],
    &["cli+main"],
];

/// Usable from floor 1 up; they themselves stand on the domain alone.
const WALLS: [&str; 4] = ["clock", "config", "telemetry", "watch"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Floor { number: usize, group: &'static str },
    Wall,
}

fn place(room: &str) -> Option<Place> {
    if WALLS.contains(&room) {
        return Some(Place::Wall);
    }
    FLOORS.iter().enumerate().find_map(|(number, groups)| {
        let group = groups.iter().find(|group| group.split('+').any(|name| name == room))?;
        Some(Place::Floor { number, group })
    })
}

/// Every line of `path` that names a room it must not know.
pub(crate) fn crossed(path: &str, text: &str) -> Vec<String> {
    let module = module(path);
    let Some(room) = module.first().copied().filter(|room| *room != "lib") else {
        return Vec::new();
    };
    let Some(from) = place(room) else {
        return vec![format!(
            "{path}:1: room `{room}` stands on no floor: give it one in docs/architecture.md and tests/tidy/floors.rs"
        )];
    };
    named(&module, &tokens(text))
        .into_iter()
        .filter_map(|(line, used)| {
            let why = forbidden(room, from, &used, place(&used)?)?;
            Some(format!("{path}:{line}: `{room}` {why}"))
        })
        .collect()
}

fn forbidden(room: &str, from: Place, used: &str, to: Place) -> Option<String> {
    if room == used {
        return None;
    }
    match (from, to) {
        (Place::Floor { number: 0, .. }, Place::Wall) => {
            Some(format!("is on floor 0 and may not use the wall `{used}`"))
        }
        (_, Place::Wall) | (Place::Wall, Place::Floor { number: 0, .. }) => None,
        (Place::Wall, Place::Floor { number, .. }) => {
            Some(format!("is a wall and may not use `{used}` on floor {number}"))
        }
        (Place::Floor { number: own, group: a }, Place::Floor { number, group: b }) => {
            if number > own {
                Some(format!("on floor {own} may not use `{used}` on floor {number}"))
            } else if number == own && a != b {
                Some(format!("and `{used}` share floor {own} and are strangers"))
            } else {
                None
            }
        }
    }
}

/// `src/audit/segment.rs` is `[audit, segment]`.
fn module(path: &str) -> Vec<&str> {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    inner.split('/').filter(|part| *part != "mod").collect()
}

/// The names that stand right under the crate's root, with their lines: after `crate::`, after the crate's own name in
/// `main.rs`, and after as many `super::` as lead out of the room.
fn named(module: &[&str], tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut nested = Vec::new(); // for each open brace: does it open a `mod`?
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => nested.push(at >= 2 && tokens[at - 2].is("mod")),
            "}" => drop(nested.pop()),
            "crate" => found.extend(children(&tokens[at + 1..])),
            "chaperone" if module == ["main"] => found.extend(children(&tokens[at + 1..])),
            "super" if at == 0 || !tokens[at - 1].is("::") => {
                let mut rest = at;
                let mut up = 0;
                while tokens.get(rest).is_some_and(|t| t.is("super")) {
                    up += 1;
                    rest += if tokens.get(rest + 2).is_some_and(|t| t.is("super")) { 2 } else { 1 };
                }
                let depth = module.len() + nested.iter().filter(|is_mod| **is_mod).count();
                if up >= depth {
                    found.extend(children(&tokens[rest..]));
                }
            }
            _ => {}
        }
    }
    found
}

/// The first names after a `::`: one, or those of a `{…}` group.
fn children(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut rest = tokens.iter();
    if !rest.next().is_some_and(|t| t.is("::")) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut expects = true;
    for token in rest {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => expects = true,
            _ if expects && token.is_word() => {
                found.push((token.line, token.text.clone()));
                expects = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// What no file of the domain may speak of.
const IMPURE: [&str; 10] = ["async", "await", "tokio", "sqlx", "axum", "hyper", "fs", "net", "SystemTime", "Instant"];

pub(crate) fn impure(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("src/domain/") {
        return Vec::new();
    }
    let found = tokens(text);
    found
        .iter()
        .enumerate()
        .filter(|(at, token)| {
            // `Instant` is also a word of the domain's own (a kind of cell): the clock's is reached by a path.
            let after_path = *at > 0 && found[at - 1].is("::");
            let keyword = matches!(token.text.as_str(), "async" | "await");
            let starts_path = found.get(at + 1).is_some_and(|next| next.is("::"));
            let std_name = matches!(token.text.as_str(), "fs" | "net" | "SystemTime" | "Instant");
            let of_std = after_path && *at > 1 && matches!(found[at - 2].text.as_str(), "std" | "time");
            IMPURE.contains(&token.text.as_str()) && (keyword || if std_name { of_std } else { starts_path })
        })
        .map(|(_, token)| format!("{path}:{}: the domain may not use `{}`", token.line, token.text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(path: &str, text: &str, expected: &str) {
        let found = crossed(path, text);
        assert!(found.iter().any(|problem| problem == expected), "expected {expected:?}, got {found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[track_caller]
    fn accepted(path: &str, text: &str) {
        assert_eq!(crossed(path, text), Vec::<String>::new());
    }

    #[test]
    fn a_floor_above_is_refused_with_file_line_and_floors() {
        refused(
            "src/engine/index.rs",
            "//! x\n\nuse crate::authorize::Authorizer;",
            "src/engine/index.rs:3: `engine` on floor 1 may not use `authorize` on floor 2",
        );
        refused(
            "src/http/mod.rs",
            "use crate::app::App;",
            "src/http/mod.rs:1: `http` on floor 4 may not use `app` on floor 5",
        );
    }

    #[test]
    fn rooms_of_floor_one_are_strangers() {
        refused(
            "src/audit/mod.rs",
            "fn f() { crate::store::open(); }",
            "src/audit/mod.rs:1: `audit` and `store` share floor 1 and are strangers",
        );
    }

    #[test]
    fn every_name_of_a_group_is_looked_at_on_its_own_line() {
        refused(
            "src/entities/load.rs",
            "use crate::{\n    domain::{Slice, engine},\n    clock::Clock,\n    engine::Bundle,\n};",
            "src/entities/load.rs:4: `entities` and `engine` share floor 1 and are strangers",
        );
    }

    #[test]
    fn a_test_module_lives_on_the_floor_of_its_file() {
        refused(
            "src/store/mod.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::http::serve;\n}",
            "src/store/mod.rs:3: `store` on floor 1 may not use `http` on floor 4",
        );
        refused(
            "src/store/grants/tests.rs",
            "use crate::admin::Change;",
            "src/store/grants/tests.rs:1: `store` on floor 1 may not use `admin` on floor 3",
        );
    }

    #[test]
    fn supers_that_leave_the_room_are_followed() {
        refused(
            "src/audit/segment.rs",
            "use super::super::engine::Bundle;",
            "src/audit/segment.rs:1: `audit` and `engine` share floor 1 and are strangers",
        );
        accepted("src/audit/segment.rs", "use super::engine::Frames;");
        accepted("src/audit/mod.rs", "mod tests { use super::engine::Frames; }");
    }

    #[test]
    fn the_domain_uses_no_wall_and_walls_use_only_the_domain() {
        refused(
            "src/domain/request.rs",
            "use crate::clock::Clock;",
            "src/domain/request.rs:1: `domain` is on floor 0 and may not use the wall `clock`",
        );
        refused(
            "src/config/mod.rs",
            "use crate::audit::Tier;",
            "src/config/mod.rs:1: `config` is a wall and may not use `audit` on floor 1",
        );
        accepted("src/config/mod.rs", "use crate::{domain::Tier, telemetry::Level};");
    }

    #[test]
    fn lower_floors_walls_and_the_own_room_are_free() {
        accepted("src/authorize.rs", "use crate::{audit::Recorded, clock::Clock, domain::Request, engine, entities};");
        accepted("src/app.rs", "use crate::{lifecycle::Tasks, http, store};");
        accepted("src/engine/mod.rs", "use crate::engine::bundle::Bundle; pub(crate) fn f() {}");
        accepted("src/main.rs", "use chaperone::cli;");
        accepted("src/lib.rs", "pub use crate::http::serve;");
    }

    #[test]
    fn comments_and_texts_cross_nothing() {
        accepted("src/engine/mod.rs", "//! See [`crate::http`].\nconst A: &str = \"crate::http\";");
    }

    #[test]
    fn a_room_without_a_floor_is_named() {
        let found = crossed("src/billing/mod.rs", "");
        assert!(found[0].starts_with("src/billing/mod.rs:1: room `billing` stands on no floor"), "{found:?}");
    }

    #[test]
    fn the_domain_may_not_await_or_open_files() {
        let text = "async fn f() {}\nuse std::fs;\nuse tokio::sync::Mutex;\nuse std::time::SystemTime;";
        let lines: Vec<String> = impure("src/domain/value.rs", text);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(
            impure("src/domain/value.rs", "enum CellKind { Instant } // async\nfn f() { CellKind::Instant; }"),
            [""; 0]
        );
        assert_eq!(impure("src/http/mod.rs", text), [""; 0]);
    }
}
