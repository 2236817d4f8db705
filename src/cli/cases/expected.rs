//! An evaluation against what a check expects.

use std::collections::BTreeSet;

use super::file::Check;
use crate::domain::{Evaluation, Remedy};

/// One thing that is not as expected, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Difference {
    pub(in crate::cli) what: &'static str,
    pub(in crate::cli) expected: String,
    pub(in crate::cli) got: String,
}

/// Every difference; none means that the check passed.
pub(in crate::cli) fn differences(check: &Check, got: &Evaluation) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |what: &'static str, expected: String, got: String| {
        if expected != got {
            found.push(Difference { what, expected, got });
        }
    };
    let reason = got.reason.as_ref().map_or("no reason", |reason| reason.as_str());
    if check.expect != got.decision {
        let got_words = if got.decision.is_allow() { "allow".to_owned() } else { format!("deny ({reason})") };
        compare("decision", check.expect.as_str().to_owned(), got_words);
        return found;
    }
    if let Some(expected) = &check.reason {
        compare("reason", expected.clone(), reason.to_owned());
    }
    let fields = got.fields.clone().unwrap_or_default();
    if let Some(expected) = &check.allow {
        compare("allow", listed(expected), listed(fields.allow.iter()));
    }
    if let Some(expected) = &check.mask {
        compare("mask", listed(expected), listed(fields.mask.keys()));
    }
    if let Some(expected) = &check.deny {
        let words = |(name, reason): (&String, &str)| format!("{name} ({reason})");
        let expected: BTreeSet<String> = expected.iter().map(|(name, reason)| words((name, reason))).collect();
        let denied: BTreeSet<String> =
            fields.deny.iter().map(|(name, reason)| words((name, reason.as_str()))).collect();
        compare("deny", listed(&expected), listed(&denied));
    }
    if let Some(expected) = &check.obligations {
        compare("obligations", listed(expected), listed(got.obligations.iter().map(|obligation| &*obligation.id)));
    }
    if let Some(expected) = &check.remedies {
        compare("remedies", listed(expected), listed(got.remedies.iter().map(remedy_kind)));
    }
    if let Some(expected) = &check.evidence {
        // An id is compared only where the case names one.
        let named: BTreeSet<String> = got
            .evidence
            .iter()
            .map(|evidence| {
                let whole = format!("{}/{}", evidence.kind, evidence.id);
                if expected.contains(&whole) { whole } else { evidence.kind.to_string() }
            })
            .collect();
        compare("evidence", listed(expected), listed(&named));
    }
    let missing: Vec<&String> =
        check.policies.iter().filter(|id| !got.policies.iter().any(|policy| *policy.id == ***id)).collect();
    if !missing.is_empty() {
        compare("policies", listed(missing), listed(got.policies.iter().map(|policy| &*policy.id)));
    }
    found
}

pub(in crate::cli) const fn remedy_kind(remedy: &Remedy) -> &'static str {
    match remedy {
        Remedy::BreakGlass { .. } => "break_glass",
        Remedy::StepUp { .. } => "step_up",
        Remedy::StateReason => "state_reason",
        Remedy::RequestAssignment => "request_assignment",
    }
}

/// Sorted, separated by blanks; `nothing` where there is nothing.
fn listed(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut words: Vec<String> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
    words.sort();
    words.dedup();
    if words.is_empty() { "nothing".to_owned() } else { words.join(" ") }
}
