//! A record as one short line for people.

use crate::domain::{Record, RecordKind};

/// `2026-03-10T15:00:00Z  #12  deny no_assignment  User/ana read Client/C4`; what is no decision names its event:
/// `2026-03-10T15:00:00Z  #1  system started`.
pub(super) fn short(seq: u64, record: &Record) -> String {
    let decision = record.decision.map_or_else(|| record.kind.as_str(), |decision| decision.as_str());
    let event = record.detail.get("event").and_then(|event| event.as_str());
    let event =
        event.filter(|_| record.kind != RecordKind::Decision).map(|event| format!(" {event}")).unwrap_or_default();
    let reason = record.reason.as_ref().map(|reason| format!(" {reason}")).unwrap_or_default();
    let who = record.principal.as_ref().map(|who| format!("{}/{}", who.kind, who.id)).unwrap_or_default();
    let action = record.action.as_deref().unwrap_or_default();
    let on = record.resource.as_ref().map(|on| format!("{}/{}", on.kind, on.id)).unwrap_or_default();
    let line = format!("{}  #{seq}  {decision}{event}{reason}  {who} {action} {on}", record.at);
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    #[test]
    fn what_is_no_decision_names_its_event() {
        let mut record = Record::new(RecordKind::System, Timestamp::UNIX_EPOCH);
        record.detail.insert("event".to_owned(), "started".into());
        assert_eq!(short(1, &record), "1970-01-01T00:00:00Z  #1  system started");
        record.kind = RecordKind::Decision;
        assert_eq!(short(1, &record), "1970-01-01T00:00:00Z  #1  decision");
    }
}
