//! What can go wrong with the store. No message here holds a value that was bound or read.

use std::io;

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the address of the store starts with `{scheme}`: write sqlite:// or postgres://")]
    Scheme { scheme: String },
    #[error("the address of the store cannot be read")]
    Url(#[source] sqlx::Error),
    /// Nothing is known of it; trying again may help. What a commit did is unknown.
    #[error("the store at {address} does not answer")]
    Away {
        address: String,
        #[source]
        cause: Cause,
    },
    /// The database's no. `code` is a SQLSTATE or an extended code of SQLite.
    #[error("the store at {address} refused with code {code}{}", .rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default())]
    Refused { address: String, code: String, rule: Option<String> },
    #[error("column `{column}` holds no {wanted}")]
    Unreadable { column: String, wanted: &'static str },
    /// Their index says nothing of them, so that whoever asks by it would miss them.
    #[error(
        "the store at {address} holds encrypted records, which cannot be found there: ask the folder they were written in"
    )]
    Encrypted { address: String },
    #[error("the store at {address} lacks {}: run `chaperone db install`", .missing.join(", "))]
    Unmigrated { address: String, missing: Vec<&'static str> },
    #[error(
        "migration {name} was applied to the store at {address} with another text: use the program that applied it, or \
         mend the store by hand"
    )]
    Changed { address: String, name: String },
    #[error("migration {name} failed at {address}: {words}")]
    Migration { address: String, name: &'static str, words: String },
}

/// What a database or the way to it did, without its words: they may repeat a bound value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("no connection could be had in time")]
    NoConnection,
    #[error("the connection failed: {0}")]
    Io(io::ErrorKind),
    #[error("the server stops, starts or is a standby")]
    Unwilling,
    #[error("the file is locked, cannot be opened or is damaged (code {0})")]
    File(String),
    #[error("no secure connection could be made")]
    Tls,
    #[error("the server's words were not understood")]
    Protocol,
}

/// Codes of PostgreSQL that concern the server or the session, not the statement: 08 the connection, 57P it stops or
/// starts, 53 it lacks room, 25006 it is read-only, 57014 the statement took too long.
fn is_about_the_server(code: &str) -> bool {
    ["08", "57", "53"].iter().any(|class| code.starts_with(class)) || code == "25006"
}

/// Primary codes of SQLite that concern the file: BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB.
fn is_about_the_file(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 11 | 13 | 14 | 26))
}

impl StoreError {
    pub(super) fn of(address: &str, error: &sqlx::Error) -> Self {
        let away = |cause| Self::Away { address: address.to_owned(), cause };
        match error {
            sqlx::Error::Io(error) => away(Cause::Io(error.kind())),
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => away(Cause::NoConnection),
            sqlx::Error::Tls(_) => away(Cause::Tls),
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default().into_owned();
                let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
                if is_sqlite && is_about_the_file(&code) {
                    away(Cause::File(code))
                } else if !is_sqlite && is_about_the_server(&code) {
                    away(Cause::Unwilling)
                } else {
                    Self::Refused { address: address.to_owned(), code, rule: error.constraint().map(str::to_owned) }
                }
            }
            _ => away(Cause::Protocol),
        }
    }

    /// The store may answer later.
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// A row with that key is there already.
    pub fn is_conflict(&self) -> bool {
        // 23505; SQLITE_CONSTRAINT_PRIMARYKEY and SQLITE_CONSTRAINT_UNIQUE.
        matches!(self, Self::Refused { code, .. } if matches!(code.as_str(), "23505" | "1555" | "2067"))
    }
}
