//! `sources`: the databases that facts come from.

use serde::{Serialize, Serializer};

use super::{
    reader::{Presence, Section},
    secret::{HIDDEN, Secret},
    server::or_off,
};
use crate::domain::mapping::Source;

#[derive(Clone, Debug, Serialize)]
pub struct SourcesConfig {
    /// The application's own database.
    #[serde(serialize_with = "or_off")]
    pub app: Option<SourceConfig>,
    /// Chaperone's tables.
    #[serde(serialize_with = "or_off")]
    pub store: Option<SourceConfig>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SourceConfig {
    #[serde(serialize_with = "redacted")]
    pub url: Secret,
    #[serde(skip)]
    pub database: Database,
    pub connections: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

impl SourcesConfig {
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        let app = s
            .optional("app", "The application's own database, read only.", Presence::Off, SourceConfig::read)
            .flatten();
        let store =
            s.optional("store", "The database of Chaperone's own tables.", Presence::Off, SourceConfig::read).flatten();
        Self { app, store }
    }

    pub const fn of(&self, source: Source) -> Option<&SourceConfig> {
        match source {
            Source::App => self.app.as_ref(),
            Source::Store => self.store.as_ref(),
        }
    }
}

impl SourceConfig {
    fn read(s: &mut Section<'_, '_>) -> Option<Self> {
        let url = s.secret("url", "url_file", "sqlite:///path or postgres://user@host/database.");
        let connections = s.number(
            "connections",
            8,
            1..=1_000,
            "Most connections at a time; to a SQLite file no more than two beyond the processors.",
        );
        let key = if s.has("url_file") { "url_file" } else { "url" };
        let Some(url) = url else {
            if !s.has(key) {
                s.problem(
                    "",
                    "the source has no `url`",
                    Some("as `url: sqlite:///var/lib/app.db`, or `url_file: …`".to_owned()),
                );
            }
            return None;
        };
        let scheme = url.expose().split_once(':').map_or("", |(scheme, _)| scheme);
        let database = match scheme {
            "sqlite" => Database::Sqlite,
            "postgres" | "postgresql" => Database::Postgres,
            "mysql" | "mariadb" => {
                s.problem(
                    key,
                    "MySQL and MariaDB are not supported yet",
                    Some("sqlite:// and postgres:// are".to_owned()),
                );
                return None;
            }
            _ => {
                s.problem(
                    key,
                    "the address is neither sqlite:// nor postgres://",
                    Some("as sqlite:///var/lib/app.db or postgres://app@db/ehr".to_owned()),
                );
                return None;
            }
        };
        Some(Self { url, database, connections: u32::try_from(connections).unwrap_or(8) })
    }

    /// The address without what must stay secret: for messages and `config print`.
    pub fn redacted_url(&self) -> String {
        redact(self.url.expose())
    }
}

fn redacted<S: Serializer>(url: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redact(url.expose()))
}

/// Hides the password, and every parameter: drivers accept passwords there too.
fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return HIDDEN.to_owned() };
    let (place, parameters) = rest.split_once('?').map_or((rest, ""), |(place, _)| (place, "?***"));
    let place = match place.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:{HIDDEN}@{host}"),
            None => format!("{login}@{host}"),
        },
        None => place.to_owned(),
    };
    format!("{scheme}://{place}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_address_has_no_password() {
        assert_eq!(redact("postgres://app:p@ss@db:5432/ehr"), "postgres://app:***@db:5432/ehr");
        assert_eq!(redact("postgres://db/ehr?user=app&password=x"), "postgres://db/ehr?***");
        assert_eq!(redact("sqlite:///var/lib/app.db"), "sqlite:///var/lib/app.db");
    }
}
