//! What all kinds of rows here have in common: how one is read, made, changed, listed, told of.

use std::{marker::PhantomData, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};

use crate::{
    admin::{
        Admin, Change, Done, Moment, Once, Permitted, Told, Version,
        change::About,
        error::AdminError,
        grants::lock_person,
        page::{Filling, Listed, Page},
    },
    domain::{Reason, RecordKind, Timestamp},
    store::{Sql, StoreError, StoredRow, Transaction, Value},
};

/// The statements of one table. Columns stand in the order of [`Kept::values`], the id first.
#[derive(Clone, Copy, Debug)]
pub struct KeptSql {
    pub(super) by_id: Sql,
    pub(super) by_id_locked: Sql,
    pub(super) page: Sql,
    pub(super) of_pair: Sql,
    pub(super) insert: Sql,
    pub(super) update: Sql,
}

/// Texts of one table: its name, its columns, a place for each, what an update sets, and the columns that a list filters.
macro_rules! kept_sql {
    ($table:literal, $columns:literal, $places:literal, $sets:literal, $user:literal, $client:literal) => {
        $crate::admin::rights::kept::KeptSql {
            by_id: Sql::both(concat!("SELECT ", $columns, " FROM ", $table, " WHERE id = $1")),
            by_id_locked: Sql {
                sqlite: concat!("SELECT ", $columns, " FROM ", $table, " WHERE id = $1"),
                postgres: concat!("SELECT ", $columns, " FROM ", $table, " WHERE id = $1 FOR UPDATE"),
            },
            page: Sql::both(concat!(
                "SELECT ",
                $columns,
                " FROM ",
                $table,
                " WHERE tenant_id = $1 AND id > $2 AND ($3 = '' OR ",
                $user,
                " = $3) AND ($4 = '' OR ",
                $client,
                " = $4) ORDER BY id LIMIT $5"
            )),
            // Those that count are among the last ones made.
            of_pair: Sql::both(concat!(
                "SELECT ",
                $columns,
                " FROM ",
                $table,
                " WHERE tenant_id = $1 AND ",
                $user,
                " = $2 AND ",
                $client,
                " = $3 ORDER BY id DESC LIMIT 1000"
            )),
            insert: Sql::both(concat!("INSERT INTO ", $table, " (", $columns, ") VALUES (", $places, ")")),
            update: Sql::both(concat!("UPDATE ", $table, " SET ", $sets, " WHERE id = $1")),
        }
    };
}
pub(super) use kept_sql;

/// A kind of row. `Serialize` is how it is shown.
pub trait Kept: Clone + Serialize + DeserializeOwned + Send + Sync {
    /// What a person calls one.
    const WHAT: &'static str;
    const SQL: KeptSql;
    /// Members with free text: shown to administrators, never in the trail.
    const UNTOLD: &'static [&'static str] = &[];

    fn id(&self) -> &Arc<str>;
    fn tenant(&self) -> &Arc<str>;
    fn client(&self) -> Option<&Arc<str>>;

    /// Whom of the client's it is about, where one of a kind is enough. `None`: there may be any number.
    fn whom(&self) -> Option<&str> {
        None
    }

    /// Whether `other` says the same over again, so that the end of either would leave what it says in force.
    fn is_again(&self, _other: &Self, _now: Timestamp) -> bool {
        false
    }

    /// The word for where it stands.
    fn standing(&self, now: Timestamp) -> &'static str;

    /// The row of the columns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`].
    fn read(row: &StoredRow) -> Result<Self, StoreError>;

    fn values(&self) -> Vec<Value<'_>>;

    /// Reads what stands in rows of another table.
    fn fill(&mut self, _transaction: &mut Transaction) -> impl Future<Output = Result<(), AdminError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Writes what stands in rows of another table.
    fn keep(&self, _transaction: &mut Transaction) -> impl Future<Output = Result<(), AdminError>> + Send {
        std::future::ready(Ok(()))
    }

    /// What a record says of it, and what its version is made of.
    fn told(&self) -> Json {
        let mut told = serde_json::to_value(self).unwrap_or_default();
        if let Json::Object(members) = &mut told {
            members.retain(|name, _| !Self::UNTOLD.contains(&name.as_str()));
        }
        told
    }

    fn version(&self) -> Version {
        Version::of(&self.told())
    }
}

/// A row as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View<K> {
    #[serde(flatten)]
    pub row: K,
    /// As of now.
    pub state: Arc<str>,
    /// For `If-Match`.
    pub version: String,
}

impl<K: Kept> View<K> {
    fn of(row: K, now: Timestamp) -> Self {
        let (state, version) = (row.standing(now).into(), row.version().as_str().to_owned());
        Self { row, state, version }
    }
}

/// One step with a row that exists.
pub(super) trait Turn<K>: Send + Sync {
    const EVENT: &'static str;
    /// Whether it may come to say what another row says.
    const WIDENS: bool = false;

    /// Changes the row, or says why not.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    fn take(&self, row: &mut K, by: &Arc<str>, now: Timestamp) -> Result<(), AdminError>;
}

/// A row to be made, and why not, where the facts stand in its way.
struct Making<K> {
    row: K,
    event: &'static str,
    refused: Option<Reason>,
}

impl<K: Kept> Change for Making<K> {
    type Answer = View<K>;

    fn kind(&self) -> RecordKind {
        RecordKind::Admin
    }

    async fn make(
        &self,
        _permitted: &Permitted,
        transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Told<View<K>>, AdminError> {
        if let Some(reason) = &self.refused {
            return Err(AdminError::refused(reason.clone()));
        }
        is_alone(&self.row, transaction, moment.now).await?;
        transaction.run(K::SQL.insert, &self.row.values()).await?;
        self.row.keep(transaction).await?;
        Ok(told(self.event, Json::Null, &self.row, moment.now))
    }
}

struct Turning<'a, K, T> {
    id: &'a str,
    turn: &'a T,
    expected: Option<&'a Version>,
    refused: Option<Reason>,
    row: PhantomData<fn() -> K>,
}

impl<K: Kept, T: Turn<K>> Change for Turning<'_, K, T> {
    type Answer = View<K>;

    fn kind(&self) -> RecordKind {
        RecordKind::Admin
    }

    async fn make(
        &self,
        permitted: &Permitted,
        transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Told<View<K>>, AdminError> {
        if let Some(reason) = &self.refused {
            return Err(AdminError::refused(reason.clone()));
        }
        let found = transaction.row(K::SQL.by_id_locked, &[Value::from(self.id)]).await?;
        let found = found.map(|row| K::read(&row)).transpose()?;
        // A person may work in several organizations: the row must be of the one that they act in.
        let of_theirs = found.filter(|row| permitted.tenant().as_ref() == Some(row.tenant()));
        let mut row = of_theirs.ok_or(AdminError::Unknown(K::WHAT))?;
        row.fill(transaction).await?;
        row.version().meet(self.expected)?;
        let before = row.told();
        // Of two that say the same already, either may still be changed.
        let may_be_one_too_many = T::WIDENS && twin(&row, transaction, moment.now).await?.is_none();
        self.turn.take(&mut row, &permitted.by(), moment.now)?;
        if may_be_one_too_many {
            is_alone(&row, transaction, moment.now).await?;
        }
        transaction.run(K::SQL.update, &row.values()).await?;
        row.keep(transaction).await?;
        Ok(told(T::EVENT, before, &row, moment.now))
    }
}

/// Refuses a row that says over again what another one says.
async fn is_alone<K: Kept>(row: &K, transaction: &mut Transaction, now: Timestamp) -> Result<(), AdminError> {
    match twin(row, transaction, now).await? {
        Some(id) => Err(AdminError::Twin { what: K::WHAT, id }),
        None => Ok(()),
    }
}

/// The row that says the same.
async fn twin<K: Kept>(row: &K, transaction: &mut Transaction, now: Timestamp) -> Result<Option<Arc<str>>, AdminError> {
    let (Some(whom), Some(client)) = (row.whom(), row.client()) else { return Ok(None) };
    // Two that make the same at once take turns.
    lock_person(transaction, whom, client).await?;
    let values = [Value::from(&**row.tenant()), Value::from(whom), Value::from(&**client)];
    for other in transaction.rows(K::SQL.of_pair, &values).await? {
        let other = K::read(&other)?;
        if row.is_again(&other, now) {
            return Ok(Some(other.id().clone()));
        }
    }
    Ok(None)
}

pub(super) fn told<K: Kept>(event: &'static str, before: Json, row: &K, now: Timestamp) -> Told<View<K>> {
    let about = About { tenant: Some(row.tenant().clone()), client: row.client().cloned(), ..About::default() };
    let after = row.told();
    let detail = Map::from_iter([("thing".to_owned(), Json::from(K::WHAT))]);
    Told { answer: View::of(row.clone(), now), event, before, after, about, detail, alerts: Vec::new() }
}

impl Admin {
    pub(super) async fn make_kept<K: Kept>(
        &self,
        permitted: &Permitted,
        (row, event): (K, &'static str),
        refused: Option<Reason>,
        once: &Once,
    ) -> Result<Done<View<K>>, AdminError> {
        self.change(permitted, &Making { row, event, refused }, Some(once)).await
    }

    pub(super) async fn turn_kept<K: Kept, T: Turn<K>>(
        &self,
        permitted: &Permitted,
        (id, turn): (&str, &T),
        refused: Option<Reason>,
        expected: Option<&Version>,
        once: &Once,
    ) -> Result<Done<View<K>>, AdminError> {
        let turning = Turning { id, turn, expected, refused, row: PhantomData };
        self.change(permitted, &turning, Some(once)).await
    }

    /// A row as it stands, before anybody is asked.
    pub(super) async fn kept<K: Kept>(&self, id: &str) -> Result<K, AdminError> {
        let mut transaction = self.store()?.read().await?;
        let found = transaction.row(K::SQL.by_id, &[Value::from(id)]).await?;
        let mut row = found.map(|row| K::read(&row)).transpose()?.ok_or(AdminError::Unknown(K::WHAT))?;
        row.fill(&mut transaction).await?;
        transaction.commit().await?;
        Ok(row)
    }

    pub(super) fn kept_shown<K: Kept>(&self, row: K) -> View<K> {
        View::of(row, self.rooms.clock.now())
    }

    /// The rows of `tenant`, by id. `user` and `client` of the page narrow them; `state`, which stands in no row, is judged
    /// row by row until the page is full. A page that looked through very many rows may hold fewer and still lead on.
    pub(super) async fn kept_page<K: Kept>(&self, tenant: &str, page: &Page) -> Result<Listed<View<K>>, AdminError> {
        let mut filling = Filling::begin(page)?;
        let mut transaction = self.store()?.read().await?;
        while filling.wants_more() {
            let values = [
                Value::from(tenant),
                Value::from(filling.after().id()),
                Value::from(page.user.as_deref().unwrap_or_default()),
                Value::from(page.client.as_deref().unwrap_or_default()),
                Value::from(filling.rows_at_once()),
            ];
            let found = transaction.rows(K::SQL.page, &values).await?;
            filling.read(found.len());
            for row in &found {
                let mut row = K::read(row)?;
                row.fill(&mut transaction).await?;
                let id = Arc::clone(row.id());
                let view = self.kept_shown(row);
                let is_it = page.state.as_deref().is_none_or(|state| *view.state == *state);
                if !filling.take(Timestamp::UNIX_EPOCH, &id, is_it.then_some(view)) {
                    break;
                }
            }
        }
        transaction.commit().await?;
        Ok(filling.listed())
    }
}

/// A text that may be null.
pub(super) fn maybe(row: &StoredRow, column: &str) -> Result<Option<Arc<str>>, StoreError> {
    Ok(row.text(column)?.map(Arc::from))
}

/// A list of words, as JSON text.
pub(super) fn words(row: &StoredRow, column: &str) -> Result<Vec<Arc<str>>, StoreError> {
    serde_json::from_str(&row.some_text(column)?).map_err(|_error| unreadable(column, "list of words"))
}

pub(super) fn json_words(words: &[Arc<str>]) -> String {
    Json::from(words.iter().map(|word| &**word).collect::<Vec<_>>()).to_string()
}

pub(super) fn unreadable(column: &str, wanted: &'static str) -> StoreError {
    StoreError::Unreadable { column: column.to_owned(), wanted }
}
