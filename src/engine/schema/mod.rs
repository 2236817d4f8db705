//! The schema of a bundle: what its author wrote, and the actions made from the field groups.

mod made;
use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::{CedarSchemaError, Schema, SchemaFragment};
use miette::Diagnostic;

use super::{
    finding::{problem_of, problems_of},
    guard::{Piece, Pieces, beside},
    nearest::suggest,
    problem::{Problem, Severity},
    schema_shape::SchemaShape,
    source::TextFile,
    taxonomy_file::FieldsFile,
};
pub(super) use made::action_names;
use made::schema_actions;

/// A schema that policies can be validated against.
#[derive(Clone, Debug)]
pub struct BuiltSchema {
    pub schema: Schema,
    /// Prefix of entity types and actions, `""` or `"Ns::"`.
    pub namespace: Arc<str>,
    /// The written text and the generated one, as `check --print-schema` shows it.
    pub text: String,
    /// What it says of types and contexts.
    pub shape: SchemaShape,
    pub warnings: Vec<Problem>,
    /// What was written, and one made action for all that policies cannot tell apart; `None` where none was made.
    alike: Option<(SchemaFragment, String)>,
}

impl BuiltSchema {
    /// A schema under which policies are valid exactly when they are under the whole one.
    ///
    /// Cedar types a policy for each action. Of those that have the same groups, types and context and that no policy
    /// names, one stands for all: no expression can come out differently for another.
    ///
    /// # Errors
    ///
    /// What Cedar says of it, which it does not of a part of a schema that it took.
    pub fn for_validation(&self) -> Result<Schema, Vec<Problem>> {
        let Some((written, made)) = &self.alike else { return Ok(self.schema.clone()) };
        let refused = |error: &dyn std::error::Error| unreadable(format!("the schema cannot be validated by: {error}"));
        let made = SchemaFragment::from_cedarschema_str(made).map_err(|error| refused(&error))?.0;
        Schema::from_schema_fragments([written.clone(), made]).map_err(|error| refused(&error))
    }
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
        let shape = SchemaShape::from_fragment(written).map_err(unreadable)?;
        let text = base.text.to_string();
        return Ok(BuiltSchema { schema: alone, namespace, text, shape, warnings, alike: None });
    };
    let missing = undeclared(&alone, &namespace, file, fields);
    if !missing.is_empty() {
        return Err(missing);
    }
    let made = schema_actions(fields, &namespace, classes);
    let of_fields = |error: &dyn Diagnostic| {
        let help = error.help().map(|help| help.to_string());
        let mut problem =
            Problem::error(format!("the actions made from the field groups do not fit the schema: {error}"));
        problem.hint =
            help.or_else(|| Some(format!("it must declare `{}` and `{}`", fields.principal, fields.context)));
        vec![problem.in_file(&file.path)]
    };
    let [one, other] = made.halves();
    let read = |text: &str| {
        let read = SchemaFragment::from_cedarschema_str(text).map_err(|error| of_fields(&error));
        read.map(|(fragment, _)| fragment)
    };
    let (other, one) = beside(|| read(&other), || read(&one)).map_err(|problems| problems.0)?;
    let schema = Schema::from_schema_fragments([written.clone(), one?, other?]).map_err(|error| of_fields(&error))?;
    let text = joined(base, &namespace, &format!("\n// Made from {}.\n\n", file.name), &made.text());
    let names = made.asked.iter().map(String::as_str);
    let shape = SchemaShape::with_actions(written.clone(), namespace.trim_end_matches("::"), &fields.context, names);
    let alike = made.named.is_some().then(|| (written, made.alike()));
    Ok(BuiltSchema { schema, namespace, text, shape: shape.map_err(unreadable)?, warnings, alike })
}

fn unreadable(cause: String) -> Vec<Problem> {
    vec![Problem::error(cause)]
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

#[cfg(test)]
mod tests;
