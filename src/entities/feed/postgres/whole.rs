//! What must stand in the database, held against what does: each difference with what is wrong and what mends it.

use std::collections::BTreeSet;

use super::{
    derive::{Derived, Reached},
    found::{Found, Trigger},
    logged::{
        Logged, Notify, ROW_FUNCTION_PREFIX, ROW_TRIGGER, TRIM_FUNCTION, TRUNCATE_FUNCTION, TRUNCATE_TRIGGER, create,
        row_function, trim_source, truncate_source,
    },
    sql::{Table, quoted},
};
use crate::entities::fresh::{Bug, is_seeded};

/// How strictly what stands is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing may be missing; more than needed, with NOTIFY or without it, is whole.
    Enough,
    /// Exactly this.
    Exactly(Notify),
}

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// What is wrong; `None`: something stands there that nothing needs any more.
    pub(super) problem: Option<String>,
    pub(super) sql: Vec<String>,
    /// The table that no transaction may have half written while this is mended: it would go on by the old function.
    pub(super) locks: Option<Table>,
}

const CHANGE: [&str; 5] = ["id bigint", "xid xid8", "at timestamp with time zone", "kind text", "key text"];
const FEED: [&str; 3] = ["one boolean", "epoch uuid", "trimmed_below xid8"];

/// PostgreSQL's bits: for each row, after INSERT, DELETE or UPDATE.
const FIRES_FOR_ROWS: i16 = 1 | 4 | 8 | 16;
/// For each statement, after TRUNCATE.
const FIRES_FOR_TRUNCATE: i16 = 32;

/// Every difference, those first that others rest on.
pub(super) fn differences(
    found: &Found,
    derived: &Derived,
    schema: &str,
    reader: &str,
    wanted: Wanted,
) -> Vec<Difference> {
    let mut judge = Judge { found, derived, schema, reader, wanted, differences: Vec::new() };
    judge.tables();
    judge.functions();
    judge.rights();
    for (table, reached) in &derived.tables {
        judge.row_function(table, reached);
        judge.triggers(table, reached);
    }
    if wanted != Wanted::Enough {
        judge.superfluous();
    }
    if found.change.is_empty() && found.feed.is_empty() {
        // Everything follows from this.
        for (number, difference) in judge.differences.iter_mut().enumerate() {
            difference.problem = (number == 0).then(|| format!("the change feed is not installed in schema {schema}"));
        }
    }
    judge.differences
}

struct Judge<'a> {
    found: &'a Found,
    derived: &'a Derived,
    schema: &'a str,
    reader: &'a str,
    wanted: Wanted,
    differences: Vec<Difference>,
}

impl Judge<'_> {
    fn wrong(&mut self, problem: String, sql: Vec<String>) {
        self.differences.push(Difference { problem: Some(problem), sql, locks: None });
    }

    fn name(&self, name: &str) -> String {
        Table::new(self.schema, name).quoted()
    }

    fn tables(&mut self) {
        let (change, feed) = (self.name("chaperone_change"), self.name("chaperone_feed"));
        let schema = self.schema;
        let other = |name: &str| format!("table {schema}.{name} has other columns than it must: drop it");
        if self.found.change.is_empty() {
            let problem = format!("table {}.chaperone_change is missing", self.schema);
            self.wrong(
                problem,
                vec![
                    format!(
                        "CREATE TABLE {change} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, xid xid8 NOT NULL DEFAULT pg_current_xact_id(), at timestamptz NOT NULL DEFAULT clock_timestamp(), kind text, key text)"
                    ),
                    format!("COMMENT ON TABLE {change} IS 'Chaperone: which facts changed. kind NULL: any; key NULL: any of the kind'"),
                    format!("CREATE INDEX chaperone_change_xid ON {change} (xid)"),
                ],
            );
        } else if self.found.change != CHANGE {
            self.wrong(other("chaperone_change"), Vec::new());
        } else if !self.found.has_index {
            let problem = format!("table {}.chaperone_change has no index on xid", self.schema);
            self.wrong(problem, vec![format!("CREATE INDEX ON {change} (xid)")]);
        }
        if self.found.feed.is_empty() {
            let problem = format!("table {}.chaperone_feed is missing", self.schema);
            self.wrong(
                problem,
                vec![
                    format!(
                        "CREATE TABLE {feed} (one boolean PRIMARY KEY DEFAULT true CHECK (one), epoch uuid NOT NULL, trimmed_below xid8 NOT NULL)"
                    ),
                    format!("COMMENT ON TABLE {feed} IS 'Chaperone: a new epoch starts every feed anew'"),
                ],
            );
        } else if self.found.feed != FEED {
            self.wrong(other("chaperone_feed"), Vec::new());
        }
        // Without the right to look, that right is what is missing.
        if !self.found.has_feed_row && (self.found.feed.is_empty() || self.found.may_read_feed) {
            let problem = format!("table {}.chaperone_feed is empty", self.schema);
            let insert = format!(
                "INSERT INTO {feed} (epoch, trimmed_below) VALUES (gen_random_uuid(), pg_snapshot_xmin(pg_current_snapshot()))"
            );
            self.wrong(problem, vec![insert]);
        }
        if self.found.has_future {
            let problem = format!(
                "table {}.chaperone_change holds changes of transactions that have not begun: the database is a restored copy",
                self.schema
            );
            let anew = vec![
                format!("DELETE FROM {change}"),
                format!(
                    "UPDATE {feed} SET epoch = gen_random_uuid(), trimmed_below = pg_snapshot_xmax(pg_current_snapshot())"
                ),
            ];
            self.wrong(problem, anew);
        }
    }

    /// The functions that serve all tables.
    fn functions(&mut self) {
        let truncate = |notify| truncate_source(self.schema, notify);
        let stands =
            self.found.functions.get(TRUNCATE_FUNCTION).filter(|function| function.is_ours && !function.is_public);
        let (is_whole, notify) = match self.wanted {
            Wanted::Exactly(notify) => (stands.is_some_and(|function| function.source == truncate(notify)), notify),
            Wanted::Enough => {
                let either = |notify| stands.is_some_and(|function| function.source == truncate(notify));
                (either(Notify::Yes) || either(Notify::No), Notify::Yes)
            }
        };
        if !is_whole {
            let source = truncate(notify);
            self.function(TRUNCATE_FUNCTION, "trigger", &source);
        }
        let trim = trim_source(self.schema);
        let stands = self.found.functions.get(TRIM_FUNCTION);
        if !stands.is_some_and(|function| function.is_ours && !function.is_public && function.source == trim) {
            self.function(TRIM_FUNCTION, "bigint", &trim);
        }
    }

    fn function(&mut self, name: &str, returns: &str, source: &str) {
        let is_there = self.found.functions.contains_key(name);
        let problem = format!(
            "function {}.{name} {}",
            self.schema,
            if is_there { "is not what was installed" } else { "is missing" }
        );
        let sql = self.making(name, returns, source);
        self.wrong(problem, sql);
    }

    fn making(&self, name: &str, returns: &str, source: &str) -> Vec<String> {
        vec![
            create(self.schema, name, returns, source),
            format!("REVOKE ALL ON FUNCTION {}() FROM PUBLIC", self.name(name)),
        ]
    }

    /// What the role that reads needs.
    fn rights(&mut self) {
        let role = quoted(self.reader);
        if !self.found.may_use_schema {
            let usage = format!("GRANT USAGE ON SCHEMA {} TO {role}", quoted(self.schema));
            self.wrong(format!("role {} may not use schema {}", self.reader, self.schema), vec![usage]);
        }
        for (name, may) in
            [("chaperone_change", self.found.may_read_change), ("chaperone_feed", self.found.may_read_feed)]
        {
            if !may {
                let grant = format!("GRANT SELECT ON {} TO {role}", self.name(name));
                self.wrong(format!("role {} may not read {}.{name}", self.reader, self.schema), vec![grant]);
            }
        }
        if !self.found.may_trim {
            let grant = format!("GRANT EXECUTE ON FUNCTION {}() TO {role}", self.name(TRIM_FUNCTION));
            let problem = format!("role {} may not call {}.{TRIM_FUNCTION}", self.reader, self.schema);
            self.wrong(problem, vec![grant]);
        }
    }

    /// The function of one table.
    fn row_function(&mut self, table: &Table, reached: &Reached) {
        let name = row_function(table);
        let stands = self.found.functions.get(&name);
        let logged = stands
            .filter(|function| function.is_ours && !function.is_public)
            .and_then(|function| Logged::of_source(&function.source, self.schema))
            .filter(|logged| logged.is_of(table));
        let problem = match (&logged, stands) {
            (None, None) => Some(format!("table {table} has no function that logs its changes")),
            (None, Some(_)) => {
                Some(format!("function {}.{name} of table {table} is not what was installed", self.schema))
            }
            (Some(logged), _) => {
                let missing: BTreeSet<&str> = reached
                    .facts
                    .iter()
                    .filter(|reach| !logged.covers(reach))
                    .map(|reach| reach.fact.as_str())
                    .collect();
                let list = || missing.iter().map(|fact| format!("`{fact}`")).collect::<Vec<_>>().join(", ");
                (!missing.is_empty()).then(|| format!("changes of table {table} are not logged for {}", list()))
            }
        };
        let wanted = match (self.wanted, &logged) {
            (Wanted::Exactly(notify), _) => Logged::new(table, reached.facts.clone(), notify),
            (Wanted::Enough, Some(_)) if problem.is_none() => return,
            (Wanted::Enough, _) => Logged::new(table, reached.facts.clone(), Notify::Yes),
        };
        if logged.as_ref() != Some(&wanted) {
            let sql = self.making(&name, "trigger", &wanted.source(self.schema));
            self.differences.push(Difference { problem, sql, locks: Some(table.clone()) });
        }
    }

    fn triggers(&mut self, table: &Table, reached: &Reached) {
        let row = Fires { trigger: ROW_TRIGGER, function: row_function(table), bits: FIRES_FOR_ROWS };
        self.trigger(table, &row, Origin::Own);
        for partition in &reached.partitions {
            self.trigger(partition, &row, Origin::Inherited);
        }
        if is_seeded(Bug::NoTruncateTrigger) {
            return;
        }
        // TRUNCATE of a partition alone fires its own trigger and not the one above.
        let truncate =
            Fires { trigger: TRUNCATE_TRIGGER, function: TRUNCATE_FUNCTION.to_owned(), bits: FIRES_FOR_TRUNCATE };
        for table in std::iter::once(table).chain(&reached.partitions) {
            self.trigger(table, &truncate, Origin::Own);
        }
    }

    fn trigger(&mut self, table: &Table, wanted: &Fires, origin: Origin) {
        let name = wanted.trigger;
        let function = Table::new(self.schema, &*wanted.function);
        let enable = format!("ALTER TABLE {} ENABLE ALWAYS TRIGGER {name}", table.quoted());
        let stands = self.found.triggers.get(&(table.clone(), name.to_owned()));
        let problem = match stands {
            None => format!("table {table} has no trigger {name}"),
            Some(trigger) if trigger.function != function || trigger.fires != Some(wanted.bits) => {
                format!("trigger {name} of table {table} is not what was installed")
            }
            Some(trigger) => match trigger.enabled.as_str() {
                "A" => return,
                "O" if is_seeded(Bug::TriggersNotAlways) => return,
                "D" => return self.wrong(format!("trigger {name} of table {table} is disabled"), vec![enable]),
                _ => {
                    let problem = format!(
                        "trigger {name} of table {table} is not ENABLE ALWAYS: a session in the replica role changes rows unseen"
                    );
                    return self.wrong(problem, vec![enable]);
                }
            },
        };
        let mut sql = Vec::new();
        if origin == Origin::Own {
            if stands.is_some() {
                sql.push(format!("DROP TRIGGER {name} ON {}", table.quoted()));
            }
            let (events, each) = if wanted.bits == FIRES_FOR_ROWS {
                ("INSERT OR UPDATE OR DELETE", "ROW")
            } else {
                ("TRUNCATE", "STATEMENT")
            };
            sql.push(format!(
                "CREATE TRIGGER {name} AFTER {events} ON {} FOR EACH {each} EXECUTE FUNCTION {}()",
                table.quoted(),
                function.quoted()
            ));
        }
        // A trigger that is inherited comes with the one above; what it is enabled for is its own.
        if !is_seeded(Bug::TriggersNotAlways) {
            sql.push(enable);
        }
        self.wrong(problem, sql);
    }

    /// Triggers and functions of tables that no query reads any more.
    fn superfluous(&mut self) {
        let derived = self.derived;
        let partitions = || derived.tables.values().flat_map(|reached| &reached.partitions);
        let watched: BTreeSet<&Table> = derived.tables.keys().chain(partitions()).collect();
        let is_ours = |trigger: &Trigger| {
            let name = &trigger.function.name;
            !trigger.is_inherited
                && trigger.function.schema == self.schema
                && (name.starts_with(ROW_FUNCTION_PREFIX) || name == TRUNCATE_FUNCTION)
        };
        let functions: BTreeSet<String> = derived.tables.keys().map(row_function).collect();
        let gone = self
            .found
            .functions
            .keys()
            .filter(|name| name.starts_with(ROW_FUNCTION_PREFIX) && !functions.contains(*name));
        let gone: BTreeSet<&String> = gone.collect();
        let left =
            self.found.triggers.iter().filter(|((table, _), trigger)| !watched.contains(table) && is_ours(trigger));
        let mut sql: Vec<String> = left
            .map(|((table, name), _)| format!("DROP TRIGGER IF EXISTS {} ON {}", quoted(name), table.quoted()))
            .collect();
        sql.extend(gone.into_iter().map(|name| format!("DROP FUNCTION {}()", self.name(name))));
        self.differences.extend(sql.into_iter().map(|sql| Difference { problem: None, sql: vec![sql], locks: None }));
    }
}

/// When a trigger fires, and what it calls.
struct Fires {
    trigger: &'static str,
    function: String,
    bits: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Own,
    /// It comes with the trigger of the partitioned table above.
    Inherited,
}
