//! Appending in a SQLite file: the checks of `audit_append`, in the one transaction that may write.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    super::{
        error::StoreError,
        pool::Store,
        transaction::{Sql, Transaction},
        value::Value,
    },
    TrailError,
};
use crate::domain::{Held, IndexRow, ShippedFrame, ShippedHeader, ShippedNote};

const WRITER: Sql = Sql::both(
    "SELECT header, prev_writer, prev_seq, frame, seq, chain, month, alarm FROM audit_writer WHERE writer = $1",
);
/// What the writer said itself, what was said before that was noted, and what those say that followed it.
const NOTES: Sql = Sql::both(
    "SELECT note FROM (SELECT note FROM audit_checkpoint WHERE writer = $1 AND by_writer = $1 \
                       ORDER BY size DESC LIMIT 1) \
     UNION ALL \
     SELECT note FROM (SELECT note FROM audit_checkpoint WHERE writer = $1 AND by_writer = '' \
                       ORDER BY size DESC LIMIT 1) \
     UNION ALL \
     SELECT note FROM (SELECT said.note FROM audit_writer AS after \
                       JOIN audit_checkpoint AS said ON said.by_writer = after.writer \
                       WHERE after.prev_writer = $1 AND said.writer = $1 ORDER BY said.size DESC LIMIT 6)",
);
const BEGIN: Sql = Sql::both(
    "INSERT INTO audit_writer (writer, header, prev_writer, prev_seq, frame, seq, chain, month, alarm) \
     VALUES ($1, $2, $3, $4, 0, 0, $5, $6, $7)",
);
const ADVANCE: Sql =
    Sql::both("UPDATE audit_writer SET frame = $2, seq = $3, chain = $4, month = $5 WHERE writer = $1");
/// All of a call at once: a statement a row would cost two changes of thread each.
const FRAMES: Sql = Sql::both(
    "INSERT INTO audit_frame (month, writer, frame, first_seq, count, bytes) \
     SELECT value ->> 'month', $1, value ->> 'frame', value ->> 'first_seq', value ->> 'count', \
            substr($3, value ->> 'from', value ->> 'length') FROM json_each($2)",
);
const HELD: Sql = Sql::both("SELECT bytes FROM audit_frame WHERE writer = $1 AND frame = $2");
const NOTE: Sql = Sql::both(
    "INSERT INTO audit_checkpoint (writer, size, note, by_writer) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
);
const RECORDS: Sql = Sql::both(
    "INSERT INTO audit_record (month, writer, seq, frame, at, decision_id, kind, tenant, principal, principal_type, \
     action, resource_type, resource_id, client, decision, reason, grant_id, line, resource_tenant) \
     SELECT value ->> 'month', $1, value ->> 'seq', value ->> 'frame', value ->> 'at', value ->> 'decision_id', \
            value ->> 'kind', value ->> 'tenant', value ->> 'principal', value ->> 'principal_type', \
            value ->> 'action', value ->> 'resource_type', value ->> 'resource_id', value ->> 'client', \
            value ->> 'decision', value ->> 'reason', value ->> 'grant_id', value ->> 'line', \
            value ->> 'resource_tenant' FROM json_each($2)",
);
const CLONED: Sql = Sql::both("SELECT 1 AS found FROM audit_writer WHERE prev_writer = $1");
const RESTORED: Sql = Sql::both("SELECT 1 AS found FROM audit_writer WHERE writer = $1 AND seq > $2");

/// A writer as the file holds it.
struct Row {
    header: Vec<u8>,
    frame: u64,
    seq: u64,
    chain: Vec<u8>,
    month: String,
    prev: Option<(String, u64)>,
    alarm: Option<String>,
}

/// A frame that follows the last one, as `FRAMES` reads it.
#[derive(Serialize)]
struct KeptFrame {
    month: String,
    frame: u64,
    first_seq: u64,
    count: usize,
    /// Where its bytes stand in those of all, from 1.
    from: usize,
    length: usize,
}

/// What a call adds.
#[derive(Default)]
struct Kept<'a> {
    frames: Vec<KeptFrame>,
    bytes: Vec<u8>,
    notes: Vec<&'a ShippedNote>,
    rows: Vec<&'a IndexRow>,
}

impl<'a> Kept<'a> {
    fn push(&mut self, month: &str, frame: &'a ShippedFrame) {
        self.frames.push(KeptFrame {
            month: month.to_owned(),
            frame: frame.frame,
            first_seq: frame.first_seq,
            count: frame.rows.len(),
            from: self.bytes.len() + 1,
            length: frame.bytes.len(),
        });
        self.bytes.extend_from_slice(&frame.bytes);
        self.notes.extend(&frame.note);
        self.rows.extend(&frame.rows);
    }

    /// Of the same call, and not written yet.
    fn refuse_fork(&self, frame: &ShippedFrame) -> Result<(), TrailError> {
        let Some(kept) = self.frames.iter().find(|kept| kept.frame == frame.frame) else { return Ok(()) };
        let bytes = kept.from.checked_sub(1).and_then(|from| self.bytes.get(from..)?.get(..kept.length));
        if bytes == Some(frame.bytes.as_slice()) { Ok(()) } else { Err(forked(frame)) }
    }

    async fn keep(&self, transaction: &mut Transaction, writer: &str) -> Result<(), TrailError> {
        let as_json = |json: serde_json::Result<String>| {
            json.map(Value::from).map_err(|error| TrailError::Malformed(error.to_string()))
        };
        let frames = as_json(serde_json::to_string(&self.frames))?;
        transaction.run(FRAMES, &[writer.into(), frames, Value::from(self.bytes.as_slice())]).await?;
        for note in &self.notes {
            let values = [Value::from(&note.writer), number(note.size), Value::from(&note.note), Value::from(writer)];
            transaction.run(NOTE, &values).await?;
        }
        transaction.run(RECORDS, &[writer.into(), as_json(serde_json::to_string(&self.rows))?]).await?;
        Ok(())
    }
}

pub(super) async fn held(store: &Store, writer: &str) -> Result<Option<Held>, TrailError> {
    let mut transaction = store.read().await?;
    match row(&mut transaction, writer).await? {
        Some(row) => Ok(Some(row.held(notes(&mut transaction, writer).await?))),
        None => Ok(None),
    }
}

pub(super) async fn append(
    store: &Store,
    writer: &str,
    header: Option<&ShippedHeader>,
    frames: &[ShippedFrame],
) -> Result<Option<Held>, TrailError> {
    let mut transaction = store.begin().await?;
    let mut at = match (row(&mut transaction, writer).await?, header) {
        (None, None) => return Ok(None),
        (None, Some(header)) => begin(&mut transaction, writer, header).await?,
        (Some(row), Some(header)) if row.header != *header.bytes => {
            return Err(TrailError::Fork("fork: another first header is held".to_owned()));
        }
        (Some(row), _) => row,
    };
    let mut kept = Kept::default();
    for frame in frames {
        if frame.frame <= at.frame {
            kept.refuse_fork(frame)?;
            refuse_fork(&mut transaction, writer, frame).await?;
            continue;
        }
        at.refuse_strange_note(writer, frame)?;
        at.follow(frame)?;
        kept.push(&at.month, frame);
    }
    if !kept.frames.is_empty() {
        kept.keep(&mut transaction, writer).await?;
        let values = [
            Value::from(writer),
            number(at.frame),
            number(at.seq),
            Value::from(at.chain.as_slice()),
            Value::from(&at.month),
        ];
        transaction.run(ADVANCE, &values).await?;
    }
    let notes = notes(&mut transaction, writer).await?;
    transaction.commit().await?;
    Ok(Some(at.held(notes)))
}

async fn notes(transaction: &mut Transaction, writer: &str) -> Result<Vec<String>, StoreError> {
    transaction.rows(NOTES, &[writer.into()]).await?.iter().map(|row| row.some_text("note")).collect()
}

async fn row(transaction: &mut Transaction, writer: &str) -> Result<Option<Row>, StoreError> {
    let Some(row) = transaction.row(WRITER, &[writer.into()]).await? else { return Ok(None) };
    let count = |column| Ok::<_, StoreError>(row.int(column)?.and_then(|n| u64::try_from(n).ok()).unwrap_or_default());
    Ok(Some(Row {
        header: row.bytes("header")?.unwrap_or_default(),
        frame: count("frame")?,
        seq: count("seq")?,
        chain: row.bytes("chain")?.unwrap_or_default(),
        month: row.some_text("month")?,
        prev: row.text("prev_writer")?.zip(Some(count("prev_seq")?)),
        alarm: row.text("alarm")?,
    }))
}

async fn begin(transaction: &mut Transaction, writer: &str, header: &ShippedHeader) -> Result<Row, StoreError> {
    let prev = header.prev.as_ref();
    let mut alarm = None;
    if let Some(prev) = prev {
        let name = Value::from(&prev.writer);
        if transaction.row(CLONED, std::slice::from_ref(&name)).await?.is_some() {
            alarm = Some("cloned: another writer names the same predecessor".to_owned());
        } else if prev.clean && transaction.row(RESTORED, &[name, number(prev.seq)]).await?.is_some() {
            alarm = Some("restored: more is held of its predecessor than it found".to_owned());
        }
    }
    let chain = Sha256::digest(header.bytes.as_slice()).to_vec();
    let values = [
        Value::from(writer),
        Value::from(header.bytes.as_slice()),
        Value::from(prev.map(|prev| prev.writer.as_str())),
        prev.map_or(Value::Int(None), |prev| number(prev.seq)),
        Value::from(chain.as_slice()),
        Value::from(&header.month),
        Value::from(alarm.clone()),
    ];
    transaction.run(BEGIN, &values).await?;
    let prev = prev.map(|prev| (prev.writer.clone(), prev.seq));
    Ok(Row { header: header.bytes.to_vec(), frame: 0, seq: 0, chain, month: header.month.clone(), prev, alarm })
}

fn forked(frame: &ShippedFrame) -> TrailError {
    TrailError::Fork(format!("fork: frame {} is held with other bytes", frame.frame))
}

async fn refuse_fork(transaction: &mut Transaction, writer: &str, frame: &ShippedFrame) -> Result<(), TrailError> {
    let held = transaction.row(HELD, &[writer.into(), number(frame.frame)]).await?;
    let held = held.map_or(Ok(None), |row| row.bytes("bytes"))?;
    if held.is_some_and(|held| held != *frame.bytes) {
        return Err(forked(frame));
    }
    Ok(())
}

fn number(number: u64) -> Value<'static> {
    Value::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
}

impl Row {
    fn held(self, notes: Vec<String>) -> Held {
        Held { frame: self.frame, seq: self.seq, notes, alarm: self.alarm }
    }

    /// A writer speaks of itself and of the one that it followed, and of no more records than there were.
    fn refuse_strange_note(&self, writer: &str, frame: &ShippedFrame) -> Result<(), TrailError> {
        let Some(note) = &frame.note else { return Ok(()) };
        let is_own = note.writer == writer && note.size <= self.seq;
        let is_of_prev = self.prev.as_ref().is_some_and(|(prev, seq)| note.writer == *prev && note.size <= *seq);
        if is_own || is_of_prev {
            return Ok(());
        }
        Err(TrailError::Malformed("a checkpoint speaks of records that are not its writer's".to_owned()))
    }

    /// Moves on to `frame`, if it is the next one and continues the chain.
    fn follow(&mut self, frame: &ShippedFrame) -> Result<(), TrailError> {
        let (next, next_seq) = (self.frame + 1, self.seq + 1);
        if frame.frame != next || frame.first_seq != next_seq {
            return Err(TrailError::Gap(format!(
                "gap: frame {} with record {} came, frame {next} with record {next_seq} is next",
                frame.frame, frame.first_seq
            )));
        }
        let bound = frame.bytes.get(..frame.bound).unwrap_or_default();
        let chain = Sha256::new().chain_update(&self.chain).chain_update(bound).finalize().to_vec();
        if chain != frame.chain {
            return Err(TrailError::Fork(format!("fork: frame {} does not continue the chain", frame.frame)));
        }
        if !frame.rows.iter().zip(next_seq..).all(|(row, seq)| row.seq == seq && row.frame == next) {
            return Err(TrailError::Malformed("the index has not each record once".to_owned()));
        }
        self.frame = next;
        self.seq += u64::try_from(frame.rows.len()).unwrap_or(u64::MAX);
        self.chain = chain;
        if let Some(month) = frame.rows.iter().map(|row| &row.month).max() {
            self.month.clone_from(month);
        }
        Ok(())
    }
}
