//! Tests of `policies`.

use super::*;

fn file(name: &str, text: &str) -> TextFile {
    TextFile { path: PathBuf::from("p").join(name), name: format!("policies/{name}"), text: Arc::from(text) }
}

fn problems(text: &str) -> Vec<Problem> {
    parse_policies(&[file("a.cedar", text)]).2
}

fn only(text: &str) -> Problem {
    let mut found = problems(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

const GOOD: &str = r#"
// A comment.
@id("reads")
@text("Somebody reads")
@otherwise("no_assignment -")
@obligation("log  banner")
@requires("read:id.demo")
@durability("disk")
@priority("-3")
permit(principal, action, resource) when { true } unless { false };

@id("bars")
@text("Nobody here")
@reason("tenant_mismatch")
forbid(principal, action, resource) when { true };
"#;

#[test]
fn annotations_become_what_the_policy_says_of_itself() {
    let (set, metas, problems) = parse_policies(&[file("a.cedar", GOOD)]);
    assert_eq!(problems, []);
    let expected = PolicyMeta {
        id: "reads".into(),
        effect: PolicyEffect::Permit,
        text: Some("Somebody reads".into()),
        reason: None,
        otherwise: vec![Some(Reason::from("no_assignment")), None],
        obligations: vec!["log".into(), "banner".into()],
        requires: Some("read:id.demo".into()),
        durability: Some(Tier::Disk),
        priority: -3,
        file: "p/a.cedar".into(),
        line: 3,
    };
    assert_eq!(metas["reads"], expected);
    assert_eq!(metas["bars"].reason, Some(Reason::from("tenant_mismatch")));
    assert_eq!(metas["bars"].line, 12);
    let mut ids: Vec<String> = set.policies().map(|policy| policy.id().to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["bars", "reads"]);
}

#[test]
fn a_second_use_of_an_id_names_both_places() {
    let (one, two) = (file("a.cedar", GOOD), file("b.cedar", &format!("\n\n{GOOD}")));
    let (set, metas, problems) = parse_policies(&[one, two]);
    assert_eq!((set.num_of_policies(), metas.len(), problems.len()), (2, 2, 2));
    assert_eq!((problems[0].file.clone(), problems[0].line), (Some("p/b.cedar".into()), Some(5)));
    assert!(problems[0].hint.as_ref().unwrap().contains("p/a.cedar:3"));
}

#[test]
fn syntax_errors_of_every_file_have_place_line_and_hint() {
    let one = file("a.cedar", "permit(principal, action, resource)\nwhen { principal. };\n");
    let two = file("b.cedar", "permit(principal, action, resource) when { 'x' };");
    let (_, _, problems) = parse_policies(&[one, two]);
    let places: Vec<_> =
        problems.iter().map(|problem| (problem.file.clone().unwrap(), problem.line, problem.column)).collect();
    assert_eq!(places, [("p/a.cedar".into(), Some(2), Some(19)), ("p/b.cedar".into(), Some(1), Some(44))]);
    assert_eq!(problems[0].source_line.as_deref(), Some("when { principal. };"));
    assert!(problems.iter().all(|problem| problem.hint.is_some()), "{problems:#?}");
}

#[test]
fn every_annotation_that_does_not_fit_is_told_with_its_line() {
    let permit = "permit(principal, action, resource) when { true } when { true };";
    let forbid = "forbid(principal, action, resource);";
    for (annotations, policy, line, words) in [
        ("@text(\"t\")", permit, 1, "no `@id`"),
        ("@id(\"a b\")\n@text(\"t\")", permit, 1, "`a b` is not an id"),
        ("@id(\"a\")\n@text(\"\")", permit, 2, "0 characters"),
        ("@id(\"a\")\n@text(\"t\")\n@reson(\"x\")", permit, 3, "unknown annotation `@reson`"),
        ("@id(\"a\")\n@text(\"t\")", forbid, 1, "no `@reason`"),
        ("@id(\"a\")\n@text(\"t\")\n@reason(\"x\")", permit, 3, "a permit has no `@reason`"),
        ("@id(\"a\")\n@text(\"t\")\n@reason(\"No Way\")", forbid, 3, "not a reason code"),
        ("@id(\"a\")\n@text(\"t\")\n@reason(\"x\")\n@otherwise(\"x\")", forbid, 4, "a forbid has no `@otherwise`"),
        ("@id(\"a\")\n@text(\"t\")\n@otherwise(\"x y z\")", permit, 3, "names 3 codes for 2"),
        ("@id(\"a\")\n@text(\"t\")\n@otherwise(\"\")", permit, 3, "names 0 codes for 2"),
        ("@id(\"a\")\n@text(\"t\")\n@durability(\"dsk\")", permit, 3, "unknown durability"),
        ("@id(\"a\")\n@text(\"t\")\n@durability(\"remote\")", permit, 3, "unknown durability"),
        ("@id(\"a\")\n@text(\"t\")\n@priority(\"1.5\")", permit, 3, "`1.5` is not a priority"),
        ("@id(\"a\")\n@text(\"t\")\n@reason(\"x\")\n@requires(\"read\")", forbid, 4, "a forbid has no `@requires`"),
    ] {
        let problem = only(&format!("{annotations}\n{policy}"));
        assert!(problem.message.contains(words), "{words}: {problem}");
        assert_eq!(problem.line, Some(line), "{problem}");
        assert!(problem.hint.is_some() && problem.source_line.is_some(), "{problem}");
    }
    assert_eq!(
        only("@id(\"a\")@text(\"t\")@reson(\"x\")permit(principal,action,resource);").hint.unwrap(),
        "did you mean `@reason`?".replace('@', "")
    );
}

#[test]
fn one_code_of_otherwise_stands_for_every_clause() {
    let policy = "permit(principal, action, resource) when { true } unless { false } when { true };";
    assert_eq!(problems(&format!("@id(\"a\")@text(\"t\")@otherwise(\"role\"){policy}")), []);
    assert_eq!(problems(&format!("@id(\"a\")@text(\"t\")@otherwise(\"role - scope\"){policy}")), []);
}

#[test]
fn text_is_one_short_line() {
    let with = |text: &str| problems(&format!("@id(\"a\")@text(\"{text}\")permit(principal, action, resource);"));
    assert_eq!(with(&"ü".repeat(TEXT_CHARS_MAX)), []);
    assert_eq!(with(&"ü".repeat(TEXT_CHARS_MAX + 1)).len(), 1);
    assert_eq!(with("a\\nb").len(), 1);
}

#[test]
fn a_template_is_refused() {
    let problem = only("@id(\"a\")@text(\"t\")\npermit(principal == ?principal, action, resource);");
    assert!(problem.message.contains("template"), "{problem}");
}
