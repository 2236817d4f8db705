//! From plans to what must be watched: which tables, and by which column their rows reach the key.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::{
    Watched,
    catalog::{self, Class, Holds, Partition},
    explain::{self, Explained, Unexplained},
    expression::{Tie, Tied, Used, text_of, tied},
    sql::Table,
};
use crate::entities::error::Cause;

/// What all watched queries of a source read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Derived {
    pub(super) tables: BTreeMap<Table, Reached>,
    /// Queries whose changes no trigger can tell, by their place in the list, and why.
    pub(super) untold: Vec<(usize, String)>,
}

/// A table, and the facts that its rows are part of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// All of them, at every depth.
    pub(super) partitions: Vec<Table>,
    pub(super) facts: BTreeSet<Reach>,
}

/// One way from a row to a fact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(super) struct Reach {
    /// The fact's name in the change table: `Type`, or `Type.relation`.
    pub(super) fact: String,
    /// The column whose text is the key; `None`: the row may concern any key.
    pub(super) column: Option<String>,
}

/// Derives what must be watched for `watched`, whose queries were prepared on this connection.
pub(super) async fn derive(
    connection: &mut PgConnection,
    watched: &[Watched],
    prepared: &[Result<(), Unexplained>],
) -> Result<Derived, Cause> {
    let explained = explain::explain(connection, prepared).await?;
    let known = Known::read(connection, watched, &explained).await?;
    let mut derived = Derived::default();
    for (number, (watched, explained)) in watched.iter().zip(&explained).enumerate() {
        match explained.as_ref().map_err(|Unexplained(words)| words.clone()).and_then(|plan| known.readable(plan)) {
            Ok(plan) => known.reach(watched, plan, &mut derived),
            Err(why) => derived.untold.push((number, why)),
        }
    }
    for reached in derived.tables.values_mut() {
        let coarse: BTreeSet<String> =
            reached.facts.iter().filter(|reach| reach.column.is_none()).map(|reach| reach.fact.clone()).collect();
        reached.facts.retain(|reach| reach.column.is_none() || !coarse.contains(&reach.fact));
    }
    Ok(derived)
}

/// What the catalogs say of all that the plans name.
struct Known {
    classes: BTreeMap<Table, Class>,
    partitions: BTreeMap<Table, Vec<Partition>>,
    columns: BTreeMap<(Table, String), Holds>,
    doubtful: BTreeSet<String>,
    /// Types whose ids are the text of a column that their own query compares as this: no other text names a row.
    exact: BTreeMap<String, Tie>,
}

impl Known {
    async fn read(
        connection: &mut PgConnection,
        watched: &[Watched],
        explained: &[Result<Explained, Unexplained>],
    ) -> Result<Self, Cause> {
        let plans = || explained.iter().filter_map(|plan| plan.as_ref().ok());
        let scans = || plans().flat_map(|plan| &plan.scans);
        let tables = scans().map(|scan| scan.table.clone()).collect();
        let classes = catalog::classes(connection, &tables).await?;
        let partitions = catalog::partitions(connection, classes.values()).await?;
        let wanted = scans().flat_map(|scan| {
            let tied = scan.conditions.iter().flat_map(|condition| tied(condition, &scan.alias));
            tied.map(|tied| (scan.table.clone(), tied.column))
        });
        let columns = catalog::columns(connection, &wanted.collect()).await?;
        let mut used = Used::default();
        for plan in plans() {
            used.functions.extend(plan.used.functions.iter().cloned());
            used.operators.extend(plan.used.operators.iter().cloned());
            used.types.extend(plan.used.types.iter().cloned());
        }
        let doubtful = catalog::doubtful(connection, &used).await?;
        let mut known = Self { classes, partitions, columns, doubtful, exact: BTreeMap::new() };
        for (watched, plan) in watched.iter().zip(explained) {
            if let (None, Ok(plan)) = (&watched.relation, plan)
                && plan.may_be_cast()
                && let Some(position) = explain::id_position(connection, watched).await?
                && let Some(tie) = known.exact_tie(plan, position)
            {
                known.exact.insert(watched.kind.to_string(), tie);
            }
        }
        Ok(known)
    }

    /// The plan, if all that it reads can be watched.
    fn readable<'e>(&self, plan: &'e Explained) -> Result<&'e Explained, String> {
        if let Some(strange) = &plan.used.strange {
            return Err(format!("it uses {strange}"));
        }
        let named = |names: &BTreeSet<String>, what: &str| {
            names.iter().map(|name| format!("{what} `{name}`")).find(|words| self.doubtful.contains(words))
        };
        let implicit = || self.doubtful.iter().find(|words| words.starts_with("cast ")).cloned();
        let doubtful = named(&plan.used.functions, "function")
            .or_else(|| named(&plan.used.operators, "operator"))
            .or_else(implicit);
        if let Some(words) = doubtful {
            return Err(format!("it calls {words}, which may read other tables or answer by the moment"));
        }
        for scan in &plan.scans {
            let Some(class) = self.classes.get(&scan.table) else {
                return Err(format!("it reads {}, which is not found", scan.table));
            };
            let what = match class.kind.as_str() {
                _ if class.is_temporary => "a temporary table",
                _ if matches!(scan.table.schema.as_str(), "pg_catalog" | "information_schema") => {
                    "a table of the system"
                }
                "r" | "p" => continue,
                "m" => "a materialized view",
                "f" => "a foreign table",
                _ => "no table",
            };
            return Err(format!("it reads {}, {what}: its changes call no trigger", scan.table));
        }
        let foreign = |scan: &explain::Scan| {
            let root = &self.classes.get(&scan.table)?.root;
            self.partitions.get(root)?.iter().find(|partition| partition.kind == "f")
        };
        match plan.scans.iter().find_map(foreign) {
            Some(partition) => {
                Err(format!("it reads {}, a foreign table: its changes call no trigger", partition.table))
            }
            None => Ok(plan),
        }
    }

    fn reach(&self, watched: &Watched, plan: &Explained, derived: &mut Derived) {
        for scan in &plan.scans {
            let Some(class) = self.classes.get(&scan.table) else { continue };
            let reached = derived.tables.entry(class.root.clone()).or_default();
            let partitions = self.partitions.get(&class.root).into_iter().flatten();
            reached.partitions = partitions.map(|partition| partition.table.clone()).collect();
            let column = self.key_column(watched, plan, scan);
            reached.facts.insert(Reach { fact: watched.fact_name(), column });
        }
    }

    /// The column by which the rows of this scan reach the key: only rows whose text in it is the key are read.
    fn key_column(&self, watched: &Watched, plan: &Explained, scan: &explain::Scan) -> Option<String> {
        if plan.has_subquery || plan.used.other_parameters {
            return None;
        }
        let exact = self.exact.get(&*watched.kind).filter(|_| watched.binds_own_id).copied();
        scan.ties().into_iter().filter(|tied| self.is_by_text(scan, tied, exact)).map(|tied| tied.column).min()
    }

    /// Whether the text of the column is the key whenever the two are equal.
    fn is_by_text(&self, scan: &explain::Scan, tied: &Tied, exact: Option<Tie>) -> bool {
        match (self.holds(scan, tied), tied.tie) {
            (Holds::Text, Tie::Text { .. })
            | (Holds::Uuid | Holds::Integer | Holds::Words, Tie::Text { is_cast: true }) => true,
            (Holds::Uuid, Tie::Uuid) | (Holds::Integer, Tie::Integer) => exact == Some(tied.tie),
            _ => false,
        }
    }

    fn holds(&self, scan: &explain::Scan, tied: &Tied) -> Holds {
        self.columns.get(&(scan.table.clone(), tied.column.clone())).copied().unwrap_or(Holds::Other)
    }

    /// How the ids of a type compare, if what its own query returns as `id` is the text of the column that it compares.
    ///
    /// `$1::uuid` finds a row by its capitals too, and the key is then not the text in the change table. But an own row
    /// whose `id` is not letter by letter the one asked for does not exist, so a type like this has no such ids.
    fn exact_tie(&self, plan: &Explained, id_position: usize) -> Option<Tie> {
        let (alias, column) = text_of(plan.output.get(id_position)?)?;
        let scan = plan.scans.iter().find(|scan| scan.alias == alias)?;
        let tied = scan.ties().into_iter().find(|tied| tied.column == column && tied.tie.is_value())?;
        match (self.holds(scan, &tied), tied.tie) {
            (Holds::Uuid, Tie::Uuid) | (Holds::Integer, Tie::Integer) => Some(tied.tie),
            _ => None,
        }
    }
}

impl explain::Scan {
    fn ties(&self) -> Vec<Tied> {
        self.conditions.iter().flat_map(|condition| tied(condition, &self.alias)).collect()
    }
}

impl Explained {
    fn may_be_cast(&self) -> bool {
        self.scans.iter().any(|scan| scan.ties().iter().any(|tied| tied.tie.is_value()))
    }
}

impl Tie {
    const fn is_value(self) -> bool {
        matches!(self, Self::Uuid | Self::Integer)
    }
}
