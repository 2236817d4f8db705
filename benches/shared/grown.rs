//! Rows for the demo's databases, as many as are wanted.

/// Clients of tenant T1, each assigned to ana; the columns that relations go by have the indexes that a clinic's would.
pub(crate) fn assigned(rows: usize) -> [String; 2] {
    let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {rows})");
    let app = format!(
        "{numbers} INSERT INTO clients (id, tenant_id, pseudonym, created_at, test_data, vip)
         SELECT 'X' || i, 'T1', 'x-' || i, '2025-01-05T00:00:00Z', FALSE, FALSE FROM n;"
    );
    let store = format!(
        "CREATE INDEX assignments_client ON assignments (client_id);
         {numbers} INSERT INTO assignments (id, tenant_id, client_id, user_id, assigned_by, valid_from)
         SELECT 'XA' || i, 'T1', 'X' || i, 'ana', 'sid', '2026-01-01T05:00:00Z' FROM n;"
    );
    [app, store]
}
