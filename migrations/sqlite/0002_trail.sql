-- The shipped trail, in a file of its own: a commit here must not make what is kept of the store's facts look old.
-- Frames are the truth, byte for byte as the sidecar wrote them; records are an index over them, which
-- `chaperone audit verify` rebuilds and compares. Contiguity, chain and forks are checked by the program that appends,
-- in the one transaction that may write.

CREATE TABLE audit_writer (
  writer text PRIMARY KEY,
  header blob NOT NULL,                           -- the 4,096 bytes of its first segment: its digest begins the chain
  prev_writer text, prev_seq integer,             -- whom it followed in its folder, and where it found that one ended
  frame integer NOT NULL, seq integer NOT NULL, chain blob NOT NULL,   -- the last that is held
  month text NOT NULL,                            -- of the last frame that held records
  alarm text);                                    -- a cloned or a restored volume

CREATE TABLE audit_frame (
  month text NOT NULL, writer text NOT NULL, frame integer NOT NULL, first_seq integer NOT NULL, count integer NOT NULL,
  bytes blob NOT NULL,
  PRIMARY KEY (writer, frame));

CREATE TABLE audit_checkpoint (
  writer text NOT NULL, size integer NOT NULL, note text NOT NULL,
  PRIMARY KEY (writer, size));

CREATE TABLE audit_record (
  month text NOT NULL, writer text NOT NULL, seq integer NOT NULL, frame integer NOT NULL,
  at text NOT NULL,                               -- as the record has it: RFC 3339, UTC
  decision_id text, kind text NOT NULL, tenant text, principal text, principal_type text, action text,
  resource_type text, resource_id text, client text, decision text, reason text, grant_id text, line text,
  PRIMARY KEY (writer, seq));
CREATE INDEX audit_record_client ON audit_record (client, at, writer, seq);
CREATE INDEX audit_record_principal ON audit_record (principal, at, writer, seq);
CREATE INDEX audit_record_tenant ON audit_record (tenant, at, writer, seq);
CREATE INDEX audit_record_decision ON audit_record (decision_id);
CREATE INDEX audit_record_grant ON audit_record (grant_id, at) WHERE grant_id IS NOT NULL;

CREATE TRIGGER audit_frame_update BEFORE UPDATE ON audit_frame BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_frame_delete BEFORE DELETE ON audit_frame BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_record_update BEFORE UPDATE ON audit_record BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_record_delete BEFORE DELETE ON audit_record BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_checkpoint_update BEFORE UPDATE ON audit_checkpoint BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_checkpoint_delete BEFORE DELETE ON audit_checkpoint BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_writer_delete BEFORE DELETE ON audit_writer BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_writer_onwards BEFORE UPDATE ON audit_writer
WHEN NEW.writer IS NOT OLD.writer OR NEW.header IS NOT OLD.header OR NEW.prev_writer IS NOT OLD.prev_writer
  OR NEW.prev_seq IS NOT OLD.prev_seq OR NEW.alarm IS NOT OLD.alarm OR NEW.frame <= OLD.frame OR NEW.seq < OLD.seq
  OR NOT EXISTS (SELECT 1 FROM audit_frame WHERE writer = NEW.writer AND frame = NEW.frame)
BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
-- REPLACE fires no delete trigger.
CREATE TRIGGER audit_frame_again BEFORE INSERT ON audit_frame
WHEN EXISTS (SELECT 1 FROM audit_frame WHERE writer = NEW.writer AND frame = NEW.frame)
BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_record_again BEFORE INSERT ON audit_record
WHEN EXISTS (SELECT 1 FROM audit_record WHERE writer = NEW.writer AND seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_writer_again BEFORE INSERT ON audit_writer
WHEN EXISTS (SELECT 1 FROM audit_writer WHERE writer = NEW.writer)
BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
