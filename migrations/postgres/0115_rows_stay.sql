-- What says who had access, and to whom data went, is not taken away by its owner either: neither row by row nor all at once,
-- nor in a session that replays a replication stream or says that it does. `chaperone db doctor` tells of a disabled trigger.

CREATE FUNCTION chaperone_refuse_loss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'rows of % are never deleted: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'CH004'; END $$;

CREATE TRIGGER rows_stay BEFORE DELETE ON grants FOR EACH ROW EXECUTE FUNCTION chaperone_refuse_loss();
CREATE TRIGGER rows_stay BEFORE DELETE ON reviews FOR EACH ROW EXECUTE FUNCTION chaperone_refuse_loss();
CREATE TRIGGER rows_stay BEFORE DELETE ON grant_events FOR EACH ROW EXECUTE FUNCTION chaperone_refuse_loss();
CREATE TRIGGER rows_stay BEFORE DELETE ON incidents FOR EACH ROW EXECUTE FUNCTION chaperone_refuse_loss();
CREATE TRIGGER rows_stay BEFORE DELETE ON disclosures FOR EACH ROW EXECUTE FUNCTION chaperone_refuse_loss();
CREATE TRIGGER table_stays BEFORE TRUNCATE ON grants FOR EACH STATEMENT EXECUTE FUNCTION chaperone_refuse_loss();
CREATE TRIGGER table_stays BEFORE TRUNCATE ON reviews FOR EACH STATEMENT EXECUTE FUNCTION chaperone_refuse_loss();
CREATE TRIGGER table_stays BEFORE TRUNCATE ON grant_events FOR EACH STATEMENT EXECUTE FUNCTION chaperone_refuse_loss();
CREATE TRIGGER table_stays BEFORE TRUNCATE ON incidents FOR EACH STATEMENT EXECUTE FUNCTION chaperone_refuse_loss();
CREATE TRIGGER table_stays BEFORE TRUNCATE ON disclosures FOR EACH STATEMENT EXECUTE FUNCTION chaperone_refuse_loss();

ALTER TABLE grants ENABLE ALWAYS TRIGGER rows_stay, ENABLE ALWAYS TRIGGER table_stays, ENABLE ALWAYS TRIGGER justifications_stay;
ALTER TABLE reviews ENABLE ALWAYS TRIGGER rows_stay, ENABLE ALWAYS TRIGGER table_stays;
ALTER TABLE grant_events ENABLE ALWAYS TRIGGER rows_stay, ENABLE ALWAYS TRIGGER table_stays;
ALTER TABLE incidents ENABLE ALWAYS TRIGGER rows_stay, ENABLE ALWAYS TRIGGER table_stays;
ALTER TABLE disclosures ENABLE ALWAYS TRIGGER rows_stay, ENABLE ALWAYS TRIGGER table_stays;
