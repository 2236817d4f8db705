//! Which groups a grant opens: as few as the request names, and never one that the rules do not list.

use std::sync::Arc;

use super::{GrantReason, GrantRules};

/// The groups of a grant for `reason`; `named` are those that the request asks for instead of the default ones.
///
/// # Errors
///
/// The first name that no grant for this reason may open.
pub fn opened(rules: &GrantRules, reason: &GrantReason, named: Option<&[String]>) -> Result<Vec<Arc<str>>, String> {
    let mut groups: Vec<Arc<str>> = rules.always.clone();
    let mut add = |group: &Arc<str>| {
        if !groups.contains(group) {
            groups.push(group.clone());
        }
    };
    match named {
        None => rules.default.iter().chain(&reason.opens).for_each(&mut add),
        Some(named) => {
            for name in named {
                let mut known = rules.always.iter().chain(&rules.default).chain(&rules.by_request).chain(&reason.opens);
                add(known.find(|group| ***group == **name).ok_or_else(|| name.clone())?);
            }
        }
    }
    Ok(groups)
}
