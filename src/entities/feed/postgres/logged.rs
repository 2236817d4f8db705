//! The functions that triggers call: their text, and what an installed text says of itself.

use std::{collections::BTreeSet, fmt::Write as _};

use sha2::{Digest, Sha256};

use super::{
    derive::Reach,
    sql::{Table, literal, quoted},
};
use crate::entities::fresh::{Bug, is_seeded};

pub(super) const ROW_TRIGGER: &str = "chaperone_row";
pub(super) const TRUNCATE_TRIGGER: &str = "chaperone_truncate";
pub(super) const TRUNCATE_FUNCTION: &str = "chaperone_truncate";
pub(super) const TRIM_FUNCTION: &str = "chaperone_trim";
pub(super) const ROW_FUNCTION_PREFIX: &str = "chaperone_row_";

/// Whether commits also wake the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// `NOTIFY chaperone` with each change: it is seen within milliseconds.
    Yes,
    /// Changes wait for the next poll: for databases whose commits must not queue for the lock that NOTIFY takes.
    No,
}

/// What the function of one table logs. The text carries it, so that an installed one can be told from a changed one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Logged {
    table: (String, String),
    pub(super) facts: BTreeSet<Reach>,
    notify: bool,
}

const HEAD: &str = "\n-- chaperone: ";

impl Logged {
    pub(super) fn new(table: &Table, facts: BTreeSet<Reach>, notify: Notify) -> Self {
        Self { table: (table.schema.clone(), table.name.clone()), facts, notify: notify == Notify::Yes }
    }

    /// What `source` logs, if it is letter by letter a text of this program.
    pub(super) fn of_source(source: &str, schema: &str) -> Option<Self> {
        let line = source.strip_prefix(HEAD)?.lines().next()?;
        let logged: Self = serde_json::from_str(line).ok()?;
        (logged.source(schema) == source).then_some(logged)
    }

    pub(super) const fn notify(&self) -> Notify {
        if self.notify { Notify::Yes } else { Notify::No }
    }

    /// Whether a change that `reach` asks for is logged.
    pub(super) fn covers(&self, reach: &Reach) -> bool {
        self.facts.contains(reach) || self.facts.contains(&Reach { fact: reach.fact.clone(), column: None })
    }

    pub(super) fn is_of(&self, table: &Table) -> bool {
        (&*self.table.0, &*self.table.1) == (&*table.schema, &*table.name)
    }

    /// The body: the keys of the row before and of the row after, each once.
    pub(super) fn source(&self, schema: &str) -> String {
        let change = Table::new(schema, "chaperone_change").quoted();
        // INVARIANT(logged): strings and a set of strings are always JSON.
        let head = serde_json::to_string(self).unwrap_or_default();
        let mut body = format!("{HEAD}{head}\nBEGIN\n");
        let insert = format!("INSERT INTO {change} (kind, key)");
        let coarse: Vec<String> = self
            .facts
            .iter()
            .filter(|reach| reach.column.is_none())
            .map(|reach| format!("({}, NULL)", literal(&reach.fact)))
            .collect();
        if !coarse.is_empty() {
            put(&mut body, &format!("  {insert} VALUES {};\n", coarse.join(", ")));
        }
        let keyed = |rows: &[&str]| {
            let values = self.facts.iter().filter_map(|reach| Some((&reach.fact, reach.column.as_ref()?)));
            let values = values.map(|(fact, column)| {
                let keys = rows.iter().map(|row| format!("{row}.{}::pg_catalog.text", quoted(column)));
                format!("({}, {})", literal(fact), keys.collect::<Vec<_>>().join(", "))
            });
            values.collect::<Vec<_>>().join(", ")
        };
        if self.facts.iter().any(|reach| reach.column.is_some()) {
            let old = if is_seeded(Bug::OldKeyNotLogged) { "TG_OP = 'DELETE'" } else { "TG_OP <> 'INSERT'" };
            put(
                &mut body,
                &format!(
                    "  IF {old} THEN\n    {insert} SELECT k.kind, k.key FROM (VALUES {}) AS k (kind, key) WHERE k.key IS NOT NULL;\n  END IF;\n",
                    keyed(&["OLD"])
                ),
            );
            put(
                &mut body,
                &format!(
                    "  IF TG_OP = 'INSERT' THEN\n    {insert} SELECT k.kind, k.key FROM (VALUES {}) AS k (kind, key) WHERE k.key IS NOT NULL;\n",
                    keyed(&["NEW"])
                ),
            );
            put(
                &mut body,
                &format!(
                    "  ELSIF TG_OP = 'UPDATE' THEN\n    {insert} SELECT k.kind, k.key FROM (VALUES {}) AS k (kind, key, before)\n      WHERE k.key IS NOT NULL AND k.key IS DISTINCT FROM k.before;\n  END IF;\n",
                    keyed(&["NEW", "OLD"])
                ),
            );
        }
        end(&mut body, self.notify());
        body
    }
}

/// The name of a table's function: of letters that fit into a name, whatever the table's are.
pub(super) fn row_function(table: &Table) -> String {
    let digest = Sha256::new().chain_update(&table.schema).chain_update([0]).chain_update(&table.name).finalize();
    let mut name = ROW_FUNCTION_PREFIX.to_owned();
    for byte in digest.iter().take(8) {
        put(&mut name, &format!("{byte:02x}"));
    }
    name
}

/// TRUNCATE tells no keys: everything may have changed.
pub(super) fn truncate_source(schema: &str, notify: Notify) -> String {
    let change = Table::new(schema, "chaperone_change").quoted();
    let mut body = format!("\nBEGIN\n  INSERT INTO {change} (kind, key) VALUES (NULL, NULL);\n");
    end(&mut body, notify);
    body
}

fn end(body: &mut String, notify: Notify) {
    if notify == Notify::Yes {
        put(body, "  PERFORM pg_catalog.pg_notify('chaperone', '');\n");
    }
    put(body, "  RETURN NULL;\nEND\n");
}

/// Rows that one call deletes at most: a call is short, so a poll never waits long for it.
pub(super) const TRIM_ROWS_MAX: i64 = 10_000;

/// Deletes the oldest rows that are older than a day, and says in the same transaction below which transaction rows may
/// be missing. Returns how many it deleted.
pub(super) fn trim_source(schema: &str) -> String {
    let change = Table::new(schema, "chaperone_change").quoted();
    let feed = Table::new(schema, "chaperone_feed").quoted();
    format!(
        "
DECLARE
  gone bigint;
  highest bigint;
  lowest bigint;
BEGIN
  IF NOT pg_catalog.pg_try_advisory_xact_lock(4850741, 1) THEN
    RETURN 0;
  END IF;
  WITH oldest AS (SELECT c.id, c.at FROM {change} c ORDER BY c.xid, c.id LIMIT {TRIM_ROWS_MAX}),
       deleted AS (DELETE FROM {change} c USING oldest o
                   WHERE c.id = o.id AND o.at < pg_catalog.clock_timestamp() - '24 hours'::pg_catalog.interval
                   RETURNING c.xid::pg_catalog.text::bigint AS xid)
  SELECT pg_catalog.count(*), pg_catalog.max(d.xid), pg_catalog.min(d.xid) INTO gone, highest, lowest FROM deleted d;
  IF gone > 0 THEN
    -- A transaction that was open for longer than a day: a feed may not have seen it, and no bound would tell.
    UPDATE {feed} SET epoch = pg_catalog.gen_random_uuid()
      WHERE trimmed_below > lowest::pg_catalog.text::pg_catalog.xid8;
    UPDATE {feed} SET trimmed_below = (highest + 1)::pg_catalog.text::pg_catalog.xid8
      WHERE trimmed_below < (highest + 1)::pg_catalog.text::pg_catalog.xid8;
  END IF;
  RETURN gone;
END
"
    )
}

/// The statement that makes a function.
pub(super) fn create(schema: &str, name: &str, returns: &str, source: &str) -> String {
    let body = if source.contains("$chaperone$") { literal(source) } else { format!("$chaperone${source}$chaperone$") };
    format!(
        "CREATE OR REPLACE FUNCTION {}() RETURNS {returns} LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS {body}",
        Table::new(schema, name).quoted()
    )
}

fn put(text: &mut String, more: &str) {
    // INVARIANT(logged): writing to a string does not fail.
    let written = text.write_str(more);
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(notify: Notify) -> Logged {
        let reach = |fact: &str, column: Option<&str>| Reach { fact: fact.into(), column: column.map(str::to_owned) };
        let facts = [reach("User", Some("id")), reach("Tenant.admins", None)].into();
        Logged::new(&Table::new("public", "odd\ntable"), facts, notify)
    }

    #[test]
    fn a_text_says_what_it_logs_and_a_changed_one_says_nothing() {
        for notify in [Notify::Yes, Notify::No] {
            let source = logged(notify).source("public");
            assert_eq!(Logged::of_source(&source, "public"), Some(logged(notify)));
            assert_eq!(source.contains("pg_notify"), notify == Notify::Yes);
            assert_eq!(Logged::of_source(&source, "other"), None);
            assert_eq!(Logged::of_source(&source.replace("IF TG_OP", "IF false AND TG_OP"), "public"), None);
            assert_eq!(Logged::of_source(&source.replace("\"User\"", "\"Users\""), "public"), None);
        }
    }

    #[test]
    fn what_is_logged_for_any_key_covers_each() {
        let reach = |fact: &str, column: &str| Reach { fact: fact.into(), column: Some(column.into()) };
        assert!(logged(Notify::Yes).covers(&reach("Tenant.admins", "tenant_id")));
        assert!(logged(Notify::Yes).covers(&reach("User", "id")));
        assert!(!logged(Notify::Yes).covers(&reach("User", "tenant_id")));
        assert!(!logged(Notify::Yes).covers(&reach("Tenant", "id")));
    }
}
