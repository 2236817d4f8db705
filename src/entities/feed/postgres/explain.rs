//! What a query of the mapping reads, as PostgreSQL's planner says it: views, rules and policies resolved.

use serde_json::Value as Json;
use sqlx::{
    Column as _, Executor as _, PgConnection, Row as _, Statement as _, postgres::PgRow, types::Json as JsonCell,
};

use super::{
    Watched,
    expression::Used,
    sql::{Table, statement},
};
use crate::entities::{error::Cause, read};

/// Settings of a session that explains: plans hold for every key, and no table that could be read is left out of them.
pub(super) const SETTINGS: [(&str, &str); 3] =
    [("plan_cache_mode", "force_generic_plan"), ("enable_partition_pruning", "off"), ("constraint_exclusion", "off")];

/// One place of a plan where rows of a table are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) table: Table,
    pub(super) alias: String,
    /// What each row that is read must fulfil.
    pub(super) conditions: Vec<String>,
}

/// What one query reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Explained {
    pub(super) scans: Vec<Scan>,
    pub(super) used: Used,
    /// A part of the plan runs as a query of its own. Up to PostgreSQL 16 its value is printed like a parameter, so `$1`
    /// may not be the key.
    pub(super) has_subquery: bool,
    /// What the rows of the query are made of.
    pub(super) output: Vec<String>,
}

/// Why a query has no plan: the database's own words, in which no value stands, since none was bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unexplained(pub(super) String);

/// Prepares each query on this connection, under its number.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    watched: &[Watched],
) -> Result<Vec<Result<(), Unexplained>>, Cause> {
    let mut prepared = Vec::with_capacity(watched.len());
    for (number, watched) in watched.iter().enumerate() {
        let text = read::postgres_prepared(&name(number), &watched.sql);
        prepared.push(refused_or(sqlx::query(text).persistent(false).execute(&mut *connection).await.map(drop))?);
    }
    Ok(prepared)
}

/// The plans of the queries that [`prepare`] prepared.
pub(super) async fn explain(
    connection: &mut PgConnection,
    prepared: &[Result<(), Unexplained>],
) -> Result<Vec<Result<Explained, Unexplained>>, Cause> {
    let numbers = || (0..).zip(prepared).filter(|(_, prepared)| prepared.is_ok()).map(|(number, _)| number);
    // All in one round trip; the first that fails fails all, and each is then asked on its own.
    let text: String = numbers().map(explain_text).collect::<Vec<_>>().join(";\n");
    let together = sqlx::raw_sql(statement(text)).fetch_all(&mut *connection).await;
    let mut plans: Vec<Result<PgRow, Unexplained>> = match refused_or(together)? {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(_one_of_them) => {
            let mut plans = Vec::new();
            for number in numbers() {
                let text = statement(explain_text(number));
                plans.push(refused_or(sqlx::raw_sql(text).fetch_one(&mut *connection).await)?);
            }
            plans
        }
    };
    plans.reverse();
    Ok(prepared
        .iter()
        .map(|prepared| {
            prepared.clone()?;
            let plan = plans.pop().unwrap_or_else(|| Err(Unexplained("the server gave no plan".to_owned())))?;
            let plan: JsonCell<Json> =
                plan.try_get(0).map_err(|_other_type| Unexplained("the server's plan is no JSON".to_owned()))?;
            read_plan(&plan.0)
        })
        .collect())
}

/// Which of the query's columns is `id`.
pub(super) async fn id_position(connection: &mut PgConnection, watched: &Watched) -> Result<Option<usize>, Cause> {
    let text = read::postgres_text(&watched.sql);
    let described =
        refused_or(connection.prepare_with(text, &[<String as sqlx::Type<sqlx::Postgres>>::type_info()]).await)?;
    Ok(described.ok().and_then(|described| described.columns().iter().position(|column| column.name() == "id")))
}

fn name(number: usize) -> String {
    format!("chaperone_watched_{number}")
}

fn explain_text(number: usize) -> String {
    format!("EXPLAIN (FORMAT JSON, VERBOSE) EXECUTE {} (NULL)", name(number))
}

/// A refusal of this statement is an answer about it; anything else is a failure of the connection or the server.
fn refused_or<T>(result: Result<T, sqlx::Error>) -> Result<Result<T, Unexplained>, Cause> {
    match result {
        Ok(value) => Ok(Ok(value)),
        // 42: it does not fit the tables, or may not read them. 0A: not supported. 22: a constant is wrong.
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| ["42", "0A", "22"].iter().any(|class| code.starts_with(class))) =>
        {
            Ok(Err(Unexplained(error.message().to_owned())))
        }
        Err(error) => Err(Cause::of(&error)),
    }
}

fn read_plan(document: &Json) -> Result<Explained, Unexplained> {
    let plan = document.get(0).and_then(|first| first.get("Plan"));
    let plan = plan.ok_or_else(|| Unexplained("the server's plan has no `Plan`".to_owned()))?;
    let mut explained = Explained { output: texts(plan.get("Output")), ..Explained::default() };
    visit(plan, &mut explained)?;
    Ok(explained)
}

/// Keys of a plan's node whose text is a name or a word of the plan and not an expression.
const WORDS: [&str; 15] = [
    "Node Type",
    "Parent Relationship",
    "Subplan Name",
    "Scan Direction",
    "Index Name",
    "Relation Name",
    "Function Name",
    "CTE Name",
    "Schema",
    "Alias",
    "Join Type",
    "Strategy",
    "Partial Mode",
    "Command",
    "Cache Mode",
];

/// Conditions that each row of a scan fulfils.
const CONDITIONS: [&str; 3] = ["Filter", "Index Cond", "Recheck Cond"];

fn visit(node: &Json, explained: &mut Explained) -> Result<(), Unexplained> {
    let word = |key: &str| node.get(key).and_then(Json::as_str);
    let kind = word("Node Type").ok_or_else(|| Unexplained("the server's plan has a nameless node".to_owned()))?;
    match kind {
        "Foreign Scan" | "Custom Scan" | "Sample Scan" | "Table Function Scan" | "ModifyTable" => {
            explained.used.strange.get_or_insert_with(|| format!("a {}", kind.to_lowercase()));
        }
        "Function Scan" if node.get("Function Call").is_none() => {
            explained.used.strange.get_or_insert_with(|| "a function scan".to_owned());
        }
        _ => {}
    }
    if word("Parent Relationship").is_some_and(|relationship| matches!(relationship, "InitPlan" | "SubPlan")) {
        explained.has_subquery = true;
    }
    if let Some(table) = word("Relation Name") {
        let (Some(schema), Some(alias)) = (word("Schema"), word("Alias")) else {
            return Err(Unexplained("the server's plan reads a table without a schema".to_owned()));
        };
        explained.scans.push(Scan {
            table: Table::new(schema, table),
            alias: alias.to_owned(),
            conditions: CONDITIONS.iter().filter_map(|key| word(key)).map(str::to_owned).collect(),
        });
    }
    for (key, value) in node.as_object().into_iter().flatten() {
        match key.as_str() {
            "Plans" => {
                for inner in value.as_array().into_iter().flatten() {
                    visit(inner, explained)?;
                }
            }
            key if WORDS.contains(&key) => {}
            _ => texts(Some(value)).iter().for_each(|expression| explained.used.add(expression)),
        }
    }
    Ok(())
}

/// Every text in a value, however nested.
fn texts(value: Option<&Json>) -> Vec<String> {
    match value {
        Some(Json::String(text)) => vec![text.clone()],
        Some(Json::Array(values)) => values.iter().flat_map(|value| texts(Some(value))).collect(),
        Some(Json::Object(fields)) => fields.values().flat_map(|value| texts(Some(value))).collect(),
        Some(Json::Null | Json::Bool(_) | Json::Number(_)) | None => Vec::new(),
    }
}
