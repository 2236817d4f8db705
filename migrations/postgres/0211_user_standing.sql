-- Suspensions of people, where the mapping reads them from here: made and ended, never deleted.

CREATE TABLE user_standing (
  id text PRIMARY KEY, tenant_id text NOT NULL, user_id text NOT NULL, reason text,
  valid_from timestamptz NOT NULL, valid_to timestamptz, suspended_by text NOT NULL,
  ended_at timestamptz, ended_by text, end_reason text,
  CHECK (valid_to IS NULL OR valid_to > valid_from));
CREATE INDEX user_standing_of_a_user ON user_standing (user_id, id);
CREATE INDEX user_standing_of_a_tenant ON user_standing (tenant_id, id);
