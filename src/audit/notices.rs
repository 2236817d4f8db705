//! The records that the trail writes about itself.

use serde_json::json;

use super::{
    queue::{Pending, Refused},
    recover::Found,
    retention::Finished,
    volume::VolumeKind,
};
use crate::domain::{Record, RecordKind, Tier, Timestamp};

/// The first record of a writer: what started, where, after whom, and what it found.
pub(super) fn started(
    at: Timestamp,
    version: &str,
    volume: VolumeKind,
    is_accepted: bool,
    found: Option<&Found>,
) -> Record {
    let mut record = Record::new(RecordKind::System, at);
    let mut say = |key: &str, value| drop(record.detail.insert(key.to_owned(), value));
    say("event", json!("started"));
    say("version", json!(version));
    say("volume", json!(volume.as_str()));
    if volume.is_ephemeral() {
        // Where all that promises `disk` waits for a store elsewhere, nothing had to be accepted.
        say("ephemeral_accepted", json!(is_accepted));
    }
    if let Some(found) = found {
        let prev = &found.prev;
        say("predecessor", json!({ "writer": prev.writer.to_string(), "seq": prev.seq, "clean": prev.clean }));
        let mut what = json!({ "damaged": prev.damaged, "tail_bytes": prev.tail_bytes });
        if found.contradicted
            && let Some(what) = what.as_object_mut()
        {
            what.insert("checkpoint_contradicted".to_owned(), json!(true));
        }
        say("found", what);
    }
    record
}

/// Segments that a pruning which was cut off had left behind, and that are gone now.
pub(super) fn pruning_finished(at: Timestamp, finished: &Finished) -> Record {
    let mut record = Record::new(RecordKind::System, at);
    let mut say = |key: &str, value| drop(record.detail.insert(key.to_owned(), value));
    say("event", json!("pruning_finished"));
    say("segments", json!(finished.segments));
    let of = |(writer, segment): &(_, u32)| json!({ "writer": uuid::Uuid::to_string(writer), "segment": segment });
    say("writers", finished.writers.iter().map(of).collect::<Vec<_>>().into());
    record
}

/// Answers that never went out, for want of room.
pub(super) fn refused(at: Timestamp, refused: Refused) -> Record {
    let mut record = Record::new(RecordKind::System, at);
    let mut say = |key: &str, value| drop(record.detail.insert(key.to_owned(), value));
    say("event", json!("refused"));
    say("from", json!(refused.from));
    say("to", json!(refused.to));
    say("count", json!(refused.count));
    record
}

/// The record with number `seq` stands, and the answer to its decision did not leave: whoever counts leaves it out.
pub(super) fn withheld(at: Timestamp, (id, caller): (&str, &str), seq: u64, why: &str) -> Record {
    let mut record = Record::new(RecordKind::System, at);
    record.decision_id = Some(id.to_owned());
    record.caller = Some(caller.to_owned());
    let mut say = |key: &str, value| drop(record.detail.insert(key.to_owned(), value));
    say("event", json!("withheld"));
    say("withheld_seq", json!(seq));
    say("why", json!(why));
    record
}

/// A record nobody waits for.
pub(super) fn pending(record: &Record) -> Result<Pending, serde_json::Error> {
    Ok(Pending { rest: rest(record)?, tier: Tier::Process, answer: None, decision: None })
}

/// The record's JSON without its opening brace, so that the writer can put `v` and `seq` in front of it.
pub(super) fn rest(record: &Record) -> Result<Vec<u8>, serde_json::Error> {
    let mut json = serde_json::to_vec(record)?;
    json.remove(0);
    Ok(json)
}
