-- What says who had access, and to whom data went, is not taken away; grants and reviews are kept by 0100.

CREATE TRIGGER grant_events_stay BEFORE DELETE ON grant_events BEGIN SELECT RAISE(ABORT, 'a row of grant_events is never deleted'); END;
CREATE TRIGGER incidents_stay BEFORE DELETE ON incidents BEGIN SELECT RAISE(ABORT, 'a row of incidents is never deleted'); END;
CREATE TRIGGER disclosures_stay BEFORE DELETE ON disclosures BEGIN SELECT RAISE(ABORT, 'a row of disclosures is never deleted'); END;
-- REPLACE fires no delete trigger.
CREATE TRIGGER grants_again BEFORE INSERT ON grants WHEN EXISTS (SELECT 1 FROM grants WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a row of grants is never replaced'); END;
CREATE TRIGGER reviews_again BEFORE INSERT ON reviews WHEN EXISTS (SELECT 1 FROM reviews WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a row of reviews is never replaced'); END;
CREATE TRIGGER grant_events_again BEFORE INSERT ON grant_events WHEN EXISTS (SELECT 1 FROM grant_events WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a row of grant_events is never replaced'); END;
CREATE TRIGGER incidents_again BEFORE INSERT ON incidents WHEN EXISTS (SELECT 1 FROM incidents WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a row of incidents is never replaced'); END;
CREATE TRIGGER disclosures_again BEFORE INSERT ON disclosures WHEN EXISTS (SELECT 1 FROM disclosures WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a row of disclosures is never replaced'); END;
