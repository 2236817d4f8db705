//! The schema of a bundle: what its author wrote, and the actions made from the field groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use cedar_policy::{CedarSchemaError, Schema, SchemaFragment};
use miette::Diagnostic;

use super::{
    finding::{problem_of, problems_of},
    guard::{Piece, Pieces},
    nearest::suggest,
    problem::{Problem, Severity},
    source::TextFile,
    taxonomy::Taxonomy,
    taxonomy_file::{FieldsFile, MASK},
};

/// A schema that policies can be validated against.
#[derive(Clone, Debug)]
pub struct BuiltSchema {
    pub schema: Schema,
    /// Prefix of entity types and actions, `""` or `"Ns::"`.
    pub namespace: Arc<str>,
    /// The written text and the generated one, as `check --print-schema` shows it.
    pub text: String,
    pub warnings: Vec<Problem>,
}

/// Which classes of groups become actions.
///
/// A matrix makes hundreds of them, policies name a few, and Cedar takes longer over the others than over all the rest
/// of a start. Leaving out what no policy names changes no decision.
#[derive(Clone, Copy, Debug)]
pub enum Classes<'p> {
    /// All, as a person wants to see them.
    Every,
    /// Those that a string in one of these policy files names (`"read:clinical"`).
    NamedIn(&'p [TextFile]),
}

/// Builds the schema. Call [`super::guard::guard_schema`] first, and this on a big stack.
///
/// # Errors
///
/// Cedar's findings in the written text with their places; types and attributes of the fields file that it does not
/// declare.
pub fn build_schema(
    base: &TextFile,
    fields: Option<(&TextFile, &FieldsFile)>,
    classes: Classes<'_>,
) -> Result<BuiltSchema, Vec<Problem>> {
    let (written, warnings) = parse(base)?;
    // By itself first: whatever is wrong with it is its author's, not the generator's.
    let alone = Schema::from_schema_fragments([written.clone()]).map_err(|error| problems_of(&error, base))?;
    let namespace = namespace(&written, base, fields.is_some())?;
    let Some((file, fields)) = fields else {
        return Ok(BuiltSchema { schema: alone, namespace, text: base.text.to_string(), warnings });
    };
    let missing = undeclared(&alone, &namespace, file, fields);
    if !missing.is_empty() {
        return Err(missing);
    }
    let generated = schema_actions(fields, &namespace, classes);
    let of_fields = |error: &dyn Diagnostic| {
        let help = error.help().map(|help| help.to_string());
        let mut problem =
            Problem::error(format!("the actions made from the field groups do not fit the schema: {error}"));
        problem.hint =
            help.or_else(|| Some(format!("it must declare `{}` and `{}`", fields.principal, fields.context)));
        vec![problem.in_file(&file.path)]
    };
    let made = SchemaFragment::from_cedarschema_str(&generated).map_err(|error| of_fields(&error))?.0;
    let schema = Schema::from_schema_fragments([written, made]).map_err(|error| of_fields(&error))?;
    let text = joined(base, &namespace, &format!("\n// Made from {}.\n\n", file.name), &generated);
    Ok(BuiltSchema { schema, namespace, text, warnings })
}

fn parse(base: &TextFile) -> Result<(SchemaFragment, Vec<Problem>), Vec<Problem>> {
    let (fragment, warnings) = SchemaFragment::from_cedarschema_str(&base.text).map_err(|error| match &error {
        CedarSchemaError::Parse(error) => problems_of(error, base),
        other => problems_of(other, base),
    })?;
    let warnings =
        warnings.map(|warning| Problem { severity: Severity::Warning, ..problem_of(&warning, base) }).collect();
    Ok((fragment, warnings))
}

fn namespace(written: &SchemaFragment, base: &TextFile, must_be_one: bool) -> Result<Arc<str>, Vec<Problem>> {
    let mut named: Vec<String> = written.namespaces().flatten().map(|namespace| namespace.to_string()).collect();
    named.sort();
    named.dedup();
    match named.as_slice() {
        [one] => Ok(Arc::from(format!("{one}::"))),
        [_, _, ..] if must_be_one => {
            let message = format!("the schema has {} namespaces: {}", named.len(), named.join(", "));
            let hint = "actions are made from the field groups in one namespace: keep one";
            Err(vec![Problem::error(message).in_file(&base.path).hint(hint)])
        }
        _ => Ok(Arc::from("")),
    }
}

/// The written and the generated text as one that Cedar reads: it does not let a namespace be opened twice.
fn joined(base: &TextFile, namespace: &str, heading: &str, generated: &str) -> String {
    let written = base.text.trim_end();
    let mut depth = 0_usize;
    let end_of_namespace = Pieces::new(written).skip_while(|(_, piece)| *piece != Piece::Word("namespace")).find(
        |(_, piece)| match piece {
            Piece::Open(b'{') => {
                depth = depth.saturating_add(1);
                false
            }
            Piece::Close(b'}') => {
                depth = depth.saturating_sub(1);
                depth == 0
            }
            _ => false,
        },
    );
    match end_of_namespace {
        Some((end, _)) if !namespace.is_empty() => {
            let (before, after) = written.split_at_checked(end).unwrap_or((written, ""));
            let actions: String =
                generated.lines().filter(|line| line.starts_with(' ')).map(|line| format!("{line}\n")).collect();
            format!("{}\n{heading}{actions}{after}\n", before.trim_end())
        }
        _ => format!("{written}\n{heading}{generated}"),
    }
}

/// Types and attributes that the fields file speaks of and the schema does not declare.
fn undeclared(schema: &Schema, namespace: &str, file: &TextFile, fields: &FieldsFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    let declared: BTreeMap<String, _> =
        schema.as_ref().entity_types().map(|kind| (kind.name().to_string(), kind)).collect();
    let short = || declared.keys().map(|name| name.strip_prefix(namespace).unwrap_or(name));
    let line_of = |name: &Arc<str>| fields.type_lines.get(name).copied().unwrap_or(1);
    if !declared.contains_key(&format!("{namespace}{}", fields.principal)) {
        let message = format!("the schema declares no entity type `{}` for principals", fields.principal);
        problems.push(Problem::error(message).in_file(&file.path).hint(suggest(&fields.principal, short())));
    }
    for (name, kind) in &fields.taxonomy.types {
        let Some(declared) = declared.get(&format!("{namespace}{name}")) else {
            let message = format!("the schema declares no entity type `{name}`");
            problems.push(file.error_on(line_of(name), None, message).hint(suggest(name, short())));
            continue;
        };
        for attribute in [&kind.governed_by, &kind.header].into_iter().flatten() {
            if declared.attr(attribute).is_none() {
                let message = format!("`{name}` has no attribute `{attribute}` in the schema");
                let hint = "declare it there, or name another one here";
                problems.push(file.error_on(line_of(name), None, message).hint(hint));
            }
        }
    }
    problems
}

/// Cedar schema text of every action that the field groups make.
///
/// For a verb `v`: `v` itself, `v:class` in it for each class that has a group `v` can be asked on, and `v:group` in
/// those, or in `v` where it has none.
/// A plain action stands alone unless the file puts it `in` others.
pub fn schema_actions(fields: &FieldsFile, namespace: &str, classes: Classes<'_>) -> String {
    let taxonomy = &fields.taxonomy;
    let named: Option<BTreeSet<&str>> = match classes {
        Classes::Every => None,
        Classes::NamedIn(files) => {
            Some(files.iter().flat_map(|file| Pieces::new(&file.text)).filter_map(in_quotes).collect())
        }
    };
    let is_wanted = |action: &str| named.as_ref().is_none_or(|named| named.contains(action));
    let mut out = Actions { text: String::new(), fields, indent: if namespace.is_empty() { "" } else { "  " } };
    let name = namespace.trim_end_matches("::");
    if !name.is_empty() {
        out.line(format_args!("namespace {name} {{"));
    }
    for (verb, asked) in asked_verbs(taxonomy) {
        out.group(&verb, &[]);
        let mut classes_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (class, members) in &taxonomy.classes {
            let action = format!("{verb}:{class}");
            if is_wanted(&action) && members.iter().any(|group| asked.contains_key(group)) {
                out.group(&action, &[verb.to_string()]);
                for group in members {
                    classes_of.entry(group).or_default().push(action.clone());
                }
            }
        }
        for (group, kinds) in &asked {
            // A class is in the verb already: saying so again for each of its members takes Cedar as long as the rest.
            let parents = classes_of.remove(&**group).unwrap_or_else(|| vec![verb.to_string()]);
            out.action(&format!("{verb}:{group}"), &parents, kinds);
        }
    }
    for (name, action) in &taxonomy.actions {
        let parents: Vec<_> = fields.memberships.get(name).into_iter().flatten().map(ToString::to_string).collect();
        out.action(name, &parents, &action.on.keys().cloned().collect());
    }
    if !name.is_empty() {
        out.text.push_str("}\n");
    }
    out.text
}

fn in_quotes<'t>((_, piece): (usize, Piece<'t>)) -> Option<&'t str> {
    match piece {
        Piece::Quoted(text) => Some(text),
        _ => None,
    }
}

/// Every action id that the field groups can make, classes included, for the nearest one to a mistyped id.
pub(super) fn action_names(taxonomy: &Taxonomy) -> Vec<String> {
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

struct Actions<'f> {
    text: String,
    fields: &'f FieldsFile,
    indent: &'static str,
}

impl Actions<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let _infallible = writeln!(self.text, "{line}");
    }

    fn group(&mut self, name: &str, parents: &[String]) {
        let (indent, within) = (self.indent, within(parents));
        self.line(format_args!("{indent}action \"{name}\"{within};"));
    }

    fn action(&mut self, name: &str, parents: &[String], kinds: &BTreeSet<Arc<str>>) {
        let (indent, within) = (self.indent, within(parents));
        let (principal, context) = (&self.fields.principal, &self.fields.context);
        let kinds: Vec<&str> = kinds.iter().map(|kind| &**kind).collect();
        let kinds = kinds.join(", ");
        let applies = format!("{{ principal: {principal}, resource: [{kinds}], context: {context} }}");
        self.line(format_args!("{indent}action \"{name}\"{within} appliesTo {applies};"));
    }
}

fn within(parents: &[String]) -> String {
    if parents.is_empty() {
        return String::new();
    }
    let quoted: Vec<_> = parents.iter().map(|parent| format!("\"{parent}\"")).collect();
    format!(" in [{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests;
