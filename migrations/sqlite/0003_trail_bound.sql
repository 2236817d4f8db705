-- The shipped trail: notes are bound to who said them, and records are found in the order of their instants.

-- A checkpoint's place is no longer taken by whoever comes first: '' is one of before, of which nobody knows.
CREATE TABLE audit_checkpoint_bound (
  writer text NOT NULL, size integer NOT NULL, note text NOT NULL, by_writer text NOT NULL DEFAULT '',
  PRIMARY KEY (writer, by_writer, size));
INSERT INTO audit_checkpoint_bound (writer, size, note) SELECT writer, size, note FROM audit_checkpoint;
DROP TABLE audit_checkpoint;
ALTER TABLE audit_checkpoint_bound RENAME TO audit_checkpoint;
CREATE INDEX audit_writer_prev ON audit_writer (prev_writer);
CREATE TRIGGER audit_checkpoint_update BEFORE UPDATE ON audit_checkpoint BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_checkpoint_delete BEFORE DELETE ON audit_checkpoint BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_checkpoint_again BEFORE INSERT ON audit_checkpoint
WHEN EXISTS (SELECT 1 FROM audit_checkpoint
             WHERE writer = NEW.writer AND size = NEW.size AND by_writer = NEW.by_writer AND note <> NEW.note)
BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;

-- Instants are text with as many digits as they need: '…:00Z' is before '…:00.5Z', and only without the Z is its text too.
DROP INDEX audit_record_client;
DROP INDEX audit_record_principal;
DROP INDEX audit_record_tenant;
DROP INDEX audit_record_grant;
CREATE INDEX audit_record_client ON audit_record (client, rtrim(at, 'Z'), writer, seq);
CREATE INDEX audit_record_principal ON audit_record (principal, rtrim(at, 'Z'), writer, seq);
CREATE INDEX audit_record_tenant ON audit_record (tenant, rtrim(at, 'Z'), writer, seq);
CREATE INDEX audit_record_grant ON audit_record (grant_id, rtrim(at, 'Z'), writer, seq) WHERE grant_id IS NOT NULL;
CREATE INDEX audit_record_at ON audit_record (rtrim(at, 'Z'), writer, seq);
