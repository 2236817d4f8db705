//! Whether the triggers that keep the shipped trail as it is are there and enabled, for `chaperone db doctor`.

use super::{
    error::StoreError,
    pool::{Dialect, Store},
    transaction::Sql,
};

/// Each table of the trail, partitions included, with each trigger that it must have, and how it is: `A` is enabled in
/// every session. Only what is wrong is returned.
const TRIGGERS: Sql = Sql {
    sqlite: "WITH wanted (name) AS (VALUES ('audit_frame_update'), ('audit_frame_delete'), ('audit_record_update'), \
             ('audit_record_delete'), ('audit_checkpoint_update'), ('audit_checkpoint_delete'), ('audit_writer_delete'), \
             ('audit_writer_onwards')) \
             SELECT name AS trigger, 'the trail' AS place, 'missing' AS state FROM wanted \
             WHERE name NOT IN (SELECT name FROM sqlite_master WHERE type = 'trigger')",
    postgres: "SELECT wanted.name AS trigger, class.relname::text AS place, \
               CASE WHEN found.tgname IS NULL THEN 'missing' ELSE 'disabled' END AS state \
               FROM pg_class AS class \
               CROSS JOIN (VALUES ('audit_keep_row'), ('audit_keep_all'), ('audit_onwards')) AS wanted (name) \
               LEFT JOIN pg_trigger AS found ON found.tgrelid = class.oid AND found.tgname = wanted.name \
               WHERE class.relkind IN ('r', 'p') AND class.relnamespace = current_schema()::regnamespace \
               AND class.relname ~ '^audit_((frame|record)(_[0-9]{4}_[0-9]{2})?|checkpoint|writer)$' \
               AND (wanted.name <> 'audit_onwards' OR class.relname = 'audit_writer') \
               AND found.tgenabled IS DISTINCT FROM 'A' ORDER BY 2, 1",
};

impl Store {
    /// What no longer keeps the trail from being changed; empty: nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database cannot be asked.
    pub async fn unguarded(&self) -> Result<Vec<String>, StoreError> {
        let mut transaction = self.read().await?;
        let rows = transaction.rows(TRIGGERS, &[]).await?;
        let mend = match self.dialect() {
            Dialect::Sqlite => "make the file anew from the folder",
            Dialect::Postgres => "`ALTER TABLE … ENABLE ALWAYS TRIGGER …`, then `chaperone audit verify --store`",
        };
        rows.iter()
            .map(|row| {
                let (trigger, place) = (row.some_text("trigger")?, row.some_text("place")?);
                Ok(format!("trigger {trigger} of {place} is {}: {mend}", row.some_text("state")?))
            })
            .collect()
    }
}
