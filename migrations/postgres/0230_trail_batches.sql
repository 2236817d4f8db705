-- A store that was away takes what waits as fast as it comes: the cost of a call goes by its records, not by their square.

-- Four bytes of a frame, the lowest first.
CREATE FUNCTION audit_low(p_bytes bytea, p_at integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT get_byte(p_bytes, p_at)::bigint + (get_byte(p_bytes, p_at + 1)::bigint << 8)
       + (get_byte(p_bytes, p_at + 2)::bigint << 16) + (get_byte(p_bytes, p_at + 3)::bigint << 24)
$$;

-- As before; who may execute it stays who may.
CREATE OR REPLACE FUNCTION audit_append(
  p_writer text, p_header bytea, p_frames bytea[], p_rows jsonb,
  OUT held_frame bigint, OUT held_seq bigint, OUT held_noted bigint, OUT held_alarm text, OUT held_notes text[])
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
  rows_told_apart bigint;
  rows_wanted bigint;
  rows_least bigint;
  rows_most bigint;
  months text[];
  of_row text[];
  made text;
  m text;
  note text[];
  about text;
  ahead text;
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
  -- One look at the rows for all frames: a look for each would cost the square of what is behind after an outage.
  SELECT count(*), count(DISTINCT (r ->> 'seq')::bigint), min((r ->> 'seq')::bigint), max((r ->> 'seq')::bigint),
         array_agg(DISTINCT r ->> 'month'), array_agg(r ->> 'month' ORDER BY (r ->> 'seq')::bigint)
    INTO rows_given, rows_told_apart, rows_least, rows_most, months, of_row
    FROM jsonb_array_elements(p_rows) AS r WHERE (r ->> 'seq')::bigint > before;
  FOREACH f IN ARRAY p_frames LOOP
    IF octet_length(f) < 76 OR substr(f, 1, 4) <> 'CFRM'::bytea THEN
      RAISE EXCEPTION 'no frame' USING ERRCODE = 'CH003';
    END IF;
    records := audit_low(f, 6) & 65535;
    n := audit_low(f, 12) + (audit_low(f, 16) << 32);
    first := audit_low(f, 20) + (audit_low(f, 24) << 32);
    foot := (40 + 32 * records + audit_low(f, 8))::integer;
    IF octet_length(f) <> (foot + 36 + 7) / 8 * 8 OR n < 1 OR first < 1 THEN
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
      SELECT max(name) INTO w.month FROM unnest(of_row[first - before : first - before + records - 1]) AS name;
      IF w.month IS NULL THEN
        RAISE EXCEPTION 'the index has not each record once' USING ERRCODE = 'CH003';
      END IF;
    END IF;
    IF w.month IS DISTINCT FROM made THEN
      PERFORM audit_month(w.month);
      made := w.month;
    END IF;
    INSERT INTO audit_frame (month, writer, frame, first_seq, count, bytes)
      VALUES (w.month, p_writer, n, first, records::integer, f);
    IF get_byte(f, 4) = 3 AND get_byte(f, 5) & 1 = 0 THEN
      -- A signed note: its first line ends with the writer that it is about, its second is the size. A writer speaks of
      -- itself and of the one that it followed, and of no more records than there were. Who said it stays beside it:
      -- what another writer says takes no place from what this one says.
      note := string_to_array(convert_from(substr(f, 41 + 32 * records::integer, foot - 40 - 32 * records::integer), 'UTF8'), E'\n');
      about := regexp_replace(note[1], '^.*/', '');
      IF note[2] IS NULL OR note[2] !~ '^[0-9]{1,18}$' THEN
        RAISE EXCEPTION 'a checkpoint has no size' USING ERRCODE = 'CH003';
      END IF;
      IF NOT coalesce(about = p_writer AND note[2]::bigint <= w.seq
                      OR about = w.prev_writer AND note[2]::bigint <= w.prev_seq, false) THEN
        RAISE EXCEPTION 'a checkpoint speaks of records that are not its writer''s' USING ERRCODE = 'CH003';
      END IF;
      INSERT INTO audit_checkpoint (writer, size, note, by_writer)
        VALUES (about, note[2]::bigint, array_to_string(note, E'\n'), p_writer)
        ON CONFLICT DO NOTHING;
    END IF;
    w.frame := n;
    w.seq := w.seq + records;
    w.chain := substr(f, foot + 5, 32);
  END LOOP;

  rows_wanted := w.seq - before;
  IF rows_wanted > 0 THEN
    IF (rows_given, rows_told_apart, rows_least, rows_most) IS DISTINCT FROM (rows_wanted, rows_wanted, before + 1, w.seq) THEN
      RAISE EXCEPTION 'the index has not each record once' USING ERRCODE = 'CH003';
    END IF;
    FOREACH m IN ARRAY months LOOP
      PERFORM audit_month(m);
    END LOOP;
    INSERT INTO audit_record (month, writer, seq, frame, at, decision_id, kind, tenant, principal, principal_type, action,
                              resource_type, resource_id, client, decision, reason, grant_id, line, resource_tenant)
      SELECT r.month, p_writer, r.seq, r.frame, r.at, r.decision_id, r.kind, r.tenant, r.principal, r.principal_type, r.action,
             r.resource_type, r.resource_id, r.client, r.decision, r.reason, r.grant_id, r.line,
             r.resource_tenant
      FROM jsonb_to_recordset(p_rows) AS r (month text, seq bigint, frame bigint, at timestamptz, decision_id text, kind text,
             tenant text, principal text, principal_type text, action text, resource_type text, resource_id text, client text,
             decision text, reason text, grant_id text, line text, resource_tenant text)
      WHERE r.seq > before;
  END IF;
  UPDATE audit_writer SET frame = w.frame, seq = w.seq, chain = w.chain, month = w.month
    WHERE writer = p_writer AND frame < w.frame;
  held_frame := w.frame;
  held_seq := w.seq;
  -- What the writer said itself, and what others said of it: whoever asks verifies the signatures.
  SELECT coalesce(max(c.size), 0) INTO held_noted
    FROM audit_checkpoint AS c WHERE c.writer = p_writer AND c.by_writer IN (p_writer, '');
  held_notes := ARRAY(
    (SELECT c.note FROM audit_checkpoint AS c WHERE c.writer = p_writer AND c.by_writer = p_writer
       ORDER BY c.size DESC LIMIT 1)
    UNION ALL
    (SELECT c.note FROM audit_checkpoint AS c WHERE c.writer = p_writer AND c.by_writer = ''
       ORDER BY c.size DESC LIMIT 1)
    UNION ALL
    (SELECT c.note FROM audit_writer AS after JOIN audit_checkpoint AS c ON c.by_writer = after.writer
       WHERE after.prev_writer = p_writer AND c.writer = p_writer ORDER BY c.size DESC LIMIT 6));
  held_alarm := w.alarm;

  -- The month to come has its tables before its first frame comes. Whoever makes them now waits for nobody, and what
  -- is in the way now is not in the way of the append.
  ahead := to_char(to_date(w.month, 'YYYY-MM') + interval '1 month', 'YYYY-MM');
  IF w.frame > 0 AND to_regclass('audit_record_' || replace(ahead, '-', '_')) IS NULL
     AND pg_try_advisory_xact_lock(4850741, 2) THEN
    BEGIN
      PERFORM set_config('lock_timeout', '200ms', true);
      PERFORM audit_month(ahead);
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      NULL;
    END;
  END IF;
END $$;

DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION audit_append(text, bytea, bytea[], jsonb) SET search_path = %I, pg_temp', current_schema());
END $$;

-- The row says whose the resource is. Where it does not, as an earlier sidecar's, or the line says otherwise, it is taken out
-- of the line.
DROP TRIGGER audit_resource_tenant ON audit_record;
CREATE TRIGGER audit_resource_tenant BEFORE INSERT ON audit_record FOR EACH ROW
  WHEN (CASE WHEN NEW.resource_tenant IS NULL THEN strpos(NEW.line, '"resource_tenant":"') > 0
             ELSE strpos(NEW.line, '"resource_tenant":' || to_json(NEW.resource_tenant)::text) = 0 END)
  EXECUTE FUNCTION audit_resource_tenant();
