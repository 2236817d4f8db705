//! What a policy reads by name. Where nothing of that name differs between two worlds, it says the same in both.
//!
//! An upper bound: a name counts wherever it stands in the policy, whatever it is an attribute of.

use std::{collections::BTreeSet, sync::Arc};

use cedar_policy::Policy;
use serde_json::Value as Json;

/// Names of attributes, of entities and of the context alike.
pub type Names = BTreeSet<Arc<str>>;

/// The names that one policy reads; `None` where that is not known.
#[derive(Debug)]
pub(super) struct Reads(Option<Names>);

impl Reads {
    pub(super) fn of(policy: &Policy) -> Self {
        let Ok(json) = policy.to_json() else { return Self(None) };
        let mut names = Some(Names::new());
        collect(&json, &mut names);
        Self(names)
    }

    /// Of a policy of which nothing is known.
    pub(super) const fn unknown() -> Self {
        Self(None)
    }

    /// Whether it may read one of `names`.
    pub(super) fn any(&self, names: &Names) -> bool {
        self.0.as_ref().is_none_or(|reads| !reads.is_disjoint(names))
    }
}

/// Cedar's JSON form names an attribute under `attr`, in `a.b` and in `a has b`; several under `attrs`. A tag is named by
/// whatever an expression gives, and whoever compares the context as a whole reads all of it. An entity is compared by its
/// uid, and a record of it is come by through a name.
fn collect(json: &Json, names: &mut Option<Names>) {
    match json {
        Json::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("attr" | "attrs", Json::String(_) | Json::Array(_)) => named(value, names),
                    ("left", Json::Object(left)) if fields.contains_key("attr") && is_context(left) => {}
                    ("getTag" | "hasTag", _) => *names = None,
                    ("Var", Json::String(name)) if name == "context" => *names = None,
                    _ => collect(value, names),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn is_context(json: &serde_json::Map<String, Json>) -> bool {
    json.len() == 1 && json.get("Var").and_then(Json::as_str) == Some("context")
}

fn named(json: &Json, names: &mut Option<Names>) {
    match json {
        Json::String(name) => {
            if let Some(names) = names {
                names.insert(name.as_str().into());
            }
        }
        Json::Array(items) => items.iter().for_each(|item| named(item, names)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => *names = None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(policy: &str) -> Option<Vec<String>> {
        let policy = policy.parse().unwrap();
        Reads::of(&policy).0.map(|names| names.iter().map(|name| name.to_string()).collect())
    }

    #[test]
    fn every_name_counts_wherever_it_stands() {
        let policy = r#"
            permit(principal in Role::"nurse", action, resource)
            when { principal.level > 2 && context.session.mfa } unless { resource has owner.name }
            when { [principal.a, {"b": resource["c d"]}.b].contains(if context has e then 1 else 2) }
            when { principal.f like "*attr*" };
        "#;
        let wanted = ["a", "b", "c d", "e", "f", "level", "mfa", "name", "owner", "session"];
        assert_eq!(reads(policy).unwrap(), wanted);
        assert_eq!(reads("permit(principal, action, resource);").unwrap(), [""; 0]);
    }

    #[test]
    fn a_name_as_a_key_or_as_text_is_no_reading_and_a_tag_may_be_any() {
        assert_eq!(
            reads(r#"permit(principal, action, resource) when { {"attr": "x"} == {"y": "attr"} };"#).unwrap(),
            [""; 0]
        );
        let tagged = reads("permit(principal, action, resource) when { principal.hasTag(context.which) };");
        assert_eq!(tagged, None);
        for whole in [r#"{"a": context} == {"a": {"b": 1}}"#, "[context].contains(resource.c)", "context == resource.c"]
        {
            assert_eq!(reads(&format!("permit(principal, action, resource) when {{ {whole} }};")), None, "{whole}");
        }
        assert!(Reads(tagged.map(|_| Names::new())).any(&Names::new()), "what is not known reads everything");
    }

    #[test]
    fn policies_are_told_apart_by_the_names_they_share_with_a_change() {
        let reads = Reads::of(&"permit(principal, action, resource) when { principal.level > 2 };".parse().unwrap());
        assert!(reads.any(&Names::from(["level".into(), "other".into()])));
        assert!(!reads.any(&Names::from(["other".into()])) && !reads.any(&Names::new()));
    }
}
