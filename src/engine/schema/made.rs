//! The actions that field groups make, as text that Cedar reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use super::Classes;
use crate::engine::{
    guard::{Piece, Pieces},
    taxonomy::Taxonomy,
    taxonomy_file::{FieldsFile, MASK},
};

/// Cedar schema text of every action that the field groups make.
///
/// For a verb `v`: `v` itself, `v:class` in it for each class that has a group `v` can be asked on, and `v:group` in
/// those, or in `v` where it has none.
/// A plain action stands alone unless the file puts it `in` others.
pub(super) fn schema_actions<'f>(fields: &'f FieldsFile, namespace: &'f str, classes: Classes<'f>) -> Actions<'f> {
    let taxonomy = &fields.taxonomy;
    let named: Option<BTreeSet<&str>> = match classes {
        Classes::Every => None,
        Classes::NamedIn(files) => {
            Some(files.iter().flat_map(|file| Pieces::new(&file.text)).filter_map(in_quotes).collect())
        }
    };
    let mut out = Actions::new(fields, namespace, named);
    for (verb, asked) in asked_verbs(taxonomy) {
        out.group(&verb, &[]);
        let mut classes_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (class, members) in &taxonomy.classes {
            let action = format!("{verb}:{class}");
            if out.is_named(&action) && members.iter().any(|group| asked.contains_key(group)) {
                out.group(&action, &[verb.to_string()]);
                for group in members {
                    classes_of.entry(group).or_default().push(action.clone());
                }
            }
        }
        let mut alike: Vec<Alike<'_>> = Vec::new();
        for (group, kinds) in &asked {
            // A class is in the verb already: saying so again for each of its members takes Cedar as long as the rest.
            let parents = classes_of.remove(&**group).unwrap_or_else(|| vec![verb.to_string()]);
            let name = format!("{verb}:{group}");
            match alike.iter_mut().find(|known| known.parents == parents && known.kinds == kinds) {
                Some(known) if out.named.is_some() => known.names.push(name),
                Some(_) | None => alike.push(Alike { names: vec![name], parents, kinds }),
            }
        }
        for Alike { names, parents, kinds } in alike {
            out.actions(&names, &parents, kinds);
        }
    }
    for (name, action) in &taxonomy.actions {
        let parents: Vec<_> = fields.memberships.get(name).into_iter().flatten().map(ToString::to_string).collect();
        out.actions(&[name.to_string()], &parents, &action.on.keys().cloned().collect());
    }
    out
}

/// Actions of one verb that differ in nothing but their names.
struct Alike<'a> {
    names: Vec<String>,
    parents: Vec<String>,
    kinds: &'a BTreeSet<Arc<str>>,
}

fn in_quotes<'t>((_, piece): (usize, Piece<'t>)) -> Option<&'t str> {
    match piece {
        Piece::Quoted(text) => Some(text),
        _ => None,
    }
}

/// Every action id that the field groups can make, classes included, for the nearest one to a mistyped id.
pub(in crate::engine) fn action_names(taxonomy: &Taxonomy) -> Vec<String> {
    let behind = || taxonomy.groups.keys().chain(taxonomy.classes.keys());
    let mut names: Vec<String> = taxonomy.actions.keys().map(ToString::to_string).collect();
    for (verb, asked) in asked_verbs(taxonomy) {
        let is_asked = |name: &&Arc<str>| {
            asked.contains_key(*name)
                || taxonomy
                    .classes
                    .get(*name)
                    .is_some_and(|members| members.iter().any(|group| asked.contains_key(group)))
        };
        names.extend(behind().filter(is_asked).map(|name| format!("{verb}:{name}")));
        names.push(verb.to_string());
    }
    names
}

/// Group -> types that a verb may be asked on.
type Asked = BTreeMap<Arc<str>, BTreeSet<Arc<str>>>;

/// Every verb with its groups, [`MASK`] after those that mask.
fn asked_verbs(taxonomy: &Taxonomy) -> Vec<(Arc<str>, Asked)> {
    let mut masked = Asked::new();
    let mut verbs = Vec::new();
    for (verb, rules) in &taxonomy.verbs {
        let mut asked = Asked::new();
        for (group, meaning) in &taxonomy.groups {
            let kinds: BTreeSet<Arc<str>> = taxonomy
                .types
                .iter()
                .filter(|(kind, _)| rules.on.as_ref().is_none_or(|on| on.contains(kind)))
                .filter(|(_, fields)| {
                    let is_own = fields.groups.iter().any(|(own, _)| own == group);
                    let is_governing = meaning.governs && fields.governed_by.is_some();
                    let is_header = fields.header.is_some()
                        && taxonomy
                            .header
                            .as_ref()
                            .is_some_and(|header| header.groups.contains(group) && header.verbs.contains(verb));
                    rules.any_group || is_own || is_governing || is_header
                })
                .map(|(kind, _)| Arc::clone(kind))
                .collect();
            if !kinds.is_empty() {
                asked.insert(Arc::clone(group), kinds);
            }
        }
        if rules.masks {
            for (group, kinds) in &asked {
                masked.entry(Arc::clone(group)).or_default().extend(kinds.iter().cloned());
            }
        }
        verbs.push((Arc::clone(verb), asked));
    }
    if !masked.is_empty() {
        verbs.push((Arc::from(MASK), masked));
    }
    verbs
}

/// The actions under construction.
pub(super) struct Actions<'f> {
    /// A declaration a line.
    lines: String,
    /// The same with one action for all that are alike.
    alike: String,
    /// The names of those that can be asked.
    pub(super) asked: Vec<String>,
    fields: &'f FieldsFile,
    /// What policies name; `None` where the text is for people.
    pub(super) named: Option<BTreeSet<&'f str>>,
    namespace: &'f str,
}

impl<'f> Actions<'f> {
    fn new(fields: &'f FieldsFile, namespace: &'f str, named: Option<BTreeSet<&'f str>>) -> Self {
        let (lines, alike, asked) = (String::new(), String::new(), Vec::new());
        Self { lines, alike, asked, fields, named, namespace: namespace.trim_end_matches("::") }
    }

    pub(super) fn text(&self) -> String {
        self.within_namespace(&self.lines)
    }

    /// The text where one action stands for all that are alike.
    pub(super) fn alike(&self) -> String {
        self.within_namespace(&self.alike)
    }

    /// The text in two parts of some one length: Cedar takes longer over it than over all else that a start reads, and
    /// two threads read it in half the time.
    pub(super) fn halves(&self) -> [String; 2] {
        let half = self.lines.len().div_euclid(2);
        let end = self.lines.match_indices('\n').map(|(at, _)| at.saturating_add(1)).find(|end| *end >= half);
        let (one, other) = self.lines.split_at_checked(end.unwrap_or_default()).unwrap_or((&self.lines, ""));
        [self.within_namespace(one), self.within_namespace(other)]
    }

    fn within_namespace(&self, lines: &str) -> String {
        if self.namespace.is_empty() {
            return lines.to_owned();
        }
        format!("namespace {} {{\n{lines}}}\n", self.namespace)
    }

    fn line(&mut self, line: &str) {
        for text in [&mut self.lines, &mut self.alike] {
            text.push_str(line);
            text.push('\n');
        }
    }

    /// Whether a policy names the action, or a person may want to.
    fn is_named(&self, action: &str) -> bool {
        self.named.as_ref().is_none_or(|named| named.contains(action))
    }

    fn indent(&self) -> &'static str {
        if self.namespace.is_empty() { "" } else { "  " }
    }

    fn group(&mut self, name: &str, parents: &[String]) {
        let (indent, within) = (self.indent(), within(parents));
        self.line(&format!("{indent}action \"{name}\"{within};"));
    }

    /// Actions that differ in nothing but their names.
    fn actions(&mut self, names: &[String], parents: &[String], kinds: &BTreeSet<Arc<str>>) {
        let (indent, within) = (self.indent(), within(parents));
        let (principal, context) = (&self.fields.principal, &self.fields.context);
        let kinds: Vec<&str> = kinds.iter().map(|kind| &**kind).collect();
        let kinds = kinds.join(", ");
        let applies = format!("{{ principal: {principal}, resource: [{kinds}], context: {context} }}");
        // Writing to a `String` cannot fail.
        let declare = |text: &mut String, names: &str| {
            let _infallible = writeln!(text, "{indent}action {names}{within} appliesTo {applies};");
        };
        match &self.named {
            None => names.iter().for_each(|name| declare(&mut self.lines, &quoted([name]))),
            // One declaration: Cedar takes long over each type that it says.
            Some(named) => {
                declare(&mut self.lines, &quoted(names));
                let (own, others): (Vec<_>, Vec<_>) = names.iter().partition(|name| named.contains(name.as_str()));
                declare(&mut self.alike, &quoted(own.into_iter().chain(others.first().copied())));
            }
        }
        self.asked.extend_from_slice(names);
    }
}

fn quoted<'n>(names: impl IntoIterator<Item = &'n String>) -> String {
    names.into_iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn within(parents: &[String]) -> String {
    if parents.is_empty() {
        return String::new();
    }
    format!(" in [{}]", quoted(parents))
}
