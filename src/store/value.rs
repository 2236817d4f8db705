//! What is bound to a statement, in the types of both databases.

use std::borrow::Cow;

use jiff::{Timestamp, Unit};
use sqlx::{
    Database, Encode, Postgres, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgTypeInfo, types::Oid},
};

/// Microseconds between 1970 and PostgreSQL's epoch, 2000-01-01.
pub(super) const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// PostgreSQL's own number of its type `timestamptz`.
const TIMESTAMPTZ: Oid = Oid(1184);

/// One value for one column; `None` is null, and still says of which type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Text(Option<Cow<'a, str>>),
    Int(Option<i64>),
    Flag(Option<bool>),
    At(Option<Timestamp>),
    Bytes(Option<Cow<'a, [u8]>>),
}

impl Value<'_> {
    /// The same on its own.
    pub(super) fn owned(&self) -> Value<'static> {
        match self {
            Self::Text(text) => Value::Text(text.as_deref().map(|text| Cow::Owned(text.to_owned()))),
            Self::Int(number) => Value::Int(*number),
            Self::Flag(flag) => Value::Flag(*flag),
            Self::At(at) => Value::At(*at),
            Self::Bytes(bytes) => Value::Bytes(bytes.as_deref().map(|bytes| Cow::Owned(bytes.to_owned()))),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(text)))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Some(Cow::Borrowed(text)))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(Cow::Owned(text)))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text.map(Cow::Borrowed))
    }
}

impl From<Option<String>> for Value<'_> {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.map(Cow::Owned))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(Some(flag))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(at: Timestamp) -> Self {
        Self::At(Some(at))
    }
}

impl From<Option<Timestamp>> for Value<'_> {
    fn from(at: Option<Timestamp>) -> Self {
        Self::At(at)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Some(Cow::Borrowed(bytes)))
    }
}

/// An instant as the databases keep it: to the microsecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct At(pub(super) Timestamp);

/// As text: UTC, and whole seconds where there is nothing behind them, as all tables of SQLite have it.
pub(super) fn sqlite_instant(at: Timestamp) -> String {
    at.round(Unit::Microsecond).unwrap_or(at).to_string()
}

impl Type<Postgres> for At {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl Encode<'_, Postgres> for At {
    fn encode_by_ref(&self, buf: &mut <Postgres as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.as_microsecond().checked_sub(POSTGRES_EPOCH_US).ok_or("an instant out of range")?;
        <i64 as Encode<Postgres>>::encode(micros, buf)
    }
}

impl Type<Sqlite> for At {
    fn type_info() -> sqlx::sqlite::SqliteTypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for At {
    fn encode_by_ref(&self, buf: &mut <Sqlite as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <String as Encode<Sqlite>>::encode(sqlite_instant(self.0), buf)
    }
}
