//! `chaperone db doctor`: whether the feed of each source is whole, by the same eyes as the feed's own.

use tokio::time::timeout;

use super::{
    Proof, found,
    install::writer,
    poll::advised,
    prove::prove,
    source::{FeedTask, InstallError, Known},
    whole::{Wanted, differences},
};
use crate::{
    domain::mapping::Source,
    entities::{Place, error::Cause},
};

/// What was found on one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    pub source: Source,
    pub schema: String,
    pub role: String,
    /// What is wrong; empty: the feed is whole.
    pub problems: Vec<String>,
    /// The watched tables with the facts that their rows are part of, a line each.
    pub tables: Vec<String>,
    /// Queries whose changes no trigger can tell, and why: their facts are read anew after each poll.
    pub untold: Vec<(Place, String)>,
    /// By table: whether its triggers fire. Empty unless a role that may write was given.
    pub proofs: Vec<(String, Proof)>,
}

/// Examines each source that is meant.
///
/// # Errors
///
/// [`InstallError`] if a source cannot be asked.
pub async fn doctor(task: &FeedTask<'_>) -> Result<Vec<Examined>, InstallError> {
    let mut examined = Vec::new();
    for database in task.databases.iter().filter(|database| task.meant.contains(&database.source)) {
        let mut known = Known::of(database, task).await?;
        let away = |cause| InstallError::Away { database: database.source, cause };
        let found = timeout(task.limit, found::read(&mut known.connection, &known.schema, &known.session.role));
        let found = found.await.unwrap_or(Err(Cause::Timeout)).map_err(away)?;
        let wrong = differences(&found, &known.derived, &known.schema, &known.session.role, Wanted::Enough);
        let mut problems: Vec<String> = wrong.into_iter().filter_map(|difference| difference.problem).collect();
        let mut proofs = Vec::new();
        if database.owner_url.is_some() && problems.is_empty() {
            let mut writer = writer(database, task.limit).await?;
            for (table, proof) in prove(&mut writer, &known.schema, &known.derived).await.map_err(away)? {
                if proof == Proof::Silent {
                    problems.push(format!("a row of table {table} was written and nothing was logged"));
                }
                proofs.push((table.to_string(), proof));
            }
        }
        examined.push(Examined {
            source: database.source,
            schema: known.schema,
            role: known.session.role,
            problems: advised(problems),
            tables: known.derived.lines(),
            untold: known.untold,
            proofs,
        });
    }
    Ok(examined)
}
