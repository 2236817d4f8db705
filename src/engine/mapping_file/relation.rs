//! Relations: queries that return rows about one entity, and the sets, flags and parents that the rows make.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Reading,
    columns::Columns,
    entity::{Draft, attribute_field, cell_kind, constant, misfit, parent, query, scalar_of, source},
    filter::{filter, window},
    node::{Fields, Node, Place, names},
};
use crate::{
    domain::mapping::{Attribute, CellKind, Parent, Part, Relation, Rows, Selection, Shape, Source},
    engine::schema_shape::Type,
};

const RELATION: [&str; 12] =
    ["query", "source", "key", "columns", "window", "kind", "about", "exceptional", "sets", "flags", "parents", "use"];

/// Reads the relation `name` of the entity type in `draft`, and adds what its rows give to the draft.
pub(super) fn relation(cx: &mut Reading<'_>, draft: &mut Draft<'_>, name: &str, node: &Node) -> Option<Relation> {
    let what = format!("the relation `{name}`");
    let shared = used(cx, node)?;
    let node = shared.as_ref().unwrap_or(node);
    let fields = Fields::of(node, &what, &RELATION, &mut cx.report)?;
    let query_node = fields.need("query", &what, &mut cx.report)?;
    let query = query(cx, query_node)?;
    let source = match fields.get("source") {
        Some(node) => source(cx, node),
        None => draft.source,
    };
    if source.is_none() && fields.get("source").is_none() {
        cx.report.error_with_hint(node.at, format!("{what} has no source"), "add `source: app`");
    }
    let key = fields.get("key").and_then(|node| draft.columns.named(node, Some(CellKind::Text), &mut cx.report));
    let mut columns = Columns::default();
    columns.declare(&fields, &mut cx.report);
    let window = fields.get("window").and_then(|node| window(cx, node, &mut columns));
    let kind = fields.get("kind").and_then(|node| cx.report.text(node, "`kind`")).map(Arc::from);
    let about = fields.get("about").and_then(|node| columns.named(node, Some(CellKind::Text), &mut cx.report));
    if let (Some(node), None) = (fields.get("about"), &kind) {
        cx.report.error(node.at, format!("{what} says whom it is about but not of what `kind` its rows are"));
    }
    let exceptional = cx.report.is_true(fields.get("exceptional"), "exceptional");
    for (attribute, specs) in fields.named("sets", &mut cx.report) {
        for spec in specs.items() {
            set(cx, draft, name, attribute, spec, &mut columns);
        }
    }
    for (attribute, spec) in fields.named("flags", &mut cx.report) {
        flag(cx, draft, name, attribute, spec, &mut columns);
    }
    for spec in fields.get("parents").map(Node::items).unwrap_or_default() {
        if let Some((kind, id, filter)) = parent(cx, draft, spec, &mut columns) {
            let from = Selection { relation: name.into(), rows: Rows::Active, filter };
            draft.parents.push(Parent { kind, id, from: Some(from), filter: None });
        }
    }
    let columns = columns.finish(&mut cx.report);
    let source = source.unwrap_or(Source::App);
    Some(Relation { source, query, key, columns, window, kind, about, exceptional })
}

/// `use` and `with`: a shared relation with words put in place. `Some(None)`: the relation stands for itself.
fn used(cx: &mut Reading<'_>, node: &Node) -> Option<Option<Node>> {
    let is_use = node.entries().is_some_and(|entries| entries.iter().any(|(key, _)| key.text() == Some("use")));
    if !is_use {
        return Some(None);
    }
    let fields = Fields::of(node, "a relation that uses a shared one", &["use", "with"], &mut cx.report)?;
    let use_node = fields.get("use")?;
    let name = cx.report.text(use_node, "`use`")?;
    let Some((_, shared)) = cx.shared.iter().find(|(known, _)| known == name) else {
        let known: Vec<String> = cx.shared.iter().map(|(known, _)| known.clone()).collect();
        cx.report.unknown(use_node.at, format!("there is no shared relation `{name}`"), name, known);
        return None;
    };
    let mut copy = shared.clone();
    for (word, value) in fields.named("with", &mut cx.report) {
        let value_text = cx.report.text(value, "a word of `with`")?;
        if !copy.mentions(word) {
            cx.report.error(value.at, format!("the shared relation `{name}` does not say `{word}`"));
        }
        copy = copy.map_text(&|text| text.replace(word, value_text));
    }
    Some(Some(copy))
}

fn set(cx: &mut Reading<'_>, draft: &mut Draft<'_>, relation: &str, name: &str, node: &Node, columns: &mut Columns) {
    let known = ["member", "record", "where", "rows", "plus_self"];
    let Some(fields) = Fields::of(node, &format!("the set `{name}`"), &known, &mut cx.report) else { return };
    let selection = selection(cx, relation, &fields, columns);
    let plus_self = cx.report.is_true(fields.get("plus_self"), "plus_self");
    draft.mentioned.insert(name.into());
    let Some(field) = attribute_field(cx, draft, name, node.at) else { return };
    let Type::Set(element) = &field.kind else {
        misfit(cx, node.at, name, &field.kind, "a set of rows");
        return;
    };
    if plus_self && **element != Type::Entity(draft.kind.clone()) {
        cx.report.error(node.at, format!("`{}` cannot be a member of `{name}`: {}", draft.kind, field.kind.describe()));
    }
    let shape = match (fields.get("member"), fields.get("record")) {
        (Some(member), None) => part(cx, name, element, member, columns).map(Shape::Member),
        (None, Some(record)) => record_shape(cx, name, element, record, columns),
        (Some(_), Some(_)) | (None, None) => {
            cx.report.error(node.at, format!("the set `{name}` needs either `member` or `record`"));
            None
        }
    };
    let Some(shape) = shape else { return };
    let (attribute, _) = draft
        .attributes
        .entry(name.into())
        .or_insert_with(|| (Attribute::Set { from: Vec::new(), plus_self: false }, node.at));
    match attribute {
        Attribute::Set { from, plus_self: also } => {
            from.push((selection, shape));
            *also |= plus_self;
        }
        Attribute::Column { .. }
        | Attribute::Within(_)
        | Attribute::Constant(_)
        | Attribute::Itself
        | Attribute::Any(_)
        | Attribute::ActingTenant => filled_otherwise(cx, node.at, name),
    }
}

fn flag(cx: &mut Reading<'_>, draft: &mut Draft<'_>, relation: &str, name: &str, node: &Node, columns: &mut Columns) {
    let Some(fields) = Fields::of(node, &format!("the flag `{name}`"), &["where", "rows"], &mut cx.report) else {
        return;
    };
    let selection = selection(cx, relation, &fields, columns);
    draft.mentioned.insert(name.into());
    let Some(field) = attribute_field(cx, draft, name, node.at) else { return };
    if field.kind != Type::Bool {
        misfit(cx, node.at, name, &field.kind, "a flag, which gives a Bool");
        return;
    }
    let (attribute, _) = draft.attributes.entry(name.into()).or_insert_with(|| (Attribute::Any(Vec::new()), node.at));
    match attribute {
        Attribute::Any(selections) => selections.push(selection),
        Attribute::Column { .. }
        | Attribute::Within(_)
        | Attribute::Constant(_)
        | Attribute::Itself
        | Attribute::Set { .. }
        | Attribute::ActingTenant => filled_otherwise(cx, node.at, name),
    }
}

fn filled_otherwise(cx: &mut Reading<'_>, at: Place, name: &str) {
    cx.report.error(at, format!("`{name}` is filled in another way already"));
}

fn selection(cx: &mut Reading<'_>, relation: &str, fields: &Fields<'_>, columns: &mut Columns) -> Selection {
    let rows = match fields.get("rows").map(|node| (node, node.text())) {
        None | Some((_, Some("active"))) => Rows::Active,
        Some((_, Some("every"))) => Rows::Every,
        Some((node, _)) => {
            cx.report.error(node.at, format!("`rows` is `active` or `every`, not {}", node.describe()));
            Rows::Active
        }
    };
    Selection { relation: relation.into(), rows, filter: filter(cx, fields.get("where"), columns) }
}

fn record_shape(cx: &mut Reading<'_>, name: &str, element: &Type, node: &Node, columns: &mut Columns) -> Option<Shape> {
    let Type::Record(wanted) = element else {
        misfit(cx, node.at, name, element, "records");
        return None;
    };
    let given = names(node, "`record`", &mut cx.report);
    let mut parts = BTreeMap::new();
    let mut is_whole = true;
    for (field, spec) in &given {
        let Some(kind) = wanted.get(*field).map(|field| &field.kind) else {
            let message = format!("the records of `{name}` have no field `{field}`");
            cx.report.unknown(spec.at, message, field, wanted.keys());
            is_whole = false;
            continue;
        };
        match part(cx, field, kind, spec, columns) {
            Some(part) => {
                parts.insert(Arc::from(*field), part);
            }
            None => is_whole = false,
        }
    }
    for (field, _) in wanted.iter().filter(|(_, field)| field.is_required) {
        if !given.iter().any(|(name, _)| *name == &**field) {
            cx.report.error(node.at, format!("the records of `{name}` need the field `{field}`"));
            is_whole = false;
        }
    }
    is_whole.then_some(Shape::Record(parts))
}

/// One value of a row: `column`, `{ each: column }` or `{ constant: word }`.
fn part(cx: &mut Reading<'_>, name: &str, kind: &Type, node: &Node, columns: &mut Columns) -> Option<Part> {
    let scalar = scalar_of(cx, name, kind, node.at)?;
    if node.text().is_some() {
        let column = columns.named(node, Some(cell_kind(&scalar)), &mut cx.report)?;
        return Some(Part::Column(column, scalar));
    }
    let known = ["column", "each", "when_empty", "constant"];
    let fields = Fields::of(node, &format!("`{name}`"), &known, &mut cx.report)?;
    if let Some(node) = fields.get("constant") {
        return constant(cx, name, &scalar, node).map(Part::Constant);
    }
    if let Some(each) = fields.get("each") {
        if cell_kind(&scalar) != CellKind::Text {
            misfit(cx, each.at, name, kind, "the words of a list");
        }
        let when_empty = match fields.get("when_empty").map(|node| (node, node.text())) {
            None => Vec::new(),
            Some((_, Some("all_groups"))) => cx.taxonomy.groups.keys().cloned().collect(),
            Some((node, _)) => {
                cx.report.error(node.at, format!("`when_empty` is `all_groups`, not {}", node.describe()));
                Vec::new()
            }
        };
        let column = columns.named(each, Some(CellKind::List), &mut cx.report)?;
        return Some(Part::Each { column, scalar, when_empty: when_empty.into() });
    }
    let column = fields.need("column", &format!("`{name}`"), &mut cx.report)?;
    Some(Part::Column(columns.named(column, Some(cell_kind(&scalar)), &mut cx.report)?, scalar))
}
