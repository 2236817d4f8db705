//! Tests of `schema`.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use super::*;
use crate::engine::taxonomy_file::parse_fields;

fn file(name: &str, text: &str) -> TextFile {
    TextFile { path: PathBuf::from("s").join(name), name: format!("schemas/{name}"), text: Arc::from(text) }
}

const SCHEMA: &str = "entity User; entity Client;
entity Note { client: Client, governing?: String }; entity Channel;
type RequestContext = { purpose: String };
";

const FIELDS: &str = r"
version: 1
verbs:
  read: { mode: filter, crud: R, masks: true }
  write: { mode: strict, crud: U }
  create: { mode: strict, crud: C, on: [Client], any_group: true }
actions:
  play: { on: [Note], group: note.text, crud: R, in: [read] }
  look: { on: [Note, Client], group: id, crud: R }
groups: { id: { label: N }, note.text: { label: R }, psy: { label: V, governing: true }, spare: { label: U } }
types:
  Note: { groups: { note.text: [body] }, governed_by: governing, header: client }
  Client: { groups: { id: [name] } }
  Channel: {}
header: { groups: [id], type: Client, verbs: [read] }
classes: { phi: [note.text, psy], none: [spare] }
matrix: { columns: [doctor], id: [W] }
";

fn built(schema: &str, fields: &str) -> Result<BuiltSchema, Vec<Problem>> {
    let file_of_fields = file("x.fields.yaml", fields);
    let fields = parse_fields(&file_of_fields).unwrap();
    build_schema(&file("x.cedarschema", schema), Some((&file_of_fields, &fields)), Classes::Every)
}

fn lines(text: &str, start: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| line.starts_with(start)).map(str::to_owned).collect()
}

#[test]
fn the_shape_is_that_of_the_whole_text() {
    let shape = built(SCHEMA, FIELDS).unwrap().shape;
    assert_eq!(shape, SchemaShape::from_text(&built(SCHEMA, FIELDS).unwrap().text).unwrap());
    assert!(shape.action_contexts.contains_key("read:note.text") && !shape.action_contexts.contains_key("read"));
    let spaced = format!("namespace Ward {{ {SCHEMA} action own appliesTo {{ principal: User, resource: Note }}; }}");
    let in_namespace = built(&spaced, FIELDS).unwrap();
    assert_eq!(in_namespace.shape, SchemaShape::from_text(&in_namespace.text).unwrap());
}

#[test]
fn actions_are_made_for_verbs_classes_and_groups() {
    let built = built(SCHEMA, FIELDS).unwrap();
    let applies =
        |kinds: &str| format!("appliesTo {{ principal: User, resource: [{kinds}], context: RequestContext }};");
    let expected = [
        "action \"read\";".to_owned(),
        "action \"read:doctor.W\" in [\"read\"];".to_owned(),
        "action \"read:phi\" in [\"read\"];".to_owned(),
        format!("action \"read:id\" in [\"read:doctor.W\"] {}", applies("Client, Note")),
        format!("action \"read:note.text\" in [\"read:phi\"] {}", applies("Note")),
        format!("action \"read:psy\" in [\"read:phi\"] {}", applies("Note")),
    ];
    assert_eq!(lines(&built.text, "action \"read"), expected);
    let masked: Vec<_> = expected.iter().map(|line| line.replace("\"read", "\"mask")).collect();
    assert_eq!(lines(&built.text, "action \"mask"), masked);
    // The header is written on its own record only.
    assert_eq!(
        lines(&built.text, "action \"write:id"),
        [format!("action \"write:id\" in [\"write:doctor.W\"] {}", applies("Client"))]
    );
    assert_eq!(
        lines(&built.text, "action \"create:spare"),
        [format!("action \"create:spare\" in [\"create:none\"] {}", applies("Client"))]
    );
    assert_eq!(lines(&built.text, "action \"play"), [format!("action \"play\" in [\"read\"] {}", applies("Note"))]);
    assert_eq!(lines(&built.text, "action \"look"), [format!("action \"look\" {}", applies("Client, Note"))]);
    assert_eq!(&*built.namespace, "");
}

#[test]
fn the_text_that_is_shown_is_a_schema_by_itself() {
    let built = built(SCHEMA, FIELDS).unwrap();
    let again = Schema::from_cedarschema_str(&built.text).unwrap().0;
    assert_eq!(again.actions().count(), built.schema.actions().count());
}

#[test]
fn a_namespace_holds_the_actions_too() {
    let built = built(
        &format!("entity Before {{ a: Long }};\nnamespace Clinic {{ {SCHEMA} }}\nentity After {{ a: Long }};"),
        FIELDS,
    )
    .unwrap();
    assert_eq!(&*built.namespace, "Clinic::");
    assert!(built.schema.actions().any(|action| action.to_string() == "Clinic::Action::\"read:id\""));
    let again = Schema::from_cedarschema_str(&built.text).unwrap().0;
    assert_eq!(again.actions().count(), built.schema.actions().count());
    let problems = self::built(&format!("namespace A {{ {SCHEMA} }} namespace B {{ entity X; }}"), FIELDS).unwrap_err();
    assert!(problems[0].message.contains("2 namespaces: A, B"), "{}", problems[0]);
}

#[test]
fn a_schema_without_field_groups_stands_alone() {
    let text = format!("{SCHEMA} action \"read\" appliesTo {{ principal: User, resource: Note }};");
    let built = build_schema(&file("x.cedarschema", &text), None, Classes::Every).unwrap();
    assert_eq!((built.schema.actions().count(), built.text), (1, text));
}

#[test]
fn mistakes_in_the_written_text_have_their_place() {
    for (text, line, words) in [
        ("entity User;\nentity Client in [Grup];\nentity Group;", 2, "Grup"),
        ("entity User;\nentity Client {\n  a: Strin\n};", 3, "Strin"),
        ("entity User\nentity Client;", 2, "unexpected token"),
    ] {
        let problems = build_schema(&file("x.cedarschema", text), None, Classes::Every).unwrap_err();
        assert_eq!(problems[0].file, Some("s/x.cedarschema".into()));
        assert!(problems[0].message.contains(words), "{}", problems[0]);
        assert_eq!(problems[0].line, Some(line), "{}", problems[0]);
    }
}

#[test]
fn field_groups_that_do_not_fit_the_schema_are_told_in_their_file() {
    for (from, to, words) in [
        ("entity Channel;", "", "no entity type `Channel`"),
        ("client: Client,", "", "`Note` has no attribute `client`"),
        ("governing?: String", "", "`Note` has no attribute `governing`"),
        ("entity User;", "", "no entity type `User` for principals"),
        ("RequestContext", "Context", "RequestContext"),
    ] {
        let problems = built(&SCHEMA.replace(from, to), FIELDS).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert_eq!(problems[0].file, Some("s/x.fields.yaml".into()));
        assert!(problems[0].message.contains(words), "{}", problems[0]);
    }
}

#[test]
fn the_names_of_principal_and_context_are_the_files_to_say() {
    let schema = SCHEMA.replace("User", "Person").replace("RequestContext", "Ctx");
    built(&schema, &format!("{FIELDS}principal: Person\ncontext: Ctx\n")).unwrap();
}

#[test]
fn only_classes_that_a_policy_names_become_actions_and_every_group_does() {
    let file_of_fields = file("x.fields.yaml", FIELDS);
    let fields = parse_fields(&file_of_fields).unwrap();
    let policies = [file("a.cedar", "permit(principal, action in [Action::\"read:phi\"], resource); // \"mask:phi\"")];
    let of = |classes| build_schema(&file("x.cedarschema", SCHEMA), Some((&file_of_fields, &fields)), classes).unwrap();
    let (some, every) = (of(Classes::NamedIn(&policies)), of(Classes::Every));
    let names = |built: &BuiltSchema| built.schema.actions().map(ToString::to_string).collect::<BTreeSet<_>>();
    let left_out: Vec<String> = names(&every).difference(&names(&some)).cloned().collect();
    assert!(
        left_out.iter().all(|name| name.contains(":doctor.W") || name.contains(":none") || name.contains(":phi")),
        "{left_out:?}"
    );
    assert!(names(&some).contains("Action::\"read:phi\"") && !names(&some).contains("Action::\"mask:phi\""));
    // Under a class or not, a group stays within its verb.
    let ancestors = |built: &BuiltSchema, child: &str, parent: &str| {
        let entities = built.schema.action_entities().unwrap();
        entities.is_ancestor_of(&parent.parse().unwrap(), &child.parse().unwrap())
    };
    for built in [&some, &every] {
        assert!(ancestors(built, "Action::\"read:note.text\"", "Action::\"read\""));
        assert!(ancestors(built, "Action::\"read:note.text\"", "Action::\"read:phi\""));
        assert!(ancestors(built, "Action::\"write:note.text\"", "Action::\"write\""));
        assert!(!ancestors(built, "Action::\"read:id\"", "Action::\"read:phi\""));
    }
}

#[test]
fn names_for_suggestions_are_those_of_every_action() {
    let fields = parse_fields(&file("x.fields.yaml", FIELDS)).unwrap();
    let made: BTreeSet<String> = action_names(&fields.taxonomy).into_iter().collect();
    let built = built(SCHEMA, FIELDS).unwrap();
    let declared: BTreeSet<String> =
        built.schema.actions().map(|action| AsRef::<str>::as_ref(action.id()).to_owned()).collect();
    assert_eq!(made, declared);
}
