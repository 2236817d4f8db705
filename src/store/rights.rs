//! Which role may do what, in PostgreSQL: given by `chaperone db install` where its options name roles.

use sqlx::SqlStr;

use super::{error::StoreError, pool::Store};

/// What a role may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Read and write assignments, grants and their like: the sidecar's.
    WriteTables,
    /// Append to the trail and nothing else, not even read it: the shipper's.
    AppendTrail,
    /// Read the trail: an auditor's, and that of `audit verify` and queries.
    ReadTrail,
    /// Read the trail, and let go what a signed stub stands for (`audit_prune`): that of `audit prune --store`. No
    /// other way leads to a row, not even for the owner: see the triggers of migration 0200.
    PruneTrail,
}

/// Where rows are made and ended, and never deleted.
const TABLES: &str = "assignments, referrals, restrictions, consents, tickets, ticket_scopes, grants, reviews, \
                      legal_holds, lockdowns, disclosures, disclosure_suspensions, grant_events, incidents, \
                      assignment_proposals, disasters, outbox, user_standing";
/// Where rows live as long as a change takes, or a repeated call may come.
const PASSING: &str = "change_intents, idempotency_keys, sidecars";
/// Where one row is counted up.
const COUNTED: &str = "sidecar_barrier";
/// What a verifier reads.
const TRAIL: &str = "audit_writer, audit_frame, audit_checkpoint, audit_record, audit_pruned";

impl Right {
    fn statements(self, role: &str) -> Vec<String> {
        let role = quoted(role);
        match self {
            Self::WriteTables => vec![
                format!("GRANT SELECT, INSERT, UPDATE ON {TABLES} TO {role}"),
                format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {PASSING} TO {role}"),
                format!("GRANT SELECT, UPDATE ON {COUNTED} TO {role}"),
            ],
            Self::AppendTrail => {
                vec![format!("GRANT EXECUTE ON FUNCTION audit_append(text, bytea, bytea[], jsonb) TO {role}")]
            }
            Self::ReadTrail => vec![
                format!("GRANT SELECT ON {TRAIL} TO {role}"),
                format!("GRANT SELECT ON SEQUENCE audit_arrival TO {role}"),
            ],
            Self::PruneTrail => vec![
                format!("GRANT SELECT ON {TRAIL} TO {role}"),
                format!("GRANT SELECT ON SEQUENCE audit_arrival TO {role}"),
                format!("GRANT EXECUTE ON FUNCTION audit_prune(text, bigint, bigint, text, text, bigint) TO {role}"),
            ],
        }
    }

    /// What gives it to `role`, which is made if it is not there.
    fn script(self, role: &str) -> Vec<String> {
        let name = literal(role);
        let create = literal(&format!("CREATE ROLE {} LOGIN", quoted(role)));
        let mut script = vec![format!(
            "DO $grant$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN EXECUTE {create}; END IF; \
             EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), {name}); END $grant$"
        )];
        script.extend(self.statements(role));
        script
    }
}

impl Store {
    /// What [`grant`](Self::grant) would run.
    pub fn grant_script(&self, roles: &[(&str, Right)]) -> Vec<String> {
        if self.postgres().is_none() {
            return Vec::new();
        }
        roles.iter().flat_map(|(role, right)| right.script(role)).collect()
    }

    /// Gives rights to roles, all of them or none. A SQLite file knows no roles: nothing is done.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database refuses.
    pub async fn grant(&self, roles: &[(&str, Right)]) -> Result<(), StoreError> {
        let Some(pool) = self.postgres() else { return Ok(()) };
        let failed = |error: sqlx::Error| match &error {
            // No value is bound here, so the database's words may be said.
            sqlx::Error::Database(said) => StoreError::Migration {
                address: self.address().to_owned(),
                name: "of rights",
                words: said.message().to_owned(),
            },
            other => StoreError::of(self.address(), other),
        };
        let mut transaction = pool.begin().await.map_err(failed)?;
        for text in self.grant_script(roles) {
            sqlx::raw_sql(statement(text)).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}

/// Text of this file's own words and of names that the operator gave, quoted.
#[expect(clippy::disallowed_types, reason = "a role's name cannot be a parameter")]
fn statement(text: String) -> SqlStr {
    use sqlx::{AssertSqlSafe, SqlSafeStr};
    AssertSqlSafe(text).into_sql_str()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
