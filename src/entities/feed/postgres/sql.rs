//! SQL text of the feed that names tables: the one place where it becomes a statement.

use std::fmt;

use sqlx::SqlStr;

/// Text that this room made of its own words, of names that the database gave, quoted, and of the mapping's queries,
/// each as a subquery ([`crate::entities::read`]). Nothing that a caller or a row says is ever part of it.
#[expect(
    clippy::disallowed_types,
    reason = "the feed's own statements name tables and schemas, which no parameter can"
)]
pub(super) fn statement(text: String) -> SqlStr {
    use sqlx::{AssertSqlSafe, SqlSafeStr};
    AssertSqlSafe(text).into_sql_str()
}

/// A name as SQL text.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL text. A backslash means nothing in it as long as `standard_conforming_strings` is on, so a text that
/// has one is written as an escape string.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// A table by its whole name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::entities) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
}

impl Table {
    pub(super) fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// As SQL text.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// For people.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_end_their_quotes() {
        assert_eq!(Table::new("pub\"lic", "a.b").quoted(), "\"pub\"\"lic\".\"a.b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }
}
