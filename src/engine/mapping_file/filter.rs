//! `where`: which rows count. And `window`: when.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{
    Reading,
    columns::Columns,
    node::{Fields, Node, Place, Yaml},
};
use crate::domain::{
    Cell,
    mapping::{Bound, CellKind, Filter, Operand, Test, Window},
};

/// How many alternatives a filter may have once it is written out.
const ALTERNATIVES_MAX: usize = 256;

type Alternatives = Vec<Vec<(usize, Test)>>;

/// Reads a `where`; `None` if it is absent or empty (every row passes).
pub(super) fn filter(cx: &mut Reading<'_>, node: Option<&Node>, columns: &mut Columns) -> Option<Filter> {
    let node = node?;
    let alternatives = conjunction(cx, node, columns)?;
    let is_trivial = alternatives.iter().any(Vec::is_empty);
    (!is_trivial).then_some(Filter(alternatives))
}

/// A map: everything in it must hold.
fn conjunction(cx: &mut Reading<'_>, node: &Node, columns: &mut Columns) -> Option<Alternatives> {
    let Some(entries) = node.entries() else {
        cx.report.error(node.at, format!("`where` must be a map of columns, not {}", node.describe()));
        return None;
    };
    let mut all: Alternatives = vec![Vec::new()];
    for (key, value) in entries {
        let name = cx.report.text(key, "a column")?;
        let part = match name {
            "any_of" | "and_any_of" => {
                let mut any = Alternatives::new();
                for item in value.items() {
                    any.extend(conjunction(cx, item, columns)?);
                }
                any
            }
            "all_of" => {
                let mut parts: Alternatives = vec![Vec::new()];
                for item in value.items() {
                    let part = conjunction(cx, item, columns)?;
                    parts = both(cx, item.at, &parts, &part)?;
                }
                parts
            }
            column => {
                let (kind, test) = test(cx, value)?;
                vec![vec![(columns.used(column, kind, key.at, &mut cx.report), test)]]
            }
        };
        all = both(cx, value.at, &all, &part)?;
    }
    Some(all)
}

/// Distributes "and" over "or".
fn both(cx: &mut Reading<'_>, at: Place, one: &Alternatives, other: &Alternatives) -> Option<Alternatives> {
    if one.len().saturating_mul(other.len()) > ALTERNATIVES_MAX {
        cx.report.error(at, format!("`where` has more than {ALTERNATIVES_MAX} alternatives once written out"));
        return None;
    }
    let pairs = one.iter().flat_map(|left| other.iter().map(move |right| [left.as_slice(), right.as_slice()].concat()));
    Some(pairs.collect())
}

/// What a column is compared with, and the kind that this asks of it.
fn test(cx: &mut Reading<'_>, node: &Node) -> Option<(Option<CellKind>, Test)> {
    match &node.value {
        Yaml::Text(text) if text.starts_with('$') => {
            Some((Some(CellKind::Text), Test::Equals(operand(cx, node, CellKind::Text)?)))
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Text(_) => {
            let (kind, cell) = cell(cx, node)?;
            Some((kind, Test::Is(cell)))
        }
        Yaml::List(items) => {
            let mut kinds = Vec::new();
            let mut cells = Vec::new();
            for item in items {
                let (kind, cell) = cell(cx, item)?;
                kinds.extend(kind);
                cells.push(cell);
            }
            kinds.dedup();
            if kinds.len() > 1 {
                cx.report.error(node.at, "the alternatives of one column must be of one kind");
            }
            Some((kinds.first().copied(), Test::OneOf(cells)))
        }
        Yaml::Map(_) => {
            let fields = Fields::of(node, "a comparison", &["after", "after_or_unknown", "not"], &mut cx.report)?;
            if let Some(after) = fields.get("after") {
                return Some((Some(CellKind::Instant), Test::After(operand(cx, after, CellKind::Instant)?)));
            }
            if let Some(after) = fields.get("after_or_unknown") {
                return Some((Some(CellKind::Instant), Test::AfterOrUnknown(operand(cx, after, CellKind::Instant)?)));
            }
            let not = fields.need("not", "a comparison", &mut cx.report)?;
            let (kind, cell) = cell(cx, not)?;
            Some((kind, Test::IsNot(cell)))
        }
    }
}

fn cell(cx: &mut Reading<'_>, node: &Node) -> Option<(Option<CellKind>, Cell)> {
    match &node.value {
        Yaml::Null => Some((None, Cell::Null)),
        Yaml::Bool(value) => Some((Some(CellKind::Bool), Cell::Bool(*value))),
        Yaml::Int(value) => Some((Some(CellKind::Int), Cell::Int(*value))),
        Yaml::Text(text) if text.starts_with('$') => {
            cx.report.error(node.at, format!("`{text}` cannot stand in a list"));
            None
        }
        Yaml::Text(text) => Some((Some(CellKind::Text), Cell::Text(text.as_str().into()))),
        Yaml::List(_) | Yaml::Map(_) => {
            cx.report.error(node.at, format!("a column is compared with a word or a number, not {}", node.describe()));
            None
        }
    }
}

const OPERANDS: [&str; 7] =
    ["$principal", "$tenant", "$roles", "$other_tenants", "$resource.type", "$resource.id", "$resource.COLUMN"];

fn operand(cx: &mut Reading<'_>, node: &Node, kind: CellKind) -> Option<Operand> {
    let word = cx.report.text(node, "a fact about the question")?;
    let operand = match word {
        "$principal" => Operand::PrincipalId,
        "$tenant" => Operand::Tenant,
        "$roles" => Operand::Roles,
        "$other_tenants" => Operand::OtherTenants,
        "$resource.type" => Operand::ResourceType,
        "$resource.id" => Operand::ResourceId,
        other => match other.strip_prefix("$resource.") {
            Some(column) => {
                let column: Arc<str> = column.into();
                cx.resource_columns.push((column.clone(), kind, node.at));
                Operand::Resource(column)
            }
            None => {
                let message = format!("`{word}` is no fact that a row can be compared with");
                cx.report.unknown(node.at, message, word, OPERANDS);
                return None;
            }
        },
    };
    if kind == CellKind::Instant && !matches!(operand, Operand::Resource(_)) {
        cx.report.error(node.at, format!("`{word}` is no instant: `after` takes `$resource.COLUMN`"));
        return None;
    }
    Some(operand)
}

const WINDOW: [&str; 7] = ["from", "to", "revoked", "open_if", "revoked_if", "null_from", "null_to"];

/// Reads a `window`.
pub(super) fn window(cx: &mut Reading<'_>, node: &Node, columns: &mut Columns) -> Option<Window> {
    let fields = Fields::of(node, "`window`", &WINDOW, &mut cx.report)?;
    let from = fields.get("from").and_then(|node| bound(cx, node, columns, End::From));
    let to = fields.get("to").and_then(|node| bound(cx, node, columns, End::To));
    if fields.get("from").is_none() && fields.get("to").is_none() {
        cx.report.error(node.at, "a window needs `from` or `to`");
    }
    let revoked = fields.get("revoked").and_then(|node| columns.named(node, Some(CellKind::Instant), &mut cx.report));
    let open_if = row_filter(cx, fields.get("open_if"), columns);
    let revoked_if = row_filter(cx, fields.get("revoked_if"), columns);
    let from_null_is_open = word_or_absent(cx, &fields, "null_from", "open");
    let to_null_is_over = word_or_absent(cx, &fields, "null_to", "over");
    Some(Window {
        from: from.map(|(bound, _)| bound),
        from_null_is_open,
        to: to.as_ref().map(|(bound, _)| bound.clone()),
        to_null_is_over,
        to_inclusive: to.is_some_and(|(_, is_inclusive)| is_inclusive),
        revoked,
        revoked_if,
        open_if,
    })
}

/// A filter of a window: the row is judged by itself.
fn row_filter(cx: &mut Reading<'_>, node: Option<&Node>, columns: &mut Columns) -> Option<Filter> {
    let found = filter(cx, node, columns)?;
    let asks = found
        .0
        .iter()
        .flatten()
        .any(|(_, test)| matches!(test, Test::Equals(_) | Test::After(_) | Test::AfterOrUnknown(_)));
    if let (true, Some(node)) = (asks, node) {
        cx.report.error(node.at, "a window is judged by the row alone: no fact about the question can stand here");
    }
    Some(found)
}

fn word_or_absent(cx: &mut Reading<'_>, fields: &Fields<'_>, key: &str, word: &str) -> bool {
    let Some(node) = fields.get(key) else { return false };
    if node.text() != Some(word) {
        cx.report.error(node.at, format!("`{key}` is `{word}` or left out, not {}", node.describe()));
    }
    true
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    From,
    To,
}

const BOUND: [&str; 5] = ["column", "plus_days", "minus_days", "plus_years", "inclusive"];

fn bound(cx: &mut Reading<'_>, node: &Node, columns: &mut Columns, end: End) -> Option<(Bound, bool)> {
    if node.text().is_some() {
        let column = columns.named(node, Some(CellKind::Instant), &mut cx.report)?;
        return Some((Bound { column, plus: SignedDuration::ZERO, plus_years: None }, false));
    }
    let fields = Fields::of(node, "an end of a window", &BOUND, &mut cx.report)?;
    let column = fields.need("column", "an end of a window", &mut cx.report)?;
    let column = columns.named(column, Some(CellKind::Instant), &mut cx.report)?;
    let plus = days(cx, fields.get("plus_days"))?.checked_sub(days(cx, fields.get("minus_days"))?)?;
    let plus_years = fields.get("plus_years").and_then(|node| columns.named(node, Some(CellKind::Int), &mut cx.report));
    let is_inclusive = cx.report.is_true(fields.get("inclusive"), "inclusive");
    if is_inclusive && end == End::From {
        cx.report.error(node.at, "a start always counts itself: `inclusive` belongs to `to`");
    }
    Some((Bound { column, plus, plus_years }, is_inclusive))
}

fn days(cx: &mut Reading<'_>, node: Option<&Node>) -> Option<SignedDuration> {
    let Some(node) = node else { return Some(SignedDuration::ZERO) };
    let days = match node.value {
        Yaml::Int(days) if (0..=36_525).contains(&days) => Some(SignedDuration::from_hours(days.checked_mul(24)?)),
        _ => None,
    };
    if days.is_none() {
        cx.report.error(node.at, format!("days are a whole number up to 36525, not {}", node.describe()));
    }
    days
}
