//! The filters that every reader of the trail takes.

use crate::{
    audit::query::Query,
    cli::{exit::Exit, failure::Failure},
};

/// Which records: those that have every word given.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct FilterArgs {
    /// Who asked: `ana`, or with its type `User/ana`
    #[arg(long, value_name = "ID")]
    principal: Option<String>,
    /// About which client
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// About which record, as `Note/N1`
    #[arg(long, value_name = "TYPE/ID")]
    resource: Option<String>,
    /// What was asked to do
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// `allow` or `deny`
    #[arg(long, value_name = "DECISION")]
    decision: Option<String>,
    /// Why it was denied
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Under which emergency grant or ticket
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// In which tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Not before this instant
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Only before this instant
    #[arg(long, value_name = "INSTANT")]
    to: Option<String>,
    /// With this decision id
    #[arg(long, value_name = "ID")]
    decision_id: Option<String>,
    /// decision, outcome, grant, review, admin, policy or system
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
}

impl FilterArgs {
    /// The query that they make.
    pub(super) fn query(&self) -> Result<Query, Failure> {
        let given = [
            ("principal", &self.principal),
            ("client", &self.client),
            ("resource", &self.resource),
            ("action", &self.action),
            ("decision", &self.decision),
            ("reason", &self.reason),
            ("grant", &self.grant),
            ("tenant", &self.tenant),
            ("from", &self.from),
            ("to", &self.to),
            ("decision_id", &self.decision_id),
            ("kind", &self.kind),
        ];
        let mut query = Query::default();
        for (word, value) in given {
            let Some(value) = value else { continue };
            query.set(word, value).map_err(|error| {
                let flag = word.replace('_', "-");
                Failure::new(Exit::Usage, format!("--{flag} {error}")).at(format!("--{flag} {value}"))
            })?;
        }
        Ok(query)
    }
}
