-- The shipped trail. Frames are the truth, byte for byte as the sidecar wrote them; records are an index over them,
-- which `chaperone audit verify` rebuilds and compares.
--
-- Months: frames and records are partitioned by month, so that retention drops a table instead of deleting rows. A
-- unique key of a partitioned table must contain the month, so (writer, frame) and (writer, seq) are unique in each
-- month by their keys, and over all months by audit_append: it holds the lock of the writer's one row, takes only the
-- frame that follows the last one, and its records only with the numbers that follow the last ones.
--
-- Roles: audit_append runs as the owner of these tables. The role that ships may EXECUTE it and nothing else. Nothing
-- here is changed or deleted, not even by the owner, short of disabling a trigger, which `chaperone db doctor` tells.

CREATE TABLE audit_writer (
  writer text PRIMARY KEY,
  header bytea NOT NULL,                          -- the 4,096 bytes of its first segment: its digest begins the chain
  prev_writer text, prev_seq bigint,              -- whom it followed in its folder, and where it found that one ended
  frame bigint NOT NULL, seq bigint NOT NULL, chain bytea NOT NULL,   -- the last that is held
  month text NOT NULL,                            -- of the last frame that held records
  alarm text);                                    -- a cloned or a restored volume

CREATE TABLE audit_frame (
  month text NOT NULL, writer text NOT NULL, frame bigint NOT NULL, first_seq bigint NOT NULL, count integer NOT NULL,
  bytes bytea NOT NULL,
  PRIMARY KEY (writer, frame, month)) PARTITION BY LIST (month);

CREATE TABLE audit_checkpoint (
  writer text NOT NULL, size bigint NOT NULL, note text NOT NULL,
  PRIMARY KEY (writer, size));

CREATE TABLE audit_record (
  month text NOT NULL, writer text NOT NULL, seq bigint NOT NULL, frame bigint NOT NULL, at timestamptz NOT NULL,
  decision_id text, kind text NOT NULL, tenant text, principal text, principal_type text, action text,
  resource_type text, resource_id text, client text, decision text, reason text, grant_id text, line text,
  PRIMARY KEY (writer, seq, month)) PARTITION BY LIST (month);
CREATE INDEX audit_record_client ON audit_record (client, at, writer, seq);
CREATE INDEX audit_record_principal ON audit_record (principal, at, writer, seq);
CREATE INDEX audit_record_tenant ON audit_record (tenant, at, writer, seq);
CREATE INDEX audit_record_decision ON audit_record (decision_id);
CREATE INDEX audit_record_grant ON audit_record (grant_id, at) WHERE grant_id IS NOT NULL;

CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the trail is not changed: % of % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'CH004';
END $$;

-- A writer's row moves on with its frames, and nothing else of it moves.
CREATE FUNCTION audit_only_onwards() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.writer, NEW.header, NEW.prev_writer, NEW.prev_seq, NEW.alarm)
       IS DISTINCT FROM (OLD.writer, OLD.header, OLD.prev_writer, OLD.prev_seq, OLD.alarm)
     OR NEW.frame <= OLD.frame OR NEW.seq < OLD.seq
     OR NOT EXISTS (SELECT FROM audit_frame AS held WHERE held.writer = NEW.writer AND held.frame = NEW.frame) THEN
    RAISE EXCEPTION 'the trail is not changed: UPDATE of audit_writer is refused' USING ERRCODE = 'CH004';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER audit_keep_row BEFORE UPDATE OR DELETE ON audit_frame FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_keep_row BEFORE UPDATE OR DELETE ON audit_record FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_keep_row BEFORE UPDATE OR DELETE ON audit_checkpoint FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_keep_row BEFORE DELETE ON audit_writer FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_onwards BEFORE UPDATE ON audit_writer FOR EACH ROW EXECUTE FUNCTION audit_only_onwards();
CREATE TRIGGER audit_keep_all BEFORE TRUNCATE ON audit_frame FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_keep_all BEFORE TRUNCATE ON audit_record FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_keep_all BEFORE TRUNCATE ON audit_checkpoint FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_keep_all BEFORE TRUNCATE ON audit_writer FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
-- Also in a session that replays a replication stream, or says that it does.
ALTER TABLE audit_frame ENABLE ALWAYS TRIGGER audit_keep_row, ENABLE ALWAYS TRIGGER audit_keep_all;
ALTER TABLE audit_record ENABLE ALWAYS TRIGGER audit_keep_row, ENABLE ALWAYS TRIGGER audit_keep_all;
ALTER TABLE audit_checkpoint ENABLE ALWAYS TRIGGER audit_keep_row, ENABLE ALWAYS TRIGGER audit_keep_all;
ALTER TABLE audit_writer ENABLE ALWAYS TRIGGER audit_keep_row, ENABLE ALWAYS TRIGGER audit_keep_all,
  ENABLE ALWAYS TRIGGER audit_onwards;

-- The tables of one month, made when its first frame comes.
CREATE FUNCTION audit_month(p_month text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  parent text;
  part text;
BEGIN
  IF p_month !~ '^[0-9]{4}-(0[1-9]|1[0-2])$' THEN
    RAISE EXCEPTION 'no month' USING ERRCODE = 'CH003';
  END IF;
  FOREACH parent IN ARRAY ARRAY['audit_frame', 'audit_record'] LOOP
    part := parent || '_' || replace(p_month, '-', '_');
    CONTINUE WHEN to_regclass(part) IS NOT NULL;
    PERFORM pg_advisory_xact_lock(4850741, 2);
    CONTINUE WHEN to_regclass(part) IS NOT NULL;
    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES IN (%L)', part, parent, p_month);
    -- A trigger for statements is not inherited: without its own, the month alone could be emptied.
    EXECUTE format('CREATE TRIGGER audit_keep_all BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()', part);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER audit_keep_all, ENABLE ALWAYS TRIGGER audit_keep_row', part);
  END LOOP;
END $$;

-- A little-endian number of `p_len` bytes at `p_at`, counted from 0.
CREATE FUNCTION audit_number(p_bytes bytea, p_at integer, p_len integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT sum(get_byte(p_bytes, p_at + n)::numeric * 256 ^ n)::bigint FROM generate_series(0, p_len - 1) AS n
$$;

-- Appends frames of one writer, each as it stands in the segment, with the index rows of their records:
-- [{seq, frame, month, at, kind, …}]. A frame that is held with the same bytes is passed over: the answer to an earlier
-- call was lost. Returns what is held now; without frames only that, and nulls for a writer that is not known.
--   CH001 gap: the frame does not follow     CH002 fork: it contradicts what is held     CH003 it is no frame
CREATE FUNCTION audit_append(
  p_writer text, p_header bytea, p_frames bytea[], p_rows jsonb,
  OUT held_frame bigint, OUT held_seq bigint, OUT held_noted bigint, OUT held_alarm text)
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  w audit_writer%ROWTYPE;
  said jsonb;
  f bytea;
  held bytea;
  n bigint;
  records bigint;
  first bigint;
  foot integer;
  before bigint;
  rows_given bigint;
  rows_wanted bigint;
  rows_least bigint;
  rows_most bigint;
  months text[];
  m text;
  note text[];
BEGIN
  SELECT * INTO w FROM audit_writer WHERE writer = p_writer FOR UPDATE;
  IF NOT FOUND THEN
    IF p_header IS NULL THEN
      RETURN;
    END IF;
    IF octet_length(p_header) <> 4096 OR substr(p_header, 1, 8) <> 'CHAPTRL1'::bytea
       OR audit_number(p_header, 8, 4) > 4080 THEN
      RAISE EXCEPTION 'no header of a segment' USING ERRCODE = 'CH003';
    END IF;
    said := convert_from(substr(p_header, 17, audit_number(p_header, 8, 4)::integer), 'UTF8')::jsonb;
    IF said ->> 'writer' IS DISTINCT FROM p_writer OR (said ->> 'first_frame')::bigint <> 1 OR said ->> 'chain' IS NOT NULL THEN
      RAISE EXCEPTION 'not the first header of this writer' USING ERRCODE = 'CH003';
    END IF;
    w.writer := p_writer;
    w.header := p_header;
    w.prev_writer := said -> 'prev' ->> 'writer';
    w.prev_seq := (said -> 'prev' ->> 'seq')::bigint;
    w.frame := 0;
    w.seq := 0;
    w.chain := sha256(p_header);
    w.month := substr(said ->> 'created', 1, 7);
    IF EXISTS (SELECT FROM audit_writer AS other WHERE other.prev_writer = w.prev_writer) THEN
      w.alarm := 'cloned: another writer names the same predecessor';
    ELSIF (said -> 'prev' ->> 'clean')::boolean
        AND EXISTS (SELECT FROM audit_writer AS prev WHERE prev.writer = w.prev_writer AND prev.seq > w.prev_seq) THEN
      w.alarm := 'restored: more is held of its predecessor than it found';
    END IF;
    INSERT INTO audit_writer SELECT w.*;
  ELSIF p_header IS NOT NULL AND p_header <> w.header THEN
    RAISE EXCEPTION 'fork: another first header is held' USING ERRCODE = 'CH002';
  END IF;

  before := w.seq;
  FOREACH f IN ARRAY p_frames LOOP
    IF octet_length(f) < 76 OR substr(f, 1, 4) <> 'CFRM'::bytea THEN
      RAISE EXCEPTION 'no frame' USING ERRCODE = 'CH003';
    END IF;
    records := audit_number(f, 6, 2);
    n := audit_number(f, 12, 8);
    first := audit_number(f, 20, 8);
    foot := (40 + 32 * records + audit_number(f, 8, 4))::integer;
    IF octet_length(f) <> (foot + 36 + 7) / 8 * 8 THEN
      RAISE EXCEPTION 'no whole frame' USING ERRCODE = 'CH003';
    END IF;
    IF n <= w.frame THEN
      SELECT bytes INTO held FROM audit_frame WHERE writer = p_writer AND frame = n;
      IF FOUND AND held <> f THEN
        RAISE EXCEPTION 'fork: frame % is held with other bytes', n USING ERRCODE = 'CH002';
      END IF;
      CONTINUE;
    END IF;
    IF n <> w.frame + 1 OR first <> w.seq + 1 THEN
      RAISE EXCEPTION 'gap: frame % with record % came, frame % with record % is next', n, first, w.frame + 1, w.seq + 1
        USING ERRCODE = 'CH001';
    END IF;
    IF sha256(w.chain || substr(f, 1, foot + 4)) <> substr(f, foot + 5, 32) THEN
      RAISE EXCEPTION 'fork: frame % does not continue the chain', n USING ERRCODE = 'CH002';
    END IF;
    IF records > 0 THEN
      SELECT max(r ->> 'month') INTO w.month FROM jsonb_array_elements(p_rows) AS r
        WHERE (r ->> 'seq')::bigint BETWEEN first AND first + records - 1;
    END IF;
    PERFORM audit_month(w.month);
    INSERT INTO audit_frame (month, writer, frame, first_seq, count, bytes)
      VALUES (w.month, p_writer, n, first, records::integer, f);
    IF get_byte(f, 4) = 3 AND get_byte(f, 5) & 1 = 0 THEN
      -- A signed note: its first line ends with the writer that it is about, its second is the size.
      note := string_to_array(convert_from(substr(f, 41 + 32 * records::integer, foot - 40 - 32 * records::integer), 'UTF8'), E'\n');
      INSERT INTO audit_checkpoint (writer, size, note)
        VALUES (regexp_replace(note[1], '^.*/', ''), note[2]::bigint, array_to_string(note, E'\n'))
        ON CONFLICT DO NOTHING;
    END IF;
    w.frame := n;
    w.seq := w.seq + records;
    w.chain := substr(f, foot + 5, 32);
  END LOOP;

  rows_wanted := w.seq - before;
  IF rows_wanted > 0 THEN
    SELECT count(*), min((r ->> 'seq')::bigint), max((r ->> 'seq')::bigint), array_agg(DISTINCT r ->> 'month')
      INTO rows_given, rows_least, rows_most, months
      FROM jsonb_array_elements(p_rows) AS r WHERE (r ->> 'seq')::bigint > before;
    IF (rows_given, rows_least, rows_most) IS DISTINCT FROM (rows_wanted, before + 1, w.seq) THEN
      RAISE EXCEPTION 'the index has not each record once' USING ERRCODE = 'CH003';
    END IF;
    FOREACH m IN ARRAY months LOOP
      PERFORM audit_month(m);
    END LOOP;
    INSERT INTO audit_record (month, writer, seq, frame, at, decision_id, kind, tenant, principal, principal_type, action,
                              resource_type, resource_id, client, decision, reason, grant_id, line)
      SELECT r.month, p_writer, r.seq, r.frame, r.at, r.decision_id, r.kind, r.tenant, r.principal, r.principal_type, r.action,
             r.resource_type, r.resource_id, r.client, r.decision, r.reason, r.grant_id, r.line
      FROM jsonb_to_recordset(p_rows) AS r (month text, seq bigint, frame bigint, at timestamptz, decision_id text, kind text,
             tenant text, principal text, principal_type text, action text, resource_type text, resource_id text, client text,
             decision text, reason text, grant_id text, line text)
      WHERE r.seq > before;
  END IF;
  UPDATE audit_writer SET frame = w.frame, seq = w.seq, chain = w.chain, month = w.month
    WHERE writer = p_writer AND frame < w.frame;
  held_frame := w.frame;
  held_seq := w.seq;
  SELECT coalesce(max(c.size), 0) INTO held_noted FROM audit_checkpoint AS c WHERE c.writer = p_writer;
  held_alarm := w.alarm;
END $$;

-- What runs as the owner finds its names here alone, whatever search_path the asking session has.
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION audit_append(text, bytea, bytea[], jsonb) SET search_path = %I, pg_temp', current_schema());
  EXECUTE format('ALTER FUNCTION audit_only_onwards() SET search_path = %I, pg_temp', current_schema());
END $$;
REVOKE ALL ON FUNCTION audit_append(text, bytea, bytea[], jsonb), audit_month(text) FROM PUBLIC;
REVOKE ALL ON audit_writer, audit_frame, audit_record, audit_checkpoint FROM PUBLIC;
