//! Appending in a SQLite file: the checks of `audit_append`, in the one transaction that may write.

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
use crate::domain::{Held, IndexRow, ShippedFrame, ShippedHeader};

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
const FRAME: Sql = Sql::both(
    "INSERT INTO audit_frame (month, writer, frame, first_seq, count, bytes) VALUES ($1, $2, $3, $4, $5, $6)",
);
const HELD: Sql = Sql::both("SELECT bytes FROM audit_frame WHERE writer = $1 AND frame = $2");
const NOTE: Sql = Sql::both(
    "INSERT INTO audit_checkpoint (writer, size, note, by_writer) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
);
const RECORD: Sql = Sql::both(
    "INSERT INTO audit_record (month, writer, seq, frame, at, decision_id, kind, tenant, principal, principal_type, \
     action, resource_type, resource_id, client, decision, reason, grant_id, line, resource_tenant) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
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
    let before = at.frame;
    for frame in frames {
        if frame.frame <= at.frame {
            refuse_fork(&mut transaction, writer, frame).await?;
            continue;
        }
        at.refuse_strange_note(writer, frame)?;
        at.follow(frame)?;
        keep(&mut transaction, writer, &at.month, frame).await?;
    }
    if at.frame > before {
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

async fn refuse_fork(transaction: &mut Transaction, writer: &str, frame: &ShippedFrame) -> Result<(), TrailError> {
    let held = transaction.row(HELD, &[writer.into(), number(frame.frame)]).await?;
    let held = held.map_or(Ok(None), |row| row.bytes("bytes"))?;
    if held.is_some_and(|held| held != *frame.bytes) {
        return Err(TrailError::Fork(format!("fork: frame {} is held with other bytes", frame.frame)));
    }
    Ok(())
}

async fn keep(
    transaction: &mut Transaction,
    writer: &str,
    month: &str,
    frame: &ShippedFrame,
) -> Result<(), StoreError> {
    let values = [
        Value::from(month),
        Value::from(writer),
        number(frame.frame),
        number(frame.first_seq),
        number(u64::try_from(frame.rows.len()).unwrap_or(u64::MAX)),
        Value::from(frame.bytes.as_slice()),
    ];
    transaction.run(FRAME, &values).await?;
    if let Some(note) = &frame.note {
        let values = [Value::from(&note.writer), number(note.size), Value::from(&note.note), Value::from(writer)];
        transaction.run(NOTE, &values).await?;
    }
    for row in &frame.rows {
        transaction.run(RECORD, &record(writer, row)).await?;
    }
    Ok(())
}

fn record<'a>(writer: &'a str, row: &'a IndexRow) -> [Value<'a>; 19] {
    [
        Value::from(&row.month),
        Value::from(writer),
        number(row.seq),
        number(row.frame),
        Value::from(&row.at),
        Value::from(row.decision_id.as_deref()),
        Value::from(&row.kind),
        Value::from(row.tenant.as_deref()),
        Value::from(row.principal.as_deref()),
        Value::from(row.principal_type.as_deref()),
        Value::from(row.action.as_deref()),
        Value::from(row.resource_type.as_deref()),
        Value::from(row.resource_id.as_deref()),
        Value::from(row.client.as_deref()),
        Value::from(row.decision.as_deref()),
        Value::from(row.reason.as_deref()),
        Value::from(row.grant_id.as_deref()),
        Value::from(row.line.as_deref()),
        Value::from(row.resource_tenant.as_deref()),
    ]
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
