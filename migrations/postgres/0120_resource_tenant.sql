-- Whose the resource of a record is, beside the tenant that its principal acted in: a tenant finds access to what is its
-- own, also by vendor staff and by people of a linked organization. Records shipped before have none.
ALTER TABLE audit_record ADD COLUMN resource_tenant text;
CREATE INDEX audit_record_resource_tenant ON audit_record (resource_tenant, at, writer, seq);

-- Taken out of the line that the row holds anyway, whoever inserts it: `audit_append` stays as it is. Quotes inside a JSON
-- text have a backslash, so that no text of a caller can pass for the key. Verification compares the column with the line.
CREATE FUNCTION audit_resource_tenant() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  NEW.resource_tenant := (substring(NEW.line FROM '"resource_tenant":("(?:[^"\\]|\\.)*")'))::jsonb #>> '{}';
  RETURN NEW;
EXCEPTION WHEN data_exception THEN
  -- An id that PostgreSQL cannot hold: the record is kept, and found by its other words.
  RETURN NEW;
END $$;
CREATE TRIGGER audit_resource_tenant BEFORE INSERT ON audit_record FOR EACH ROW EXECUTE FUNCTION audit_resource_tenant();
