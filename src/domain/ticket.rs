//! Support tickets (docs/domain.md §4.6): one engineer, some records, until it is resolved.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::not_now::NotNow;

/// A ticket that is open longer than this is opened again by somebody who looks at it.
pub const LASTS_AT_MOST: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Where nobody says until when.
pub const LASTS: SignedDuration = SignedDuration::from_hours(72);
pub const SOURCES: [&str; 3] = ["in_app", "email", "low_rating"];
/// A ticket names records, not a chart.
pub const RECORDS_MAX: usize = 32;

/// One row, and the records in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    #[serde(rename = "ticket_id")]
    pub id: Arc<str>,
    pub tenant: Arc<str>,
    pub source: Arc<str>,
    pub opened_by: Arc<str>,
    pub engineer: Arc<str>,
    pub phi_needed: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub phi_approved_by: Option<Arc<str>>,
    pub status: Arc<str>,
    pub opened_at: Timestamp,
    pub expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_by: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reopened_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reopened_by: Option<Arc<str>>,
    pub scope: Vec<InScope>,
}

/// One record that the ticket is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InScope {
    pub resource_type: Arc<str>,
    pub resource_id: Arc<str>,
    pub fields: Vec<Arc<str>>,
    /// Who of the customer released a note that was kept from support, for this ticket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub released_by: Option<Arc<str>>,
}

const OWN: NotNow = NotNow("the engineer whom a ticket serves takes no step with it");

impl Ticket {
    /// The word for where it stands at `now`.
    pub fn standing(&self, now: Timestamp) -> &'static str {
        match &*self.status {
            "open" | "waiting" if self.expires_at <= now => "expired",
            "open" => "open",
            "waiting" => "waiting",
            "resolved" => "resolved",
            _ => "closed",
        }
    }

    fn is_running(&self, by: &Arc<str>, now: Timestamp) -> Result<(), NotNow> {
        if *by == self.engineer {
            return Err(OWN);
        }
        match self.standing(now) {
            "open" | "waiting" => Ok(()),
            _ => Err(NotNow("the ticket is over")),
        }
    }

    /// Names another record, or other groups of one; what was released stays released.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: the ticket is over, full, or one's own.
    pub fn add(&mut self, record: InScope, by: &Arc<str>, now: Timestamp) -> Result<(), NotNow> {
        self.is_running(by, now)?;
        let is_it = |known: &&mut InScope| {
            known.resource_type == record.resource_type && known.resource_id == record.resource_id
        };
        let is_full = self.scope.len() >= RECORDS_MAX;
        match self.scope.iter_mut().find(is_it) {
            Some(known) => known.fields = record.fields,
            None if is_full => {
                return Err(NotNow("the ticket names as many records as it may"));
            }
            None => self.scope.push(record),
        }
        Ok(())
    }

    /// Lets support see a record that the customer keeps from it, for this ticket. `None`: no such record in it.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: the ticket is over, or one's own.
    pub fn release(&mut self, kind: &str, id: &str, by: &Arc<str>, now: Timestamp) -> Result<Option<()>, NotNow> {
        self.is_running(by, now)?;
        let known = self.scope.iter_mut().find(|known| &*known.resource_type == kind && &*known.resource_id == id);
        Ok(known.map(|known| known.released_by = Some(by.clone())))
    }

    /// Over at once. Anybody may say so.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: it is resolved already.
    pub fn resolve(&mut self, by: &Arc<str>, now: Timestamp) -> Result<(), NotNow> {
        if !matches!(&*self.status, "open" | "waiting") {
            return Err(NotNow("the ticket is resolved already"));
        }
        self.status = "resolved".into();
        self.resolved_at = Some(now);
        self.resolved_by = Some(by.clone());
        Ok(())
    }

    /// Open again, until it would have been over by itself.
    ///
    /// # Errors
    ///
    /// [`NotNow`]: it is open, one's own, or would be over.
    pub fn reopen(&mut self, by: &Arc<str>, now: Timestamp) -> Result<(), NotNow> {
        if *by == self.engineer {
            return Err(OWN);
        }
        if matches!(&*self.status, "open" | "waiting") {
            return Err(NotNow("the ticket is not resolved"));
        }
        if self.expires_at <= now {
            return Err(NotNow("its time is over: open another one"));
        }
        self.status = "open".into();
        self.reopened_at = Some(now);
        self.reopened_by = Some(by.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_runs_until_it_is_resolved_and_its_engineer_takes_no_step() {
        let word = Arc::<str>::from;
        let now: Timestamp = "2026-03-10T15:00:00Z".parse().unwrap();
        let record = |id: &str| InScope {
            resource_type: word("Note"),
            resource_id: id.into(),
            fields: vec![word("clin.note")],
            released_by: None,
        };
        let mut ticket = Ticket {
            id: word("TK"),
            tenant: word("T1"),
            source: word("email"),
            opened_by: word("ana"),
            engineer: word("eng"),
            phi_needed: true,
            phi_approved_by: None,
            status: word("open"),
            opened_at: now,
            expires_at: now + LASTS,
            resolved_at: None,
            resolved_by: None,
            reopened_at: None,
            reopened_by: None,
            scope: Vec::new(),
        };
        let (adm, eng) = (word("adm"), word("eng"));
        assert!(ticket.add(record("N1"), &eng, now).is_err());
        ticket.add(record("N1"), &adm, now).unwrap();
        assert_eq!(ticket.release("Note", "N2", &adm, now), Ok(None));
        assert_eq!(ticket.release("Note", "N1", &eng, now), Err(OWN));
        assert_eq!(ticket.release("Note", "N1", &adm, now), Ok(Some(())));
        ticket.add(record("N1"), &adm, now).unwrap();
        assert_eq!((ticket.scope.len(), ticket.scope[0].released_by.as_deref()), (1, Some("adm")));
        assert!(ticket.reopen(&adm, now).is_err(), "open");
        ticket.resolve(&eng, now).unwrap();
        assert!(ticket.resolve(&adm, now).is_err() && ticket.add(record("N2"), &adm, now).is_err());
        assert_eq!(ticket.reopen(&eng, now), Err(OWN));
        assert!(ticket.reopen(&adm, now + LASTS).is_err(), "its time is over");
        ticket.reopen(&adm, now).unwrap();
        assert_eq!((ticket.standing(now), ticket.standing(now + LASTS)), ("open", "expired"));
    }
}
