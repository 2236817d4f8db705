//! What a tenant's reader is shown of a record about its own resource and somebody else's person.
//!
//! Whose data it was has to be told who looked, when, at what, why and under which exception. How the other house employs,
//! equips and places its people is not its to know.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;

use super::Found;
use crate::domain::{
    Record,
    record::{PrincipalRecord, RECORD_VERSION},
};

/// Not shown where a line is given by its number and instant alone.
pub(in crate::audit) const ALL: &str = "all";

impl Found {
    /// The record as the reader of `tenant` gets it: as it is stored where the principal acted in that tenant, else without
    /// the principal's roles, session, address, program, claims and the rows its access rested on. What was left out is named
    /// in `not_shown`; a line that cannot be understood here is given by its number alone.
    pub fn shown_to(&self, tenant: &str) -> Cow<'_, Self> {
        let Some(record) = self.record() else { return Cow::Owned(Self { line: self.bare(), ..self.clone() }) };
        if record.tenant.as_deref() == Some(tenant) {
            return Cow::Borrowed(self);
        }
        let (shown, left_out) = without_the_other_house(&record);
        if left_out.is_empty() {
            return Cow::Borrowed(self);
        }
        let line = line(&shown, self.seq, &left_out).unwrap_or_else(|| self.bare());
        Cow::Owned(Self { line, ..self.clone() })
    }

    fn bare(&self) -> Vec<u8> {
        format!(r#"{{"v":{RECORD_VERSION},"seq":{},"at":"{}","not_shown":["{ALL}"]}}"#, self.seq, self.at).into_bytes()
    }

    /// What its reader is not shown of it; nothing of a stored line.
    pub fn not_shown(&self) -> Vec<String> {
        #[derive(Deserialize)]
        struct Line {
            not_shown: Vec<String>,
        }
        // It stands last. Few lines are worth a second reading.
        if !self.line.ends_with(b"]}") {
            return Vec::new();
        }
        serde_json::from_slice::<Line>(&self.line).map(|line| line.not_shown).unwrap_or_default()
    }
}

/// What is shown, and the names of what is not.
fn without_the_other_house(record: &Record) -> (Record, Vec<&'static str>) {
    let shown = Record {
        principal: record.principal.clone().map(|principal| PrincipalRecord { roles: Vec::new(), ..principal }),
        session: None,
        ip: None,
        user_agent: None,
        evidence: Vec::new(),
        ignored: Vec::new(),
        asserted: Vec::new(),
        ..record.clone()
    };
    let left_out = [
        ("principal.roles", record.principal != shown.principal),
        ("evidence", record.evidence != shown.evidence),
        ("session", record.session != shown.session),
        ("ip", record.ip != shown.ip),
        ("user_agent", record.user_agent != shown.user_agent),
        ("ignored", record.ignored != shown.ignored),
        ("asserted", record.asserted != shown.asserted),
    ];
    (shown, left_out.iter().filter(|(_, is_out)| *is_out).map(|(name, _)| *name).collect())
}

fn line(shown: &Record, seq: u64, left_out: &[&str]) -> Option<Vec<u8>> {
    let rest = serde_json::to_string(shown).ok()?;
    let rest = rest.strip_prefix('{')?.strip_suffix('}')?;
    let not_shown = json!(left_out);
    Some(format!(r#"{{"v":{RECORD_VERSION},"seq":{seq},{rest},"not_shown":{not_shown}}}"#).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Evidence, RecordKind, Timestamp, record::SessionRecord};

    fn found(tenant: Option<&str>) -> Found {
        let mut record = Record::new(RecordKind::Decision, Timestamp::UNIX_EPOCH);
        record.principal =
            Some(PrincipalRecord { kind: "User".to_owned(), id: "agy".to_owned(), roles: vec!["member".into()] });
        record.tenant = tenant.map(Into::into);
        record.client = Some("L1".into());
        record.resource_tenant = Some("TW".into());
        record.evidence = vec![Evidence { kind: "role".into(), id: "r_agy".into(), until: None }];
        record.grant = Some("TK1".into());
        record.access_reason = Some("a call".to_owned());
        record.session = Some(SessionRecord { mfa: Some(true), ..SessionRecord::default() });
        record.ip = Some("10.0.0.9".to_owned());
        record.user_agent = Some("ehr/4.2".to_owned());
        record.asserted = vec!["Note.sensitivity".to_owned()];
        let rest = serde_json::to_string(&record).unwrap();
        let line = format!(r#"{{"v":1,"seq":7,{}"#, rest.strip_prefix('{').unwrap()).into_bytes();
        Found { at: record.at, writer: "w".into(), seq: 7, line }
    }

    #[test]
    fn whose_data_it_was_learns_who_looked_and_not_how_the_other_house_works() {
        for of in [Some("TA"), None] {
            let (stored, found) = (found(of).record().unwrap(), found(of));
            let shown = found.shown_to("TW");
            let line: serde_json::Value = serde_json::from_slice(&shown.line).unwrap();
            assert_eq!((&line["v"], &line["seq"]), (&1.into(), &7.into()));
            let left_out = ["principal.roles", "evidence", "session", "ip", "user_agent", "asserted"];
            assert_eq!(line["not_shown"], json!(left_out));
            let expected = without_the_other_house(&stored).0;
            assert_eq!(shown.record().unwrap(), expected);
            assert_eq!(line["principal"], json!({ "type": "User", "id": "agy" }));
            let told = (&line["client"], &line["grant"], &line["access_reason"]);
            assert_eq!(told, (&"L1".into(), &"TK1".into(), &"a call".into()));
            let text = String::from_utf8(shown.line.clone()).unwrap();
            assert!(
                !["member", "r_agy", "10.0.0.9", "ehr/4.2", "mfa"].iter().any(|word| text.contains(word)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_record_of_the_readers_own_people_is_the_stored_line() {
        let own = found(Some("TW"));
        assert_eq!(own.shown_to("TW").line, own.line);
        let nothing_to_hide = Found { line: found(None).shown_to("TW").line.clone(), ..found(None) };
        assert_eq!(nothing_to_hide.shown_to("TW").line, nothing_to_hide.line);
        let strange = Found { line: br#"{"v":9,"seq":7,"ip":"10.0.0.9"}"#.to_vec(), ..found(None) };
        assert!(!String::from_utf8(strange.shown_to("TW").line.clone()).unwrap().contains("10.0.0.9"));
    }
}
