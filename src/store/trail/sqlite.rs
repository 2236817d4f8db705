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
    "SELECT header, frame, seq, chain, month, alarm, \
            (SELECT max(size) FROM audit_checkpoint AS note WHERE note.writer = held.writer) AS noted \
     FROM audit_writer AS held WHERE writer = $1",
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
const NOTE: Sql =
    Sql::both("INSERT INTO audit_checkpoint (writer, size, note) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
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
    noted: u64,
    alarm: Option<String>,
}

pub(super) async fn held(store: &Store, writer: &str) -> Result<Option<Held>, TrailError> {
    let mut transaction = store.read().await?;
    Ok(row(&mut transaction, writer).await?.map(Row::held))
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
        at.follow(frame)?;
        keep(&mut transaction, writer, &at.month, frame).await?;
        if let Some(note) = frame.note.as_ref().filter(|note| note.writer == writer) {
            at.noted = at.noted.max(note.size);
        }
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
    transaction.commit().await?;
    Ok(Some(at.held()))
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
        noted: count("noted")?,
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
    Ok(Row { header: header.bytes.to_vec(), frame: 0, seq: 0, chain, month: header.month.clone(), noted: 0, alarm })
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
        transaction.run(NOTE, &[Value::from(&note.writer), number(note.size), Value::from(&note.note)]).await?;
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
    fn held(self) -> Held {
        Held { frame: self.frame, seq: self.seq, noted: self.noted, alarm: self.alarm }
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
