-- Emergency grants and their reviews as the admin room keeps them: what the tables of 0001 have no place for.

-- How long a waiting grant was asked for, and how often one was extended; null counts as not.
ALTER TABLE grants ADD COLUMN wished_seconds integer;
ALTER TABLE grants ADD COLUMN extensions integer;
-- What a review led to.
ALTER TABLE reviews ADD COLUMN incident_id text;
ALTER TABLE reviews ADD COLUMN proposal_id text;

CREATE INDEX grants_of_a_client ON grants (client_id, user_id);
CREATE INDEX grants_of_a_tenant ON grants (tenant_id, requested_at);
CREATE INDEX grants_of_a_user ON grants (user_id, requested_at);
CREATE INDEX reviews_due ON reviews (tenant_id, due_at, id);

-- Nothing is ever deleted, and a justification says what it said.
CREATE FUNCTION chaperone_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'rows of % are never deleted, and a justification is never changed', TG_TABLE_NAME; END $$;
CREATE TRIGGER grants_stay BEFORE DELETE ON grants FOR EACH ROW EXECUTE FUNCTION chaperone_refuse_change();
CREATE TRIGGER reviews_stay BEFORE DELETE ON reviews FOR EACH ROW EXECUTE FUNCTION chaperone_refuse_change();
CREATE TRIGGER justifications_stay BEFORE UPDATE OF justification ON grants FOR EACH ROW
WHEN (NEW.justification IS DISTINCT FROM OLD.justification) EXECUTE FUNCTION chaperone_refuse_change();

-- Every step of a grant and of its review, with the texts of extensions.
CREATE TABLE grant_events (
  id text PRIMARY KEY, grant_id text NOT NULL REFERENCES grants, at timestamptz NOT NULL, event text NOT NULL,
  actor text NOT NULL, justification text);
CREATE INDEX grant_events_of ON grant_events (grant_id, at);
CREATE INDEX grant_events_by ON grant_events (actor, at);

-- What an unjustified access opens.
CREATE TABLE incidents (
  id text PRIMARY KEY, tenant_id text NOT NULL, client_id text, grant_id text REFERENCES grants, source text NOT NULL,
  state text NOT NULL CHECK (state IN ('open','triage','contained','investigating','assessed','notifying','closed')),
  discovered_at timestamptz NOT NULL, opened_by text NOT NULL, closed_at timestamptz);

-- What `fix_access` proposes: an assignment that somebody else makes, or does not.
CREATE TABLE assignment_proposals (
  id text PRIMARY KEY, tenant_id text NOT NULL, client_id text NOT NULL, user_id text NOT NULL, grant_id text NOT NULL REFERENCES grants,
  proposed_by text NOT NULL, proposed_at timestamptz NOT NULL,
  state text NOT NULL CHECK (state IN ('open','assigned','declined')), decided_by text, decided_at timestamptz);

-- While one runs, grants for the reason DISASTER may be asked for.
CREATE TABLE disasters (
  id text PRIMARY KEY, tenant_id text NOT NULL, declared_by text NOT NULL, declared_at timestamptz NOT NULL, ended_at timestamptz);

-- A change that was begun. The row goes with the change's own commit; one that is left names a change that a crash cut off,
-- and whose record, if there is one, is taken back on the next start.
CREATE TABLE change_intents (id text PRIMARY KEY, writer text NOT NULL, at timestamptz NOT NULL);

-- Answers to calls that may be repeated, for a day.
CREATE TABLE idempotency_keys (
  actor text NOT NULL, key text NOT NULL, digest text NOT NULL, answer text NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (actor, key));
CREATE INDEX idempotency_keys_at ON idempotency_keys (at);
