//! What a change names: whether it is there, whose it is, and what else the facts say about it.

use std::sync::Arc;

use crate::{
    admin::{Actor, Admin, Plea, actor::request, error::AdminError},
    domain::{Cell, Reason, zone_named},
};

/// Reasons that come before every rule: a thing of which one of these is said cannot be named in a change.
const IN_THE_WAY: [&str; 8] = [
    "unknown_resource",
    "unknown_action",
    "tenant_missing",
    "tenant_mismatch",
    "tenant_closed",
    "data_unavailable",
    "data_stale",
    "policy_error",
];

/// A thing that a change names.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// Why it cannot be named here.
    pub(super) refused: Option<Reason>,
    /// The client that it belongs to.
    pub(super) client: Option<Arc<str>>,
}

impl Admin {
    /// Asks the facts about `kind` `id`, as this person sees them: a thing of another organization is in the way as much as
    /// one that is not there.
    pub(super) async fn named(&self, actor: &Actor, kind: &str, id: &str) -> Result<Named, AdminError> {
        let plea = Plea::on("read", kind, id);
        let request = request(actor, &plea).ok_or(AdminError::refused(Reason::UNKNOWN_PRINCIPAL))?;
        let evaluation = self.rooms.authorizer.supposes(&request).await?;
        let refused = evaluation.reason.filter(|reason| IN_THE_WAY.contains(&reason.as_str()));
        Ok(Named { refused, client: evaluation.subject.client })
    }

    /// The time zone of `tenant`.
    pub(super) async fn zone(&self, tenant: &str) -> Result<jiff::tz::TimeZone, AdminError> {
        let bundle = self.rooms.live.current().ok_or(crate::authorize::AuthorizeError::NoBundle)?;
        let name = match &bundle.mapping.tenancy {
            None => None,
            Some(tenancy) => self.rooms.authorizer.fact(&tenancy.tenant_type, tenant, "timeZone").await?,
        };
        let Some(Cell::Text(name)) = name else {
            return Err(malformed("/until_date", "needs the organization's time zone, which no fact says: give `to`"));
        };
        zone_named(&name).ok_or_else(|| malformed("/until_date", "needs a time zone that exists: give `to`"))
    }

    /// Refuses a group that the fields file does not know.
    pub(super) fn are_groups(&self, path: &'static str, groups: &[Arc<str>]) -> Result<(), AdminError> {
        let bundle = self.rooms.live.current().ok_or(crate::authorize::AuthorizeError::NoBundle)?;
        match groups.iter().position(|group| !bundle.taxonomy.groups.contains_key(group)) {
            None => Ok(()),
            Some(position) => Err(malformed(path, &format!("must hold field groups, and number {position} is none"))),
        }
    }
}

pub(super) fn malformed(path: &'static str, expected: &str) -> AdminError {
    AdminError::Malformed { path, expected: expected.to_owned() }
}
