//! Expressions in every shape that plans print them in.

use super::*;

fn columns(condition: &str) -> Vec<String> {
    tied(condition, "t").into_iter().map(|tied| format!("{} {:?}", tied.column, tied.tie)).collect()
}

#[test]
fn a_column_that_must_equal_the_key_is_found_in_every_shape_that_is_printed() {
    let plain = "id Text { is_cast: false }";
    assert_eq!(columns("(t.id = $1)"), [plain]);
    assert_eq!(columns("($1 = t.id)"), [plain]);
    assert_eq!(columns("((t.kind = 'a AND b'::text) AND (t.id = $1))"), [plain]);
    assert_eq!(columns("((t.id)::text = $1)"), ["id Text { is_cast: true }"]);
    assert_eq!(columns("(t.id = ($1)::uuid)"), ["id Uuid"]);
    assert_eq!(columns("((t.id = ($1)::bigint) AND t.open)"), ["id Integer"]);
    assert_eq!(columns("(t.\"Odd \"\"name\" = $1)"), ["Odd \"name Text { is_cast: false }"]);
}

#[test]
fn whatever_else_ties_nothing() {
    for condition in [
        "((t.id = $1) OR t.open)",
        "(NOT (t.id = $1))",
        "(s.id = $1)",
        "(t.id = $2)",
        "(t.id <> $1)",
        "(t.id >= $1)",
        "(lower(t.id) = $1)",
        "(t.id = lower($1))",
        "(t.id = ($1)::citext)",
        "((t.id)::uuid = ($1)::uuid)",
        "(t.id = ANY ($1))",
        "(t.id OPERATOR(public.=) $1)",
        "((t.id)::text = $1) = false",
        "((t.id COLLATE \"de\") = $1)",
        "CASE WHEN (t.id = $1) THEN true ELSE false END",
        "((t.id = $1) IS NOT TRUE)",
        "(t.a = 'it''s t.id = $1')",
        "(t.id = $1",
        "(id = $1)",
    ] {
        assert_eq!(columns(condition), Vec::<String>::new(), "{condition}");
    }
}

fn used(expression: &str) -> Used {
    let mut used = Used::default();
    used.add(expression);
    used
}

#[test]
fn functions_operators_and_types_are_named() {
    let found = used("(COALESCE(lower(t.a), public.\"F\"(t.b)) || ((t.c)::character varying(10))::text)");
    assert_eq!(found.functions.iter().collect::<Vec<_>>(), ["F", "lower"]);
    assert_eq!(found.operators.iter().collect::<Vec<_>>(), ["||"]);
    assert_eq!(found.types.iter().collect::<Vec<_>>(), ["character", "text", "varying"]);
    assert_eq!(found.strange, None);
    assert!(!found.other_parameters);
}

#[test]
fn what_answers_by_the_moment_or_is_not_understood_is_strange() {
    for expression in ["(t.a < CURRENT_TIMESTAMP)", "(t.a OPERATOR(public.@) $1)", "'open", "XMLPARSE(t.a)"] {
        assert!(used(expression).strange.is_some(), "{expression}");
    }
    assert_eq!(used("(t.at < now())").functions.iter().collect::<Vec<_>>(), ["now"]);
    assert!(used("(t.a = $0)").other_parameters);
    assert_eq!(used("'now()'::text").functions.len(), 0);
    assert!(used("((t.a)::boolean AND f(t.b))").functions.contains("f"));
}

#[test]
fn the_text_of_a_column_is_known_through_a_cast() {
    assert_eq!(text_of("t.id"), Some(("t".to_owned(), "id".to_owned())));
    assert_eq!(text_of("(t.id)::text"), Some(("t".to_owned(), "id".to_owned())));
    assert_eq!(text_of("lower(t.id)"), None);
}
