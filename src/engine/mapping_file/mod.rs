//! The mapping file: read, resolved against the schema and the field groups, and typed.
//!
//! Everything that can be wrong without a database is found here, all at once and with its place; whether the columns
//! exist is for `entities` to find out. The format is that of `schemas/clinic.entities.yaml`.

mod columns;
mod entity;
mod filter;
mod node;
mod relation;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use super::{problem::Problems, schema_shape::SchemaShape, taxonomy::Taxonomy};
use crate::domain::mapping::{CellKind, Mapping, Tenancy};
use node::{Fields, Node, Place, Report, Yaml};

pub(in crate::engine) use node::nearest;

/// What a mapping file says.
#[derive(Clone, Debug, PartialEq)]
pub struct MappingFile {
    pub mapping: Mapping,
    /// Context keys a caller may say, dotted (`session.mfa`).
    pub caller_context: BTreeSet<Arc<str>>,
}

/// Reads the mapping `text` of `file`.
///
/// # Errors
///
/// Every problem of the file, each with its line.
pub fn read(file: &Path, text: &str, types: &SchemaShape, taxonomy: &Taxonomy) -> Result<MappingFile, Problems> {
    let mut cx = Reading {
        report: Report::new(file, text),
        types,
        taxonomy,
        shared: Vec::new(),
        tenancy: None,
        resource_columns: Vec::new(),
    };
    let read = whole(&mut cx);
    match read {
        Some(read) if !cx.report.problems.has_errors() => Ok(read),
        Some(_) | None => Err(cx.report.problems),
    }
}

/// One file being read.
struct Reading<'a> {
    report: Report<'a>,
    types: &'a SchemaShape,
    taxonomy: &'a Taxonomy,
    shared: Vec<(String, Node)>,
    tenancy: Option<TenancyDraft>,
    /// Columns of the resource's row that some filter compares with.
    resource_columns: Vec<(Arc<str>, CellKind, Place)>,
}

#[derive(Clone)]
struct TenancyDraft {
    at: Place,
    principal_type: Arc<str>,
    tenant_type: Arc<str>,
    attribute: Arc<str>,
    home: Option<(String, Place)>,
    relation: (String, Place),
    column: (String, Place),
}

fn whole(cx: &mut Reading<'_>) -> Option<MappingFile> {
    let root = node::parse(&mut cx.report)?;
    let known = ["version", "tenancy", "context", "entities", "shared"];
    let fields = Fields::of(&root, "a mapping", &known, &mut cx.report)?;
    let version = fields.need("version", "a mapping", &mut cx.report);
    if let Some(node) = version.filter(|node| !matches!(node.value, Yaml::Int(1))) {
        cx.report.error(node.at, format!("this reads mappings of version 1, not {}", node.describe()));
    }
    cx.shared = fields
        .named("shared", &mut cx.report)
        .into_iter()
        .map(|(name, node)| (name.to_owned(), node.clone()))
        .collect();
    cx.tenancy = fields.get("tenancy").and_then(|node| tenancy(cx, node));
    let caller_context = fields.get("context").map(|node| caller_context(cx, node)).unwrap_or_default();

    let mut mapping = Mapping::default();
    for (name, node) in fields.named("entities", &mut cx.report) {
        let types = cx.types;
        let at = fields.key_at("entities", name);
        let Some(kind) = types.full_name(name) else {
            let message = format!("the schema has no entity type `{name}`");
            cx.report.unknown(at, message, name, types.entities.keys());
            continue;
        };
        // An entity with problems is left out; they are reported, so the mapping never goes live without it.
        if let Some(found) = entity::entity(cx, &kind, at, node)
            && mapping.entities.insert(kind.clone(), found).is_some()
        {
            cx.report.error(at, format!("`{kind}` is mapped twice"));
        }
    }
    let entities_at = fields.get("entities").map_or(root.at, |node| node.at);
    let names = fields.named("entities", &mut cx.report);
    let types = cx.types;
    for kind in types.entities.keys() {
        if !names.iter().any(|(name, _)| types.full_name(name).as_ref() == Some(kind)) {
            let message = format!("nothing maps the entity type `{kind}` of the schema");
            cx.report.error_with_hint(entities_at, message, format!("where it has no rows: `{kind}: {{}}`"));
        }
    }
    check_resource_columns(cx, &mapping);
    mapping.tenancy = cx.tenancy.clone().and_then(|draft| resolve_tenancy(cx, &draft, &mapping));
    Some(MappingFile { mapping: mapping.sealed(), caller_context })
}

fn tenancy(cx: &mut Reading<'_>, node: &Node) -> Option<TenancyDraft> {
    let known = ["principal", "tenant", "attribute", "home", "relation", "column"];
    let fields = Fields::of(node, "`tenancy`", &known, &mut cx.report)?;
    let mut need = |key: &str| -> Option<(String, Place)> {
        let node = fields.need(key, "`tenancy`", &mut cx.report)?;
        Some((cx.report.text(node, &format!("`{key}`"))?.to_owned(), node.at))
    };
    let (principal, tenant) = (need("principal"), need("tenant"));
    let (attribute, relation, column) = (need("attribute"), need("relation"), need("column"));
    let home = fields.get("home").and_then(|node| Some((cx.report.text(node, "`home`")?.to_owned(), node.at)));
    let mut type_of = |named: Option<(String, Place)>| -> Option<Arc<str>> {
        let (name, at) = named?;
        let full = cx.types.full_name(&name);
        if full.is_none() {
            let message = format!("the schema has no entity type `{name}`");
            cx.report.unknown(at, message, &name, cx.types.entities.keys());
        }
        full
    };
    let (principal_type, tenant_type) = (type_of(principal), type_of(tenant));
    Some(TenancyDraft {
        at: node.at,
        principal_type: principal_type?,
        tenant_type: tenant_type?,
        attribute: attribute?.0.into(),
        home,
        relation: relation?,
        column: column?,
    })
}

fn resolve_tenancy(cx: &mut Reading<'_>, draft: &TenancyDraft, mapping: &Mapping) -> Option<Tenancy> {
    let Some(entity) = mapping.entity(&draft.principal_type) else {
        cx.report.error(draft.at, format!("nothing maps `{}`, whose tenancy this is", draft.principal_type));
        return None;
    };
    let text_column =
        |cx: &mut Reading<'_>, columns: &[crate::domain::mapping::Column], (name, at): &(String, Place)| {
            let found = columns.iter().position(|column| *column.name == **name);
            match found.and_then(|position| columns.get(position)) {
                None => {
                    let hint = format!("declare it: `columns: {{ {name}: text }}`");
                    cx.report.error_with_hint(*at, format!("the mapping uses no column `{name}` there"), hint);
                }
                Some(column) if column.kind != CellKind::Text => {
                    cx.report.error(*at, format!("column `{name}` must hold a tenant's id as text"));
                }
                Some(_) => {}
            }
            found
        };
    let (relation_name, relation_at) = &draft.relation;
    let Some((relation_name, relation)) = entity.relations.get_key_value(relation_name.as_str()) else {
        let message = format!("`{}` has no relation `{relation_name}`", draft.principal_type);
        cx.report.unknown(*relation_at, message, relation_name, entity.relations.keys());
        return None;
    };
    let home_column = match &draft.home {
        None => None,
        Some(home) => Some(text_column(cx, &entity.columns, home)?),
    };
    let relation_column = text_column(cx, &relation.columns, &draft.column)?;
    Some(Tenancy {
        principal_type: draft.principal_type.clone(),
        tenant_type: draft.tenant_type.clone(),
        attribute: draft.attribute.clone(),
        home_column,
        relation: relation_name.clone(),
        relation_column,
    })
}

fn caller_context(cx: &mut Reading<'_>, node: &Node) -> BTreeSet<Arc<str>> {
    let mut keys = BTreeSet::new();
    let Some(fields) = Fields::of(node, "`context`", &["caller"], &mut cx.report) else { return keys };
    let types = cx.types;
    for item in fields.get("caller").map(Node::items).unwrap_or_default() {
        let Some(key) = cx.report.text(item, "a context key") else { continue };
        let exists = types.contexts.is_empty() || types.contexts.iter().any(|context| context.has_path(key));
        if !exists {
            let mut known = Vec::new();
            types.contexts.iter().for_each(|context| context.paths("", &mut known));
            cx.report.unknown(item.at, format!("no action of the schema takes `{key}` in its context"), key, known);
        }
        keys.insert(key.into());
    }
    keys
}

/// A filter over `$resource.X` never holds for a type without the column: a slip of the pen would bar nobody.
fn check_resource_columns(cx: &mut Reading<'_>, mapping: &Mapping) {
    for (name, kind, at) in std::mem::take(&mut cx.resource_columns) {
        let columns = || mapping.entities.values().flat_map(|entity| &entity.columns);
        let of_name: Vec<_> = columns().filter(|column| column.name == name).collect();
        if of_name.is_empty() {
            let known: BTreeSet<String> = columns().map(|column| format!("$resource.{}", column.name)).collect();
            let word = format!("$resource.{name}");
            cx.report.unknown(at, format!("no entity type has the column `{name}`"), &word, known);
        } else if of_name.iter().any(|column| column.kind != kind) {
            let wanted = columns::word(kind);
            cx.report.error(at, format!("`$resource.{name}` is compared as {wanted} and is something else elsewhere"));
        }
    }
}
