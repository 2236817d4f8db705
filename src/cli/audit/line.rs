//! A record as one short line for people.

use crate::domain::Record;

/// `2026-03-10T15:00:00Z  #12  deny no_assignment  User/ana read Client/C4`.
pub(super) fn short(seq: u64, record: &Record) -> String {
    let decision = record.decision.map_or_else(|| record.kind.as_str(), |decision| decision.as_str());
    let reason = record.reason.as_ref().map(|reason| format!(" {reason}")).unwrap_or_default();
    let who = record.principal.as_ref().map(|who| format!("{}/{}", who.kind, who.id)).unwrap_or_default();
    let action = record.action.as_deref().unwrap_or_default();
    let on = record.resource.as_ref().map(|on| format!("{}/{}", on.kind, on.id)).unwrap_or_default();
    let line = format!("{}  #{seq}  {decision}{reason}  {who} {action} {on}", record.at);
    line.trim_end().to_owned()
}
