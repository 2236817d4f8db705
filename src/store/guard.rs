//! Whether the triggers that keep rows as they are are there and enabled, for `chaperone db doctor`.

use super::{
    error::StoreError,
    migration::Part,
    pool::{Dialect, Store},
    transaction::Sql,
};

/// Each table of the trail, partitions included, with each trigger that it must have, and how it is: `A` is enabled in
/// every session. Only what is wrong is returned.
const TRIGGERS: Sql = Sql {
    sqlite: "WITH wanted (name) AS (VALUES ('audit_frame_update'), ('audit_frame_delete'), ('audit_record_update'), \
             ('audit_record_delete'), ('audit_checkpoint_update'), ('audit_checkpoint_delete'), ('audit_writer_delete'), \
             ('audit_writer_onwards'), ('audit_frame_again'), ('audit_record_again'), ('audit_writer_again'), \
             ('audit_checkpoint_again'), ('audit_may_prune'), ('audit_pruned_update'), ('audit_pruned_delete'), \
             ('audit_pruned_again')) \
             SELECT name AS trigger, 'the trail' AS place, 'missing' AS state FROM wanted \
             WHERE name NOT IN (SELECT name FROM sqlite_master WHERE type = 'trigger')",
    postgres: "SELECT wanted.name AS trigger, class.relname::text AS place, \
               CASE WHEN found.tgname IS NULL THEN 'missing' ELSE 'disabled' END AS state \
               FROM pg_class AS class \
               CROSS JOIN (VALUES ('audit_keep_row'), ('audit_keep_all'), ('audit_onwards'), ('audit_may_prune')) AS wanted (name) \
               LEFT JOIN pg_trigger AS found ON found.tgrelid = class.oid AND found.tgname = wanted.name \
               WHERE class.relkind IN ('r', 'p') AND class.relnamespace = current_schema()::regnamespace \
               AND class.relname ~ '^audit_((frame|record)(_[0-9]{4}_[0-9]{2})?|checkpoint|writer|pruned)$' \
               AND (wanted.name <> 'audit_onwards' OR class.relname = 'audit_writer') \
               AND (wanted.name <> 'audit_may_prune' OR class.relname = 'audit_pruned') \
               AND found.tgenabled IS DISTINCT FROM 'A' ORDER BY 2, 1",
};

/// The same of the tables that say who had access, and to whom data went.
const KEPT: Sql = Sql {
    sqlite: "WITH wanted (name) AS (SELECT places.column1 || suffixes.column1 FROM \
             (VALUES ('grants'), ('reviews'), ('grant_events'), ('incidents'), ('disclosures')) AS places, \
             (VALUES ('_stay'), ('_again')) AS suffixes) \
             SELECT name AS trigger, 'the store' AS place, 'missing' AS state FROM wanted \
             WHERE name NOT IN (SELECT name FROM sqlite_master WHERE type = 'trigger')",
    postgres: "SELECT wanted.name AS trigger, class.relname::text AS place, \
               CASE WHEN found.tgname IS NULL THEN 'missing' ELSE 'disabled' END AS state \
               FROM pg_class AS class CROSS JOIN (VALUES ('rows_stay'), ('table_stays')) AS wanted (name) \
               LEFT JOIN pg_trigger AS found ON found.tgrelid = class.oid AND found.tgname = wanted.name \
               WHERE class.relkind = 'r' AND class.relnamespace = current_schema()::regnamespace \
               AND class.relname IN ('grants', 'reviews', 'grant_events', 'incidents', 'disclosures') \
               AND found.tgenabled IS DISTINCT FROM 'A' ORDER BY 2, 1",
};

impl Store {
    /// What no longer keeps the trail from being changed, or rows from being deleted; empty: nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database cannot be asked.
    pub async fn unguarded(&self, part: Part) -> Result<Vec<String>, StoreError> {
        let mut transaction = self.read().await?;
        let triggers = match part {
            Part::Tables => KEPT,
            Part::Trail => TRIGGERS,
        };
        let rows = transaction.rows(triggers, &[]).await?;
        let mend = match (self.dialect(), part) {
            (Dialect::Sqlite, Part::Trail) => "make the file anew from the folder",
            (Dialect::Sqlite, Part::Tables) => "make it again, as the migrations do",
            (Dialect::Postgres, Part::Trail) => {
                "`ALTER TABLE … ENABLE ALWAYS TRIGGER …`, then `chaperone audit verify --store`"
            }
            (Dialect::Postgres, Part::Tables) => "`ALTER TABLE … ENABLE ALWAYS TRIGGER …`, and look what is gone",
        };
        rows.iter()
            .map(|row| {
                let (trigger, place) = (row.some_text("trigger")?, row.some_text("place")?);
                Ok(format!("trigger {trigger} of {place} is {}: {mend}", row.some_text("state")?))
            })
            .collect()
    }
}
