//! Tests of `taxonomy_file`.

use std::path::PathBuf;

use super::*;

fn file(text: &str) -> TextFile {
    TextFile { path: PathBuf::from("s/x.fields.yaml"), name: "schemas/x.fields.yaml".into(), text: Arc::from(text) }
}

const GOOD: &str = r#"
version: 1
verbs:
  read: { mode: filter, crud: R, masks: true }
  write: { mode: strict, crud: U, durability: disk }
actions:
  play: { on: [Note], group: note.text, crud: R, in: [read] }
  drop: { on: [Note, Client], group: { Note: note.text, Client: id }, crud: D }
groups:
  id: { label: N, masked_as: name }
  note.text: { label: R }
  psy: { label: V, governing: true }
types:
  Note: { groups: { note.text: [body, "y"] }, governed_by: governing, header: client }
  Client: { groups: { id: [name] } }
header: { groups: [id], type: Client, verbs: [read] }
classes:
  phi: { all_but: [id] }
matrix:
  columns: [doctor, clerk]
  id: [W, R]
  note.text: [Wa, .]
"#;

fn with(from: &str, to: &str) -> Vec<Problem> {
    assert!(GOOD.contains(from), "{from}");
    parse_fields(&file(&GOOD.replacen(from, to, 1))).err().unwrap_or_default()
}

#[test]
fn a_fields_file_becomes_a_taxonomy() {
    let fields = parse_fields(&file(GOOD)).unwrap();
    let taxonomy = &fields.taxonomy;
    assert_eq!((&*fields.principal, &*fields.context), ("User", "RequestContext"));
    assert_eq!(fields.memberships["play"], ["read".into()]);
    assert_eq!(taxonomy.verbs["write"].durability, Tier::Disk);
    assert_eq!(taxonomy.verbs["read"].mode, Mode::Filter);
    assert_eq!(&*taxonomy.actions["drop"].on["Client"], "id");
    assert_eq!(taxonomy.groups["id"].label, 'N');
    assert_eq!(taxonomy.types["Note"].groups, [("note.text".into(), vec!["body".into(), "y".into()])]);
    let class = |name: &str| taxonomy.classes[name].iter().map(|group| &**group).collect::<Vec<_>>();
    assert_eq!(class("phi"), ["note.text", "psy"]);
    assert_eq!((class("doctor.W"), class("doctor.Wa"), class("clerk.R")), (vec!["id"], vec!["note.text"], vec!["id"]));
    assert_eq!(taxonomy.classes.len(), 4, "a dot makes no class");
}

#[test]
fn whatever_stands_for_nothing_is_named_with_its_line() {
    for (from, to, line, words) in [
        ("version: 1", "version: 2", 2, "version 2"),
        ("durability: disk", "durability: remote", 5, "not a tier"),
        ("crud: R, masks", "crud: Q, masks", 4, "unknown crud letter `Q`"),
        ("in: [read]", "in: [reed]", 7, "unknown verb `reed`"),
        ("on: [Note], group", "on: [Nite], group", 7, "unknown type `Nite`"),
        ("group: note.text", "group: note.txt", 7, "unknown group `note.txt`"),
        ("Client: id }", "Clyent: id }", 8, "no group for `Client`"),
        ("label: N", "label: X", 10, "unknown label `X`"),
        ("groups: { id: [name] }", "groups: { idd: [name] }", 15, "unknown group `idd`"),
        ("{ note.text: [body, \"y\"] }", "{ note.text: [body], id: [body] }", 14, "stands in two groups"),
        ("type: Client", "type: Klient", 16, "unknown type `Klient`"),
        ("verbs: [read]", "verbs: [raed]", 16, "unknown verb `raed`"),
        ("all_but: [id]", "all_but: [ix]", 18, "unknown group `ix`"),
        ("all_but: [id]", "all_but: [id, note.text, psy]", 18, "has no group"),
        ("[doctor, clerk]", "[doctor, doctor]", 20, "second column"),
        ("columns:", "colums:", 20, "no row `columns`"),
        ("id: [W, R]", "id: [W]", 21, "1 cells for 2 columns"),
        ("id: [W, R]", "ix: [W, R]", 21, "unknown group `ix`"),
        ("[Wa, .]", "[Wz, .]", 22, "unknown cell `Wz`"),
        ("[Wa, .]", "[SWa, .]", 22, "unknown cell `SWa`"),
        ("play:", "\"read:id\":", 7, "two actions are called `read:id`"),
        ("play:", "mask:", 7, "two actions are called `mask`"),
        ("phi:", "id:", 18, "a group is called `id`"),
        ("phi:", "clerk.R:", 18, "the matrix makes a class"),
        ("play:", "\"pl\\\"ay\":", 7, "is not a name"),
    ] {
        let found = with(from, to);
        let problem = found.iter().find(|problem| problem.message.contains(words));
        let problem = problem.unwrap_or_else(|| panic!("{to}: {found:#?}"));
        assert_eq!(problem.line, Some(line), "{problem}");
        assert!(problem.hint.is_some() && problem.source_line.is_some(), "{problem}");
    }
}

#[test]
fn an_unknown_key_and_a_key_said_twice_have_a_line() {
    for (from, to, line) in [
        ("masks: true", "maks: true", 4),
        ("masks: true", "mode: strict", 4),
        ("{ all_but: [id] }", "{ all: [id] }", 18),
        ("  play:", "  drop: {}\n  play:", 7),
        ("[doctor, clerk]", "[doctor, clerk", 20),
    ] {
        let found = with(from, to);
        assert_eq!(found.len(), 1, "{to}: {found:#?}");
        assert!(found[0].line.is_some_and(|found| found >= line && found <= line + 2), "{}", found[0]);
        assert!(!found[0].message.is_empty() && !found[0].message.contains("at line"), "{}", found[0]);
    }
}

#[test]
fn several_mistakes_are_reported_at_once() {
    let text = GOOD.replace("label: N", "label: X").replace("[Wa, .]", "[Zz, .]");
    assert_eq!(parse_fields(&file(&text)).unwrap_err().len(), 2);
}
