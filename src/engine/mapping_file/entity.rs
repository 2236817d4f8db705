//! One entity type: its own row, and what that row alone says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Reading,
    columns::Columns,
    filter::{filter, window},
    node::{Fields, Node, Place, Yaml, nearest},
    relation,
};
use crate::{
    domain::{
        Value,
        mapping::{Attribute, CellKind, EntityMapping, Parent, ParentId, Query, Scalar, Source},
    },
    engine::schema_shape::{EntityType, Field, Type},
};

const ENTITY: [&str; 6] = ["source", "query", "columns", "attributes", "parents", "relations"];

/// An entity type as it is read: the schema's word on it, and what was found so far.
pub(super) struct Draft<'a> {
    pub(super) kind: Arc<str>,
    pub(super) schema: &'a EntityType,
    pub(super) source: Option<Source>,
    pub(super) columns: Columns,
    pub(super) attributes: BTreeMap<Arc<str>, (Attribute, Place)>,
    /// Attributes that something was said of, well or badly: one problem each is enough.
    pub(super) mentioned: BTreeSet<Arc<str>>,
    pub(super) parents: Vec<Parent>,
}

/// Reads the entity type `kind`, whose key stands at `at`.
pub(super) fn entity(cx: &mut Reading<'_>, kind: &Arc<str>, at: Place, node: &Node) -> Option<EntityMapping> {
    let types = cx.types;
    let schema = types.entities.get(kind)?;
    let fields = Fields::of(node, &format!("`{kind}`"), &ENTITY, &mut cx.report)?;
    let mut draft = Draft {
        kind: kind.clone(),
        schema,
        source: fields.get("source").and_then(|node| source(cx, node)),
        columns: Columns::default(),
        attributes: BTreeMap::new(),
        mentioned: BTreeSet::new(),
        parents: Vec::new(),
    };
    let row = fields.get("query").and_then(|node| query(cx, node));
    if fields.get("query").is_some() && fields.get("source").is_none() {
        cx.report.error_with_hint(at, format!("`{kind}` has a query and no source"), "add `source: app`");
    }
    draft.columns.declare(&fields, &mut cx.report);
    for (name, spec) in fields.named("attributes", &mut cx.report) {
        draft.mentioned.insert(name.into());
        if let Some(field) = attribute_field(cx, &draft, name, spec.at)
            && let Some(attribute) = own_attribute(cx, &mut draft, name, field, spec)
        {
            draft.attributes.insert(name.into(), (attribute, spec.at));
        }
    }
    for spec in fields.get("parents").map(Node::items).unwrap_or_default() {
        let mut columns = std::mem::take(&mut draft.columns);
        if let Some((kind, id, filter)) = parent(cx, &draft, spec, &mut columns) {
            draft.parents.push(Parent { kind, id, from: None, filter });
        }
        draft.columns = columns;
    }
    let mut relations = BTreeMap::new();
    for (name, spec) in fields.named("relations", &mut cx.report) {
        if let Some(found) = relation::relation(cx, &mut draft, name, spec) {
            relations.insert(name.into(), found);
        }
    }
    add_acting_tenant(cx, &mut draft);
    require_every_attribute(cx, &draft, at);
    let columns = draft.columns.finish(&mut cx.report);
    if fields.get("query").is_none()
        && let Some(column) = columns.first()
    {
        cx.report.error(at, format!("`{kind}` has no query that could return its column `{}`", column.name));
    }
    let attributes = draft.attributes.into_iter().map(|(name, (attribute, _))| (name, attribute)).collect();
    let source = draft.source.unwrap_or(Source::App);
    Some(EntityMapping { source, query: row, columns, attributes, parents: draft.parents, relations })
}

pub(super) fn source(cx: &mut Reading<'_>, node: &Node) -> Option<Source> {
    match node.text() {
        Some("app") => Some(Source::App),
        Some("store") => Some(Source::Store),
        Some(_) | None => {
            cx.report.error(node.at, format!("a source is `app` or `store`, not {}", node.describe()));
            None
        }
    }
}

/// SQL in one dialect that both databases read, or one text each.
pub(super) fn query(cx: &mut Reading<'_>, node: &Node) -> Option<Query> {
    let query = match node.text() {
        Some(text) => Query { sqlite: text.trim().into(), postgres: text.trim().into() },
        None => {
            let fields = Fields::of(node, "a query", &["sqlite", "postgres"], &mut cx.report)?;
            let mut dialect = |key: &str| -> Option<Arc<str>> {
                let node = fields.need(key, "a query in two dialects", &mut cx.report)?;
                Some(cx.report.text(node, "a query")?.trim().into())
            };
            Query { sqlite: dialect("sqlite")?, postgres: dialect("postgres")? }
        }
    };
    for text in [&query.sqlite, &query.postgres] {
        if !text.contains("$1") {
            cx.report.error(node.at, "a query must ask for one id, as `$1`");
            break;
        }
    }
    Some(query)
}

/// The schema's word on an attribute that the mapping names.
pub(super) fn attribute_field<'a>(cx: &mut Reading<'_>, draft: &Draft<'a>, name: &str, at: Place) -> Option<&'a Field> {
    let field = draft.schema.attributes.get(name);
    if field.is_none() {
        let message = format!("the schema gives `{}` no attribute `{name}`", draft.kind);
        cx.report.unknown(at, message, name, draft.schema.attributes.keys());
    }
    field
}

/// An attribute that the entity's own row, or no row at all, gives.
fn own_attribute(
    cx: &mut Reading<'_>,
    draft: &mut Draft<'_>,
    name: &str,
    field: &Field,
    node: &Node,
) -> Option<Attribute> {
    let column_node = if node.text().is_some() {
        Some(node)
    } else {
        let known = ["column", "within", "constant", "itself"];
        let fields = Fields::of(node, &format!("`{name}`"), &known, &mut cx.report)?;
        if fields.get("itself").is_some() {
            if field.kind != Type::Entity(draft.kind.clone()) {
                misfit(cx, node.at, name, &field.kind, "the entity itself");
            }
            return cx.report.is_true(fields.get("itself"), "itself").then_some(Attribute::Itself);
        }
        if let Some(node) = fields.get("within") {
            if field.kind != Type::Bool {
                misfit(cx, node.at, name, &field.kind, "a window, which gives a Bool");
            }
            return window(cx, node, &mut draft.columns).map(Attribute::Within);
        }
        if let Some(node) = fields.get("constant") {
            let scalar = scalar_of(cx, name, &field.kind, node.at)?;
            if matches!(scalar, Scalar::Entity(_)) {
                cx.report.error(node.at, format!("`{name}` is an entity: it comes from a column"));
                return None;
            }
            return constant(cx, name, &scalar, node).map(Attribute::Constant);
        }
        fields.need("column", &format!("`{name}`"), &mut cx.report)
    };
    let node = column_node?;
    let scalar = scalar_of(cx, name, &field.kind, node.at)?;
    let column = draft.columns.named(node, Some(cell_kind(&scalar)), &mut cx.report)?;
    Some(Attribute::Column { column, scalar, optional: !field.is_required })
}

/// The scalar that a column or constant must hold to fit `kind`.
pub(super) fn scalar_of(cx: &mut Reading<'_>, name: &str, kind: &Type, at: Place) -> Option<Scalar> {
    match kind {
        Type::Bool => Some(Scalar::Bool),
        Type::Long => Some(Scalar::Long),
        Type::Text => Some(Scalar::Text),
        Type::Entity(kind) => Some(Scalar::Entity(kind.clone())),
        Type::Set(_) | Type::Record(_) | Type::Other(_) => {
            misfit(cx, at, name, kind, "a single value");
            None
        }
    }
}

pub(super) fn cell_kind(scalar: &Scalar) -> CellKind {
    match scalar {
        Scalar::Bool => CellKind::Bool,
        Scalar::Long => CellKind::Int,
        Scalar::Text | Scalar::Entity(_) => CellKind::Text,
    }
}

pub(super) fn constant(cx: &mut Reading<'_>, name: &str, scalar: &Scalar, node: &Node) -> Option<Value> {
    let value = match (scalar, &node.value) {
        (Scalar::Bool, Yaml::Bool(value)) => Some(Value::Bool(*value)),
        (Scalar::Long, Yaml::Int(value)) => Some(Value::Long(*value)),
        (Scalar::Text, Yaml::Text(text)) => Some(Value::Text(text.as_str().into())),
        (Scalar::Entity(kind), Yaml::Text(id)) => crate::domain::projection::uid(kind, id).ok().map(Value::Entity),
        (Scalar::Bool | Scalar::Long | Scalar::Text | Scalar::Entity(_), _) => None,
    };
    if value.is_none() {
        let wanted = cell_kind(scalar);
        let wanted = super::columns::word(wanted);
        cx.report.error(node.at, format!("the constant of `{name}` must be of kind {wanted}, not {}", node.describe()));
    }
    value
}

pub(super) fn misfit(cx: &mut Reading<'_>, at: Place, name: &str, kind: &Type, given: &str) {
    cx.report.error(at, format!("`{name}` is {} in the schema and cannot come from {given}", kind.describe()));
}

/// The type, id and condition of a parent.
pub(super) fn parent(
    cx: &mut Reading<'_>,
    draft: &Draft<'_>,
    node: &Node,
    columns: &mut Columns,
) -> Option<(Arc<str>, ParentId, Option<crate::domain::mapping::Filter>)> {
    let fields = Fields::of(node, "a parent", &["type", "id", "constant", "where"], &mut cx.report)?;
    let type_node = fields.need("type", "a parent", &mut cx.report)?;
    let name = cx.report.text(type_node, "a type")?;
    let kind = cx.types.full_name(name).filter(|kind| draft.schema.parents.contains(kind));
    if kind.is_none() {
        let hint = nearest(name, &draft.schema.parents).unwrap_or_else(|| match draft.schema.parents.as_slice() {
            [] => format!("the schema says `entity {}` without `in`", draft.kind),
            all => format!("it may be in {}", all.join(", ")),
        });
        cx.report.error_with_hint(type_node.at, format!("`{}` cannot be in `{name}`", draft.kind), hint);
    }
    let id = match (fields.get("id"), fields.get("constant")) {
        (Some(column), None) => ParentId::Column(columns.named(column, Some(CellKind::Text), &mut cx.report)?),
        (None, Some(id)) => ParentId::Constant(cx.report.text(id, "an id")?.into()),
        (Some(_), Some(_)) | (None, None) => {
            cx.report.error(node.at, "a parent needs `id: COLUMN` or `constant: ID`");
            return None;
        }
    };
    let filter = filter(cx, fields.get("where"), columns);
    Some((kind?, id, filter))
}

/// The attribute that the tenancy fills has no entry of its own.
fn add_acting_tenant(cx: &mut Reading<'_>, draft: &mut Draft<'_>) {
    let Some(tenancy) = cx.tenancy.clone() else { return };
    if tenancy.principal_type != draft.kind {
        return;
    }
    let name = &tenancy.attribute;
    if let Some((home, at)) = &tenancy.home {
        draft.columns.used(home, Some(CellKind::Text), *at, &mut cx.report);
    }
    let Some(field) = attribute_field(cx, draft, name, tenancy.at) else { return };
    if field.kind != Type::Entity(tenancy.tenant_type.clone()) {
        misfit(cx, tenancy.at, name, &field.kind, "the tenancy");
    } else if field.is_required {
        cx.report.error_with_hint(
            tenancy.at,
            format!("`{name}` of `{}` must be optional: not everybody acts in a tenant", draft.kind),
            format!("write `{name}?` in the schema"),
        );
    }
    if let Some((_, before)) = draft.attributes.insert(name.clone(), (Attribute::ActingTenant, tenancy.at)) {
        cx.report.error(before, format!("`{name}` is filled by the tenancy and cannot be mapped too"));
    }
}

fn require_every_attribute(cx: &mut Reading<'_>, draft: &Draft<'_>, at: Place) {
    for (name, field) in &draft.schema.attributes {
        if draft.attributes.contains_key(name) || draft.mentioned.contains(name) {
            continue;
        }
        let kind = field.kind.describe();
        let message = format!("nothing fills the attribute `{name}` of `{}`", draft.kind);
        cx.report.error_with_hint(at, message, format!("the schema says `{name}: {kind}`"));
    }
    if draft.schema.has_tags {
        cx.report.error(at, format!("`{}` has tags in the schema, which a mapping cannot fill", draft.kind));
    }
}
