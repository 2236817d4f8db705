//! `chaperone db install`: makes the feed whole, in one transaction, by the same comparison that finds what is wrong.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::{
    Notify,
    derive::Derived,
    found,
    source::{FeedDatabase, FeedTask, InstallError, Known, options},
    sql::{Table, statement},
    whole::{Difference, Wanted, differences},
};
use crate::{
    domain::mapping::Source,
    entities::{Place, error::Cause},
};

/// Longest time for the whole transaction of one database.
const INSTALL_MOST: Duration = Duration::from_secs(60);

/// What begins it: writers are waited for, but not for long, for others queue behind us meanwhile.
const BEGIN: [&str; 3] =
    ["BEGIN READ WRITE", "SET LOCAL lock_timeout = '5s'", "SELECT pg_advisory_xact_lock(4850741, 0)"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Changes the database.
    Install,
    /// Only says what would be done.
    DryRun,
}

/// What was done to one database, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The sources that it serves.
    pub sources: Vec<Source>,
    pub schema: String,
    /// The whole transaction; empty: nothing is to be done.
    pub statements: Vec<String>,
    /// What was wrong before.
    pub problems: Vec<String>,
    /// The watched tables with the facts that their rows are part of, a line each.
    pub tables: Vec<String>,
    /// Queries whose changes no trigger can tell, and why: their facts are read anew after each poll.
    pub untold: Vec<(Place, String)>,
}

/// Makes the feed whole on each database of the sources that are meant.
///
/// # Errors
///
/// [`InstallError`]; the database it is about is then as it was before, and those before it are done.
pub async fn install(task: &FeedTask<'_>, notify: Notify, mode: Mode) -> Result<Vec<Installed>, InstallError> {
    let mut groups: Vec<Vec<Known<'_>>> = Vec::new();
    for database in task.databases {
        let known = Known::of(database, task).await?;
        let same = |group: &&mut Vec<Known<'_>>| {
            group.iter().any(|other| other.session.database == known.session.database && other.schema == known.schema)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(known),
            None => groups.push(vec![known]),
        }
    }
    let mut installed = Vec::new();
    for group in groups {
        if let Some(meant) = group.iter().find(|known| task.meant.contains(&known.database.source)) {
            installed.push(install_one(&group, meant, task, notify, mode).await?);
        }
    }
    Ok(installed)
}

async fn install_one(
    group: &[Known<'_>],
    first: &Known<'_>,
    task: &FeedTask<'_>,
    notify: Notify,
    mode: Mode,
) -> Result<Installed, InstallError> {
    let mut derived = Derived::default();
    group.iter().for_each(|known| derived.merge(&known.derived));
    let mut roles: Vec<&str> = group.iter().map(|known| known.session.role.as_str()).collect();
    roles.sort_unstable();
    roles.dedup();
    let goal = Goal { derived: &derived, schema: &first.schema, roles, notify, database: first.database };
    let mut writer = writer(first.database, task.limit).await?;
    let work = async {
        for statement in BEGIN {
            goal.run(&mut writer, statement).await?;
        }
        let wrong = goal.differences(&mut writer).await?;
        let statements = statements(&wrong, &first.schema);
        if mode == Mode::Install {
            for statement in &statements {
                goal.run(&mut writer, statement).await?;
            }
            let left: Vec<String> =
                goal.differences(&mut writer).await?.into_iter().filter_map(|difference| difference.problem).collect();
            if !left.is_empty() {
                return Err(InstallError::Unmended { database: first.database.source, problems: left });
            }
        }
        goal.run(&mut writer, if mode == Mode::Install { "COMMIT" } else { "ROLLBACK" }).await?;
        Ok((wrong, statements))
    };
    let away = |cause| InstallError::Away { database: first.database.source, cause };
    // Left halfway, the connection is closed, which rolls everything back.
    let (wrong, mut statements) = timeout(INSTALL_MOST, work).await.unwrap_or(Err(away(Cause::Timeout)))?;
    writer.close().await.map_err(|error| away(Cause::of(&error)))?;
    if !statements.is_empty() {
        statements.splice(0..0, BEGIN.map(str::to_owned));
        statements.push("COMMIT".to_owned());
    }
    Ok(Installed {
        sources: group.iter().map(|known| known.database.source).collect(),
        schema: first.schema.clone(),
        statements,
        problems: wrong.into_iter().filter_map(|difference| difference.problem).collect(),
        tables: derived.lines(),
        untold: group.iter().flat_map(|known| known.untold.iter().cloned()).collect(),
    })
}

/// A connection that may write.
pub(super) async fn writer(database: &FeedDatabase, limit: Duration) -> Result<PgConnection, InstallError> {
    let options: PgConnectOptions = options(database, database.owner_url.as_ref().unwrap_or(&database.url))?;
    let options = options.application_name("chaperone-install");
    let opened = timeout(limit, PgConnection::connect_with(&options)).await;
    let opened = opened.map_or(Err(Cause::Timeout), |opened| opened.map_err(|error| Cause::of(&error)));
    opened.map_err(|cause| InstallError::Away { database: database.source, cause })
}

/// What the database is to become.
struct Goal<'a> {
    derived: &'a Derived,
    schema: &'a str,
    roles: Vec<&'a str>,
    notify: Notify,
    database: &'a FeedDatabase,
}

impl Goal<'_> {
    async fn differences(&self, writer: &mut PgConnection) -> Result<Vec<Difference>, InstallError> {
        let mut all: Vec<Difference> = Vec::new();
        for role in &self.roles {
            let found = found::read(writer, self.schema, role)
                .await
                .map_err(|cause| InstallError::Away { database: self.database.source, cause })?;
            let wanted = Wanted::Exactly(self.notify);
            for difference in differences(&found, self.derived, self.schema, role, wanted) {
                if !all.contains(&difference) {
                    all.push(difference);
                }
            }
        }
        Ok(all)
    }

    async fn run(&self, writer: &mut PgConnection, text: &str) -> Result<(), InstallError> {
        match sqlx::raw_sql(statement(text.to_owned())).execute(writer).await {
            Ok(_done) => Ok(()),
            Err(sqlx::Error::Database(error)) => Err(InstallError::Refused {
                database: self.database.source,
                statement: text.lines().next().unwrap_or_default().to_owned(),
                words: error.message().to_owned(),
            }),
            Err(error) => Err(InstallError::Away { database: self.database.source, cause: Cause::of(&error) }),
        }
    }
}

/// What mends all of `wrong`, in its order.
///
/// A transaction that wrote to a table before its function changed, and commits after, was logged by the old one: each
/// such table is locked against writers first, so that none is under way.
fn statements(wrong: &[Difference], schema: &str) -> Vec<String> {
    let mut locked: Vec<&Table> = wrong.iter().filter_map(|difference| difference.locks.as_ref()).collect();
    locked.sort();
    let locks = (!locked.is_empty()).then(|| {
        let tables: Vec<String> = locked.iter().map(|table| table.quoted()).collect();
        format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", tables.join(", "))
    });
    // Whatever was wrong, a sidecar may have believed its feed meanwhile, and its mapping may ask for what stood here
    // before: it must look again, and forget what it kept.
    let anew = !wrong.is_empty();
    let feed = Table::new(schema, "chaperone_feed").quoted();
    let anew = anew.then(|| format!("UPDATE {feed} SET epoch = gen_random_uuid()"));
    let mended = wrong.iter().flat_map(|difference| difference.sql.iter().cloned());
    locks.into_iter().chain(mended).chain(anew).collect()
}
