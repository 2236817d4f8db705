-- Chaperone's own tables: assignments, grants, reviews, restrictions and what belongs to them.
-- A table that is there already is kept as it is: the demo's database has them before its first migration.
-- Instants are timestamptz. Lists are JSON text. Ids of tenants, users, clients and records
-- point into the application's database, so nothing here references it by foreign key.

CREATE TABLE IF NOT EXISTS assignments (
  id text PRIMARY KEY, tenant_id text NOT NULL, client_id text NOT NULL, user_id text NOT NULL,
  scope text NOT NULL DEFAULT 'full' CHECK (scope IN ('full','session_data','schedule_only','read_only')),
  service_authorization_id text, service_codes text NOT NULL DEFAULT '[]', assigned_by text NOT NULL,
  valid_from timestamptz NOT NULL, valid_to timestamptz, revoked_at timestamptz, revoked_by text, revoke_reason text,
  CHECK (valid_to IS NULL OR valid_to > valid_from));

CREATE TABLE IF NOT EXISTS referrals (
  id text PRIMARY KEY, tenant_id text NOT NULL, client_id text NOT NULL, physician_user_id text NOT NULL,
  field_groups text NOT NULL, opened_at timestamptz NOT NULL, closed_at timestamptz);

CREATE TABLE IF NOT EXISTS restrictions (
  id text PRIMARY KEY, tenant_id text NOT NULL, client_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('agreed','self_pay_health_plan')),
  target_type text NOT NULL CHECK (target_type IN ('user','role','organization','health_plan','purpose','representative','all')), target_id text,
  resource_type text, resource_id text,           -- both NULL: every record of the client
  field_groups text NOT NULL DEFAULT '[]',        -- empty: the whole record
  status text NOT NULL DEFAULT 'requested' CHECK (status IN ('requested','agreed','declined','terminated')),
  emergency_exception boolean NOT NULL DEFAULT true, covers_created_before timestamptz,
  valid_from timestamptz, valid_to timestamptz, decided_by text);

CREATE TABLE IF NOT EXISTS consents (
  id text PRIMARY KEY, tenant_id text NOT NULL, client_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('hipaa_508','psychotherapy_508','part2_tpo','part2_specific','sud_counseling')),
  discloser text NOT NULL, recipient text NOT NULL, purposes text NOT NULL, field_groups text NOT NULL,
  signed_by text NOT NULL, signed_at timestamptz NOT NULL, expires_at timestamptz, revoked_at timestamptz);

CREATE TABLE IF NOT EXISTS tickets (                            -- a support grant is a ticket that is open and covers the record
  id text PRIMARY KEY, tenant_id text NOT NULL, source text NOT NULL CHECK (source IN ('in_app','email','low_rating')),
  opened_by text NOT NULL, assigned_engineer_id text NOT NULL, phi_needed boolean NOT NULL DEFAULT false, phi_approved_by text,
  status text NOT NULL CHECK (status IN ('open','waiting','resolved','closed')), opened_at timestamptz NOT NULL, expires_at timestamptz NOT NULL,
  resolved_at timestamptz, reopened_at timestamptz, reopened_by text);

CREATE TABLE IF NOT EXISTS ticket_scopes (
  ticket_id text NOT NULL REFERENCES tickets, resource_type text NOT NULL, resource_id text NOT NULL,
  field_groups text NOT NULL, released_by text,   -- a customer user who released an opted-out note for this ticket
  PRIMARY KEY (ticket_id, resource_type, resource_id));

CREATE TABLE IF NOT EXISTS grants (                             -- emergency grants (break-glass)
  id text PRIMARY KEY, kind text NOT NULL DEFAULT 'emergency' CHECK (kind IN ('emergency')), tenant_id text NOT NULL, user_id text NOT NULL, client_id text NOT NULL,
  reason_code text NOT NULL, justification text NOT NULL, field_groups text NOT NULL,
  state text NOT NULL CHECK (state IN ('pending','rejected','active','ended','revoked')),        -- expired is computed, never stored
  requested_at timestamptz NOT NULL, approver_id text, activated_at timestamptz, expires_at timestamptz, extended_from text REFERENCES grants,
  ended_at timestamptz, ended_by text, recipient_name text, recipient_affiliation text, use_count integer NOT NULL DEFAULT 0,
  CHECK (approver_id IS NULL OR approver_id <> user_id));

CREATE TABLE IF NOT EXISTS reviews (
  id text PRIMARY KEY, grant_id text NOT NULL UNIQUE REFERENCES grants, tenant_id text NOT NULL,
  priority text NOT NULL CHECK (priority IN ('low','normal','high')), auto_explanation text, due_at timestamptz NOT NULL, reviewer_id text,
  state text NOT NULL CHECK (state IN ('pending','in_review','needs_info','escalated','closed')),
  disposition text CHECK (disposition IN ('justified','fix_access','unjustified','false_start')), closed_at timestamptz);

CREATE TABLE IF NOT EXISTS legal_holds (
  id text PRIMARY KEY, tenant_id text NOT NULL, client_id text, reason text, starts_at timestamptz NOT NULL, released_at timestamptz);

CREATE TABLE IF NOT EXISTS lockdowns (                          -- containment during an incident; client_id NULL: the whole tenant
  id text PRIMARY KEY, tenant_id text NOT NULL, client_id text, incident_id text NOT NULL, started_at timestamptz NOT NULL, ended_at timestamptz);

CREATE TABLE IF NOT EXISTS disclosures (
  id text PRIMARY KEY, tenant_id text NOT NULL, client_id text NOT NULL, disclosed_at timestamptz NOT NULL, recipient_name text NOT NULL, recipient_address text,
  description text NOT NULL, purpose_statement text, legal_basis text NOT NULL, category text NOT NULL, accountable boolean NOT NULL,
  part2 boolean NOT NULL DEFAULT false, via_ehr boolean NOT NULL DEFAULT true, series_id text, decision_id text);

CREATE TABLE IF NOT EXISTS disclosure_suspensions (
  id text PRIMARY KEY, tenant_id text NOT NULL, client_id text NOT NULL, agency text NOT NULL, statement text NOT NULL CHECK (statement IN ('oral','written')),
  official_name text NOT NULL, received_at timestamptz NOT NULL, starts_at timestamptz NOT NULL, ends_at timestamptz NOT NULL);
