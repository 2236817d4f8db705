-- Pruning the shipped trail: the one way in which records leave it. A signed stub comes first and stays; the rows that it
-- stands for may then be deleted, and no others. The rules stand in triggers, so that they bind the owner too.
--
-- This database cannot check the signature (it knows no Ed25519): whoever verifies does, and calls a stub that the trail's
-- key did not sign damage. All else that makes a stub believable is checked here, with this server's clock: it ends where
-- a frame that is held ends, the trail itself says that this pruning was begun, something goes on behind it, and nothing
-- of it is younger than six years. A row stays in audit_pruned for each pruning; the last of a writer counts.

-- Of an encrypted record nothing says how old it is but when it came. What was there before this came today.
ALTER TABLE audit_frame ADD COLUMN arrived timestamptz NOT NULL DEFAULT now();

CREATE TABLE audit_pruned (
  writer text NOT NULL, frame bigint NOT NULL, seq bigint NOT NULL,   -- the last that are gone
  stub text NOT NULL,                                                 -- as <writer>.pruned in a folder
  begun_writer text NOT NULL, begun_seq bigint NOT NULL,              -- the record that says so
  pruned timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (writer, frame));

-- Whether a legal hold came while a pruning is under way is asked before each part.
CREATE INDEX audit_record_hold ON audit_record (arrival) WHERE action = 'audit:hold';

-- A stub is a claim: who makes it is asked what a folder's would be asked before it deletes anything.
CREATE FUNCTION audit_may_prune() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  lines text[] := string_to_array(NEW.stub, E'\n');
  said jsonb;
  held audit_writer%ROWTYPE;
  last audit_frame%ROWTYPE;
  begun audit_record%ROWTYPE;
  foot integer;
BEGIN
  IF octet_length(NEW.stub) > 32768 OR coalesce(array_length(lines, 1), 0) < 4 OR lines[4] <> ''
     OR encode(sha256(convert_to(lines[3], 'UTF8')), 'base64') <> lines[2]
     OR lines[1] <> NEW.writer || '/pruned'
        AND right(lines[1], length(NEW.writer) + 8) <> '/' || NEW.writer || '/pruned' THEN
    RAISE EXCEPTION 'no stub of this writer' USING ERRCODE = 'CH003';
  END IF;
  said := lines[3]::jsonb;
  IF (said ->> 'writer', (said ->> 'frame')::bigint, (said ->> 'seq')::bigint) IS DISTINCT FROM (NEW.writer, NEW.frame, NEW.seq)
     OR NOT said ? 'end' OR (said ->> 'to')::timestamptz IS NULL THEN
    RAISE EXCEPTION 'no stub of this range' USING ERRCODE = 'CH003';
  END IF;

  -- What is appended meanwhile waits, and goes on behind it.
  SELECT * INTO held FROM audit_writer WHERE writer = NEW.writer FOR UPDATE;
  SELECT * INTO last FROM audit_frame WHERE writer = NEW.writer AND frame = NEW.frame;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'gap: the stub does not end with a frame that is held' USING ERRCODE = 'CH001';
  END IF;
  foot := (40 + 32 * last.count + audit_number(last.bytes, 8, 4))::integer;
  IF last.first_seq + last.count - 1 <> NEW.seq
     OR encode(substr(last.bytes, foot + 5, 32), 'base64') IS DISTINCT FROM said ->> 'chain' THEN
    RAISE EXCEPTION 'fork: the stub does not end where its frame does' USING ERRCODE = 'CH002';
  END IF;
  IF jsonb_typeof(said -> 'end') = 'null' AND held.frame <= NEW.frame
     OR jsonb_typeof(said -> 'end') <> 'null'
        AND (held.frame <> NEW.frame
             -- The next writer found it ended there, or it sealed its trail itself.
             OR NOT EXISTS (SELECT FROM audit_writer AS after WHERE after.prev_writer = NEW.writer AND after.prev_seq = NEW.seq)
                AND (get_byte(last.bytes, 4) <> 4 OR get_byte(last.bytes, 5) & 2 = 0)) THEN
    RAISE EXCEPTION 'gap: nothing vouches for the end of the stub' USING ERRCODE = 'CH001';
  END IF;

  SELECT * INTO begun FROM audit_record WHERE writer = NEW.begun_writer AND seq = NEW.begun_seq;
  -- Of an encrypted trail the index says only that the record is there, and that it came after all that is to go.
  IF NOT FOUND OR NEW.begun_writer = NEW.writer AND NEW.begun_seq <= NEW.seq
     OR begun.line IS NULL AND begun.arrival <= (SELECT max(gone.arrival) FROM audit_record AS gone
                                                 WHERE gone.writer = NEW.writer AND gone.seq <= NEW.seq)
     OR begun.line IS NOT NULL AND NOT coalesce(
       begun.kind = 'admin' AND begun.action = 'audit:prune'
       AND begun.line::jsonb #>> '{detail,event}' = 'store_prune_begun'
       AND begun.line::jsonb #> '{detail,writers}'
           @> jsonb_build_array(jsonb_build_object('writer', NEW.writer, 'seq', NEW.seq, 'root', said -> 'root')), false) THEN
    RAISE EXCEPTION 'no record that is held says that this pruning was begun' USING ERRCODE = 'CH005';
  END IF;

  -- The plan did not know of it: it knew those of its own folder, whose writers follow each other.
  IF EXISTS (SELECT FROM audit_record AS hold WHERE hold.action = 'audit:hold' AND hold.arrival > begun.arrival
             AND hold.writer NOT IN (
               WITH RECURSIVE own (writer) AS (
                 SELECT NEW.begun_writer
                 UNION SELECT before.prev_writer FROM audit_writer AS before JOIN own ON own.writer = before.writer
                 WHERE before.prev_writer IS NOT NULL)
               SELECT own.writer FROM own)) THEN
    RAISE EXCEPTION 'a legal hold was placed or lifted since this pruning was begun' USING ERRCODE = 'CH007';
  END IF;

  IF (said ->> 'to')::timestamptz > now() - interval '6 years'
     OR EXISTS (SELECT FROM audit_record AS young WHERE young.writer = NEW.writer AND young.seq <= NEW.seq
                AND young.line IS NOT NULL AND young.at > now() - interval '6 years')
     OR EXISTS (SELECT FROM audit_record AS sealed WHERE sealed.writer = NEW.writer AND sealed.seq <= NEW.seq
                AND sealed.line IS NULL)
        AND EXISTS (SELECT FROM audit_frame AS young WHERE young.writer = NEW.writer AND young.frame <= NEW.frame
                    AND young.arrived > now() - interval '6 years') THEN
    RAISE EXCEPTION 'a record of it is younger than six years' USING ERRCODE = 'CH006';
  END IF;
  NEW.pruned := now();
  RETURN NEW;
END $$;

-- As before, but that rows go for which a stub stands.
CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND TG_LEVEL = 'ROW' AND TG_TABLE_NAME ~ '^audit_(frame|record)(_|$)' THEN
    IF EXISTS (SELECT FROM audit_pruned AS gone WHERE gone.writer = OLD.writer AND gone.frame >= OLD.frame) THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION 'the trail is not changed: % of % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'CH004';
END $$;

CREATE TRIGGER audit_may_prune BEFORE INSERT ON audit_pruned FOR EACH ROW EXECUTE FUNCTION audit_may_prune();
CREATE TRIGGER audit_keep_row BEFORE UPDATE OR DELETE ON audit_pruned FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_keep_all BEFORE TRUNCATE ON audit_pruned FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
ALTER TABLE audit_pruned ENABLE ALWAYS TRIGGER audit_may_prune, ENABLE ALWAYS TRIGGER audit_keep_row,
  ENABLE ALWAYS TRIGGER audit_keep_all;

-- Keeps a stub and lets go what it stands for, in one transaction: all of it, or nothing. The same stub again (an answer
-- was lost) changes nothing. Returns how many frames and records went.
--   CH001 gap   CH002 fork   CH003 no stub   CH005 not recorded as begun   CH006 younger than six years
--   CH007 a hold came meanwhile
CREATE FUNCTION audit_prune(p_writer text, p_frame bigint, p_seq bigint, p_stub text, p_begun_writer text, p_begun_seq bigint,
  OUT gone_frames bigint, OUT gone_records bigint)
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  gone_frames := 0;
  gone_records := 0;
  IF EXISTS (SELECT FROM audit_pruned AS done WHERE done.writer = p_writer AND done.frame = p_frame AND done.stub = p_stub) THEN
    RETURN;
  END IF;
  INSERT INTO audit_pruned (writer, frame, seq, stub, begun_writer, begun_seq)
    VALUES (p_writer, p_frame, p_seq, p_stub, p_begun_writer, p_begun_seq);
  DELETE FROM audit_frame WHERE writer = p_writer AND frame <= p_frame;
  GET DIAGNOSTICS gone_frames = ROW_COUNT;
  DELETE FROM audit_record WHERE writer = p_writer AND seq <= p_seq;
  GET DIAGNOSTICS gone_records = ROW_COUNT;
END $$;

DO $$
DECLARE
  reader regrole;
BEGIN
  EXECUTE format('ALTER FUNCTION audit_prune(text, bigint, bigint, text, text, bigint) SET search_path = %I, pg_temp', current_schema());
  EXECUTE format('ALTER FUNCTION audit_may_prune() SET search_path = %I, pg_temp', current_schema());
  EXECUTE format('ALTER FUNCTION audit_refuse() SET search_path = %I, pg_temp', current_schema());
  REVOKE ALL ON audit_pruned FROM PUBLIC;
  -- Whoever may read the trail reads its stubs too.
  FOR reader IN
    SELECT DISTINCT granted.grantee::regrole FROM pg_class, aclexplode(pg_class.relacl) AS granted
    WHERE pg_class.oid = 'audit_checkpoint'::regclass AND granted.privilege_type = 'SELECT'
      AND granted.grantee NOT IN (0, pg_class.relowner)
  LOOP
    EXECUTE format('GRANT SELECT ON audit_pruned TO %s', reader);
  END LOOP;
END $$;
REVOKE ALL ON FUNCTION audit_prune(text, bigint, bigint, text, text, bigint) FROM PUBLIC;
