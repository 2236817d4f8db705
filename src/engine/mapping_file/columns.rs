//! The columns that a mapping uses of one query, and the kind of cell that each use asks for.

use std::sync::Arc;

use super::node::{Fields, Node, Place, Report, names};
use crate::domain::mapping::{CellKind, Column};

/// Columns in the order of their first use.
#[derive(Default)]
pub(super) struct Columns(Vec<Used>);

struct Used {
    name: Arc<str>,
    /// `None` until a use says it: a test for null fits every kind.
    kind: Option<CellKind>,
    at: Place,
}

const KINDS: [(&str, CellKind); 5] = [
    ("bool", CellKind::Bool),
    ("int", CellKind::Int),
    ("text", CellKind::Text),
    ("instant", CellKind::Instant),
    ("list", CellKind::List),
];

impl Columns {
    /// The position of a column, used as `kind`.
    pub(super) fn used(&mut self, name: &str, kind: Option<CellKind>, at: Place, report: &mut Report<'_>) -> usize {
        if let Some((position, column)) = self.0.iter_mut().enumerate().find(|(_, column)| &*column.name == name) {
            match (column.kind, kind) {
                (None, kind) => column.kind = kind,
                (Some(before), Some(now)) if before != now => report.error_with_hint(
                    at,
                    format!("column `{name}` is used as {} here and as {} before", word(now), word(before)),
                    format!("it is used first on line {}", column.at.line),
                ),
                (Some(_), _) => {}
            }
            return position;
        }
        self.0.push(Used { name: name.into(), kind, at });
        self.0.len() - 1
    }

    /// The position of the column that `node` names.
    pub(super) fn named(&mut self, node: &Node, kind: Option<CellKind>, report: &mut Report<'_>) -> Option<usize> {
        let name = report.text(node, "a column")?;
        Some(self.used(name, kind, node.at, report))
    }

    /// Columns that are read by others: `columns: { name: kind }`.
    pub(super) fn declare(&mut self, fields: &Fields<'_>, report: &mut Report<'_>) {
        let Some(node) = fields.get("columns") else { return };
        for (name, kind) in names(node, "`columns`", report) {
            let Some(said) = report.text(kind, "the kind of a column") else { continue };
            match KINDS.iter().find(|(word, _)| *word == said) {
                Some((_, kind_of)) => {
                    self.used(name, Some(*kind_of), kind.at, report);
                }
                None => {
                    let known = KINDS.map(|(word, _)| word);
                    report.unknown(kind.at, format!("`{said}` is no kind of column"), said, known);
                }
            }
        }
    }

    pub(super) fn finish(self, report: &mut Report<'_>) -> Vec<Column> {
        let mut columns = Vec::with_capacity(self.0.len());
        for used in self.0 {
            if used.kind.is_none() {
                report.error_with_hint(
                    used.at,
                    format!("nothing says what kind of column `{}` is", used.name),
                    format!("say it: `columns: {{ {}: text }}`", used.name),
                );
            }
            columns.push(Column { name: used.name, kind: used.kind.unwrap_or(CellKind::Text) });
        }
        columns
    }
}

/// The kind in the words of the file.
pub(super) fn word(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Bool => "bool",
        CellKind::Int => "int",
        CellKind::Text => "text",
        CellKind::Instant => "instant",
        CellKind::List => "list",
    }
}
