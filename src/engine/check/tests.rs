//! Tests of `check`.

use std::path::PathBuf;

use super::*;
use crate::engine::policies::parse_policies;

pub(super) fn file(name: &str, text: &str) -> TextFile {
    TextFile { path: PathBuf::from("p").join(name), name: format!("policies/{name}"), text: Arc::from(text) }
}

const SCHEMA: &str = r#"
entity Role; entity Tenant { active: Bool, owner: User };
entity User in [Role] { tenant?: Tenant, manager: User };
entity Note { tenant: Tenant, author: User, governing?: String };
type Ctx = { mfa?: Bool, purpose: String };
action "read";
action "read:text" in ["read"] appliesTo { principal: User, resource: Note, context: Ctx };
action "unused";
"#;

fn schema() -> Schema {
    Schema::from_cedarschema_str(SCHEMA).unwrap().0
}

fn validate(set: &PolicySet, metas: &BTreeMap<Arc<str>, PolicyMeta>, files: &[TextFile]) -> Vec<Problem> {
    let (schema, taxonomy) = (schema(), Taxonomy::default());
    validate_policies(
        set,
        metas,
        files,
        Vocabulary { schema: &schema, namespace: "", taxonomy: &taxonomy, reasons: None },
    )
}

fn findings(text: &str) -> Vec<Problem> {
    let files = [file("a.cedar", text)];
    let (set, metas, parsing) = parse_policies(&files);
    assert_eq!(parsing, []);
    sorted(validate(&set, &metas, &files)).0
}

fn forbid(condition: &str) -> String {
    format!("@id(\"a\")\n@text(\"t\")\n@reason(\"role\")\nforbid(principal, action, resource)\nwhen {{ {condition} }};")
}

fn only(text: &str) -> Problem {
    let mut found = findings(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn a_policy_that_fits_the_schema_has_no_findings() {
    assert_eq!(findings(&forbid("resource has governing && resource.governing == \"x\"")), []);
}

#[test]
fn a_forbid_that_touches_an_optional_attribute_without_has_is_told_how() {
    let problem = only(&forbid("resource.governing == \"x\""));
    assert!(problem.message.contains("optional attribute") && problem.message.contains("governing"), "{problem}");
    assert_eq!((problem.line, problem.column), (Some(5), Some(8)), "{problem}");
    assert!(problem.hint.unwrap().contains("has governing"));
}

#[test]
fn findings_have_file_line_column_and_nearest_name() {
    let problem = only(&forbid("resource.athor == principal"));
    assert_eq!((problem.file, problem.line, problem.column), (Some("p/a.cedar".into()), Some(5), Some(8)));
    assert_eq!(problem.source_line.as_deref(), Some("when { resource.athor == principal };"));
    assert!(problem.hint.unwrap().contains("`author`"));
    let problem = only(&forbid("action in Action::\"red\""));
    assert!(problem.hint.as_ref().unwrap().contains("read"), "{problem}");
}

#[test]
fn looking_further_than_a_slice_reaches_is_an_error() {
    let problem = only(&forbid("resource.tenant.owner.manager.manager == principal"));
    assert!(problem.message.contains("level") || problem.message.contains("dereference"), "{problem}");
    assert_eq!(problem.line, Some(5));
}

#[test]
fn a_policy_that_can_never_apply_is_an_error() {
    let problem = only(&forbid("principal is Note"));
    assert!(problem.message.contains("`a` can never apply"), "{problem}");
    assert_eq!((problem.severity, problem.line), (Severity::Error, Some(1)));
    let scoped = forbid("true").replace("action, resource", "action == Action::\"unused\", resource");
    assert!(!findings(&scoped).is_empty());
}

#[test]
fn findings_of_every_policy_come_sorted_and_a_level_is_checked_beside_an_error() {
    let (one, two) =
        (forbid("resource.tenant.owner.manager.manager == principal"), forbid("resource.athor == principal"));
    let files = [file("b.cedar", &one.replace("\"a\"", "\"b\"")), file("a.cedar", &two)];
    let (set, metas, _) = parse_policies(&files);
    let found = sorted(validate(&set, &metas, &files)).0;
    let names: Vec<_> = found.iter().map(|problem| problem.file.clone().unwrap()).collect();
    assert_eq!(names, [PathBuf::from("p/a.cedar"), PathBuf::from("p/b.cedar")], "{found:#?}");
}

fn lint(text: &str, reasons: Option<&Reasons>) -> Vec<Problem> {
    let files = [file("a.cedar", text)];
    let (_, metas, parsing) = parse_policies(&files);
    assert_eq!(parsing, []);
    let (schema, taxonomy) = (schema(), Taxonomy::default());
    lint_policies(&metas, &files, Vocabulary { schema: &schema, namespace: "", taxonomy: &taxonomy, reasons })
}

#[test]
fn a_reason_that_no_order_lists_is_told_with_the_nearest() {
    let reasons: Reasons =
        serde_saphyr::from_str("version: 1\norder: [tenant_mismatch]\nrefine: { no_referral: { otherwise: role } }")
            .unwrap();
    let with = |code: &str| forbid("true").replace("\"role\"", &format!("\"{code}\""));
    let found = lint(&with("tenant_missmatch"), Some(&reasons));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].line, Some(3));
    assert_eq!(found[0].hint.as_deref(), Some("did you mean `tenant_mismatch`?"));
    for known in ["tenant_mismatch", "no_referral", "role", "policy_error"] {
        assert_eq!(lint(&with(known), Some(&reasons)), [], "{known}");
    }
    assert_eq!(lint(&with("anything"), None), []);
    let permit = "@id(\"a\")@text(\"t\")\n@otherwise(\"- nope\")\npermit(principal, action, resource) when { true } when { true };";
    assert_eq!(lint(permit, Some(&reasons))[0].line, Some(2));
}

#[test]
fn a_requirement_names_an_action_that_exists() {
    let with = |requires: &str| {
        format!("@id(\"a\")@text(\"t\")\n@requires(\"{requires}\")\npermit(principal, action, resource);")
    };
    assert_eq!(lint(&with("read:text"), None), []);
    assert_eq!(lint(&with("read"), None), []);
    for unknown in ["red", "read:txt", ""] {
        let found = lint(&with(unknown), None);
        assert_eq!(found.len(), 1, "{unknown}");
        assert_eq!(found[0].line, Some(2));
    }
}

#[test]
fn a_policy_without_a_text_is_refused_where_reasons_are_explained_and_nowhere_else() {
    let files = [file("a.cedar", "@id(\"a\")\npermit(principal, action, resource);")];
    let (_, metas, parsing) = parse_policies(&files);
    assert_eq!(parsing, []);
    let (schema, taxonomy, explained) = (schema(), Taxonomy::default(), Reasons::default());
    let found = |reasons| {
        lint_policies(&metas, &files, Vocabulary { schema: &schema, namespace: "", taxonomy: &taxonomy, reasons })
    };
    assert_eq!(found(None), []);
    let [problem] = &found(Some(&explained))[..] else { panic!("{:?}", found(Some(&explained))) };
    assert!(problem.message.contains("no `@text`") && problem.line == Some(1), "{problem}");
}
