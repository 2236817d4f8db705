//! The store's rows of one client, read and nothing else.

use std::{str::FromStr, time::Duration};

use serde_json::Value as Json;
use sqlx::{
    ConnectOptions, Connection, PgConnection, Row as _, SqliteConnection, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};

use super::{
    category::Category,
    entry::{Origin, Row},
    select::{Statement, Suspension},
};
use crate::domain::Timestamp;

/// The most rows of one client; more is an error, never a shortened accounting.
const ROWS_MAX: usize = 100_000;

/// What the store knows of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub rows: Vec<Row>,
    pub suspensions: Vec<Suspension>,
}

/// Why the store's rows are not there. No message holds a row's content.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("a store's address is `sqlite://…` or `postgres://…`")]
    Scheme,
    #[error("the store's address cannot be read")]
    Url(#[source] sqlx::Error),
    #[error("the store does not answer within {0:?}")]
    Silent(Duration),
    #[error("the store cannot be read")]
    Database(#[source] sqlx::Error),
    #[error("row {id} of `{table}` has a value in `{column}` that is none of its kind")]
    Value { table: &'static str, id: String, column: &'static str },
    #[error("the client has more than {ROWS_MAX} rows in `{0}`")]
    TooMany(&'static str),
}

// One row, one JSON object of texts: the same in both databases, whatever types their columns have.
const SQLITE: [&str; 2] = [
    "SELECT json_object('id', id, 'tenant_id', tenant_id, 'client_id', client_id, 'disclosed_at', disclosed_at, \
     'recipient_name', recipient_name, 'recipient_address', recipient_address, 'description', description, \
     'purpose_statement', purpose_statement, 'legal_basis', legal_basis, 'category', category, \
     'accountable', CAST(accountable AS text), 'part2', CAST(part2 AS text), 'via_ehr', CAST(via_ehr AS text), \
     'series_id', series_id, 'decision_id', decision_id) \
     FROM disclosures WHERE client_id = ? ORDER BY disclosed_at, id LIMIT 100001",
    "SELECT json_object('id', id, 'tenant_id', tenant_id, 'client_id', client_id, 'agency', agency, \
     'statement', statement, 'received_at', received_at, 'starts_at', starts_at, 'ends_at', ends_at) \
     FROM disclosure_suspensions WHERE client_id = ? ORDER BY received_at, id LIMIT 100001",
];
const POSTGRES: [&str; 2] = [
    "SELECT json_build_object('id', id, 'tenant_id', tenant_id, 'client_id', client_id, \
     'disclosed_at', to_char(disclosed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
     'recipient_name', recipient_name, 'recipient_address', recipient_address, 'description', description, \
     'purpose_statement', purpose_statement, 'legal_basis', legal_basis, 'category', category, \
     'accountable', accountable::text, 'part2', part2::text, 'via_ehr', via_ehr::text, \
     'series_id', series_id, 'decision_id', decision_id)::text \
     FROM disclosures WHERE client_id = $1 ORDER BY disclosed_at, id LIMIT 100001",
    "SELECT json_build_object('id', id, 'tenant_id', tenant_id, 'client_id', client_id, 'agency', agency, \
     'statement', statement, \
     'received_at', to_char(received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
     'starts_at', to_char(starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
     'ends_at', to_char(ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))::text \
     FROM disclosure_suspensions WHERE client_id = $1 ORDER BY received_at, id LIMIT 100001",
];

/// Reads the rows of `client` from the store at `url`, in one look that takes no longer than `limit`.
///
/// # Errors
///
/// The store is away or has no such tables, or a row is not what its column promises.
pub async fn load(url: &str, client: &str, limit: Duration) -> Result<Stored, LoadError> {
    let reading = async {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => from_sqlite(url, client).await,
            Some("postgres" | "postgresql") => from_postgres(url, client).await,
            Some(_) | None => Err(LoadError::Scheme),
        }
    };
    let [rows, suspensions] =
        tokio::time::timeout(limit, reading).await.map_err(|_late| LoadError::Silent(limit))??;
    if rows.len() > ROWS_MAX {
        return Err(LoadError::TooMany("disclosures"));
    }
    if suspensions.len() > ROWS_MAX {
        return Err(LoadError::TooMany("disclosure_suspensions"));
    }
    Ok(Stored {
        rows: rows.iter().map(|text| row(text)).collect::<Result<_, _>>()?,
        suspensions: suspensions.iter().map(|text| suspension(text)).collect::<Result<_, _>>()?,
    })
}

async fn from_sqlite(url: &str, client: &str) -> Result<[Vec<String>; 2], LoadError> {
    let options = SqliteConnectOptions::from_str(url).map_err(LoadError::Url)?;
    let options =
        options.read_only(true).create_if_missing(false).pragma("query_only", "ON").disable_statement_logging();
    let mut connection: SqliteConnection = options.connect().await.map_err(LoadError::Database)?;
    let mut found = [Vec::new(), Vec::new()];
    // Both looks are of one instant: a suspension must not miss the row that it is about.
    let mut transaction = connection.begin().await.map_err(LoadError::Database)?;
    for (sql, found) in SQLITE.into_iter().zip(&mut found) {
        let rows = sqlx::query(sql).bind(client).fetch_all(&mut *transaction).await.map_err(LoadError::Database)?;
        *found = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(LoadError::Database)?;
    }
    transaction.rollback().await.map_err(LoadError::Database)?;
    Ok(found)
}

async fn from_postgres(url: &str, client: &str) -> Result<[Vec<String>; 2], LoadError> {
    let options = PgConnectOptions::from_str(url).map_err(LoadError::Url)?;
    let options = options
        .application_name("chaperone")
        .disable_statement_logging()
        .options([("default_transaction_read_only", "on"), ("default_transaction_isolation", "repeatable read")]);
    let mut connection: PgConnection = options.connect().await.map_err(LoadError::Database)?;
    let mut found = [Vec::new(), Vec::new()];
    let mut transaction = connection.begin().await.map_err(LoadError::Database)?;
    for (sql, found) in POSTGRES.into_iter().zip(&mut found) {
        let rows = sqlx::query(sql).bind(client).fetch_all(&mut *transaction).await.map_err(LoadError::Database)?;
        *found = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(LoadError::Database)?;
    }
    transaction.rollback().await.map_err(LoadError::Database)?;
    Ok(found)
}

/// A row's cells by name, and how to complain about one.
struct Cells {
    table: &'static str,
    cells: Json,
}

impl Cells {
    fn read(table: &'static str, text: &str) -> Result<Self, LoadError> {
        let cells =
            serde_json::from_str(text).map_err(|_json| LoadError::Value { table, id: String::new(), column: "id" })?;
        Ok(Self { table, cells })
    }

    fn wrong(&self, column: &'static str) -> LoadError {
        let id = self.cells.get("id").and_then(Json::as_str).unwrap_or_default().to_owned();
        LoadError::Value { table: self.table, id, column }
    }

    fn text(&self, column: &'static str) -> Result<String, LoadError> {
        self.optional(column).ok_or_else(|| self.wrong(column))
    }

    fn optional(&self, column: &'static str) -> Option<String> {
        self.cells.get(column)?.as_str().map(str::to_owned)
    }

    fn instant(&self, column: &'static str) -> Result<Timestamp, LoadError> {
        self.text(column)?.parse().map_err(|_instant| self.wrong(column))
    }

    fn is(&self, column: &'static str) -> Result<bool, LoadError> {
        match self.text(column)?.as_str() {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(self.wrong(column)),
        }
    }
}

fn row(text: &str) -> Result<Row, LoadError> {
    let cells = Cells::read("disclosures", text)?;
    Ok(Row {
        origin: Origin::Store(cells.text("id")?),
        tenant: cells.text("tenant_id")?,
        client: cells.text("client_id")?,
        disclosed_at: cells.instant("disclosed_at")?,
        recipient: cells.text("recipient_name")?,
        address: cells.optional("recipient_address"),
        description: cells.text("description")?,
        purpose: cells.optional("purpose_statement"),
        legal_basis: cells.text("legal_basis")?,
        category: Category::of_word(&cells.text("category")?),
        said_accountable: Some(cells.is("accountable")?),
        is_part2: cells.is("part2")?,
        is_via_ehr: cells.is("via_ehr")?,
        series: cells.optional("series_id"),
        decision_id: cells.optional("decision_id"),
        maker: None,
        consent: None,
    })
}

fn suspension(text: &str) -> Result<Suspension, LoadError> {
    let cells = Cells::read("disclosure_suspensions", text)?;
    let statement = match cells.text("statement")?.as_str() {
        "oral" => Statement::Oral,
        "written" => Statement::Written,
        _ => return Err(cells.wrong("statement")),
    };
    Ok(Suspension {
        tenant: cells.text("tenant_id")?,
        client: cells.text("client_id")?,
        agency: cells.text("agency")?,
        statement,
        received_at: cells.instant("received_at")?,
        starts_at: cells.instant("starts_at")?,
        ends_at: cells.instant("ends_at")?,
    })
}
