//! Tests of `guard`.

use std::{path::PathBuf, sync::Arc};

use super::*;

fn file(text: impl Into<String>) -> TextFile {
    TextFile { path: PathBuf::from("p/a.cedar"), name: "policies/a.cedar".into(), text: Arc::from(text.into()) }
}

fn policy(condition: &str) -> String {
    format!("permit(principal, action, resource) when {{ {condition} }};")
}

/// The one problem of a file with one policy.
fn refusal(condition: &str) -> String {
    let problems = guard_policies(&[file(policy(condition))]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!((problems[0].file.clone(), problems[0].line), (Some("p/a.cedar".into()), Some(1)));
    problems[0].message.clone()
}

fn passes(text: &str) -> bool {
    guard_policies(&[file(text)]).is_empty()
}

#[test]
fn every_hostile_shape_is_refused_without_parsing() {
    let nested =
        |open: &str, close: &str| format!("{}true{}", open.repeat(10_000 / (open.len() + 1)), close.repeat(400));
    for (name, condition, limit) in [
        ("parentheses", nested("(", ")"), "nested deeper than 64"),
        ("sets", nested("[", "]"), "nested deeper than 64"),
        ("records", nested("{a: ", "}"), "nested deeper than 64"),
        ("not with parentheses", format!("{}true{}", "!(".repeat(200), ")".repeat(200)), "nested deeper than 64"),
        ("minus with parentheses", format!("{}1{} == 1", "-(".repeat(200), ")".repeat(200)), "nested deeper than 64"),
        ("if in else", format!("{}true", "if a then b else ".repeat(400)), "more than 64 `if`"),
        ("and", vec!["a"; 2000].join("&&"), "more than 300 operator"),
        ("or", vec!["a"; 2000].join("||"), "more than 300 operator"),
        ("plus", format!("{} == 1", vec!["1"; 2000].join("+")), "more than 300 operator"),
        ("attributes", format!("principal{}", ".a".repeat(2000)), "more than 300 operator"),
        ("calls", format!("principal{}", ".contains(1)".repeat(700)), "more than 300 operator"),
        ("nots", format!("{}true", "!".repeat(2000)), "more than 300 operator"),
    ] {
        let message = refusal(&condition);
        assert!(message.contains(limit), "{name}: {message}");
    }
}

#[test]
fn a_policy_beyond_its_size_is_refused_with_the_line_where_it_begins() {
    let long = format!("\n\n{}", policy(&format!("context.a == \"{}\"", "x".repeat(POLICY_BYTES_MAX))));
    let problems = guard_policies(&[file(long)]);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].line, Some(3));
    assert!(problems[0].message.contains("10000 bytes"));
    assert!(problems[0].source_line.as_ref().unwrap().chars().count() <= 201, "a long line is shown shortened");
}

#[test]
fn a_limit_is_met_exactly_and_broken_by_one_more() {
    let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    // The braces of the clause are one level.
    assert!(passes(&policy(&nested(NESTING_MAX - 1))));
    assert!(!passes(&policy(&nested(NESTING_MAX))));
    assert!(passes(&policy(&format!("{}true", "!".repeat(OPERATORS_MAX)))));
    assert!(!passes(&policy(&format!("{}true", "!".repeat(OPERATORS_MAX + 1)))));
    assert!(passes(&policy(&"if ".repeat(IFS_MAX))));
    assert!(!passes(&policy(&"if ".repeat(IFS_MAX + 1))));
    let sized = |bytes: usize| format!("{};", "x".repeat(bytes - 1));
    assert!(passes(&sized(POLICY_BYTES_MAX)));
    assert!(!passes(&sized(POLICY_BYTES_MAX + 1)));
    assert!(passes(&";".repeat(POLICIES_MAX)));
    assert!(!passes(&";".repeat(POLICIES_MAX + 1)));
}

#[test]
fn counts_start_anew_with_each_policy_but_not_with_each_file() {
    let most = policy(&format!("{}true", "!".repeat(OPERATORS_MAX)));
    assert!(passes(&most.repeat(5)));
    let half = ";".repeat(POLICIES_MAX / 2 + 1);
    assert_eq!(guard_policies(&[file(half.clone()), file(half.clone()), file(half)]).len(), 1);
}

#[test]
fn brackets_and_operators_in_strings_and_comments_weigh_nothing() {
    let brackets = "([{!&&||.".repeat(100);
    assert!(passes(&policy(&format!("context.a == \"{brackets} \\\" {brackets}\""))));
    assert!(passes(&format!("// {brackets} \"\n{}", policy("true"))));
    assert!(passes(&format!("@text(\"{brackets}\") {}", policy("true"))));
}

#[test]
fn nothing_hides_in_what_cedar_does_not_take_for_a_comment_or_a_string() {
    let deep = policy(&"(".repeat(100));
    // Cedar ends a comment at a carriage return.
    assert!(!passes(&format!("// c\r{deep}")));
    assert!(!passes(&format!("// \"\n{deep}")));
    assert!(!passes(&format!("@text(\"//\") {deep}")));
    assert!(!passes(&format!("@text(\"\\\\\") {deep}")));
    // A closing bracket that closes nothing makes no room.
    assert!(!passes(&policy(&"([}".repeat(100))));
}

#[test]
fn a_schema_is_refused_for_nested_sets_and_records() {
    let deep = |open: &str, close: &str| format!("entity A {{ a: {}Long{} }};", open.repeat(200), close.repeat(200));
    for text in [deep("Set<", ">"), deep("{a: ", "}")] {
        let problems = guard_schema(&file(text));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("nested deeper than 64"));
    }
    assert!(guard_schema(&file("type A = Set<Set<Long>>;\n".repeat(1000))).is_empty());
}

/// What the guard lets through parses, validates and evaluates on the stacks that the program uses.
#[test]
fn the_deepest_policy_that_passes_parses_on_the_big_stack() {
    let deepest = policy(&format!("{}true{}", "!(".repeat(NESTING_MAX - 1), ")".repeat(NESTING_MAX - 1)));
    let longest = policy(&vec!["context.a"; 60].join(" || "));
    for text in [deepest, longest] {
        assert!(passes(&text));
        let parsed = on_big_stack(|| text.parse::<cedar_policy::PolicySet>().map_or(0, |set| set.num_of_policies()));
        assert_eq!(parsed.unwrap(), 1);
    }
}

#[test]
fn a_panic_on_the_big_stack_is_a_problem_and_no_panic() {
    let problem = on_big_stack(|| panic!("on purpose")).unwrap_err();
    assert!(problem.to_string().contains("stopped"));
}
