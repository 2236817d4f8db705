-- Pruning the shipped trail: the one way in which records leave it. A signed stub comes first and stays; the rows that it
-- stands for may then be deleted, and no others. Signature, chain and the record that begins a pruning are checked by the
-- program; that a stub ends with a frame that is held, and that nothing of it is younger than six years, here too.
-- A row stays for each pruning; the last of a writer counts.

CREATE TABLE audit_pruned (
  writer text NOT NULL, frame integer NOT NULL, seq integer NOT NULL,   -- the last that are gone
  stub text NOT NULL,                                                   -- as <writer>.pruned in a folder
  begun_writer text NOT NULL, begun_seq integer NOT NULL,               -- the record that says so
  pruned text NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  PRIMARY KEY (writer, frame));

-- Whether a legal hold came while a pruning is under way is asked before each part.
CREATE INDEX audit_record_hold ON audit_record (writer, seq) WHERE action = 'audit:hold';

CREATE TRIGGER audit_may_prune BEFORE INSERT ON audit_pruned
WHEN NOT EXISTS (SELECT 1 FROM audit_frame AS last WHERE last.writer = NEW.writer AND last.frame = NEW.frame
                 AND last.first_seq + last.count - 1 = NEW.seq)
  OR NOT EXISTS (SELECT 1 FROM audit_record AS begun WHERE begun.writer = NEW.begun_writer AND begun.seq = NEW.begun_seq)
  OR EXISTS (SELECT 1 FROM audit_record AS young WHERE young.writer = NEW.writer AND young.seq <= NEW.seq
             AND young.line IS NOT NULL AND rtrim(young.at, 'Z') > strftime('%Y-%m-%dT%H:%M:%S', 'now', '-6 years'))
BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_pruned_update BEFORE UPDATE ON audit_pruned BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_pruned_delete BEFORE DELETE ON audit_pruned BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
-- REPLACE fires no delete trigger.
CREATE TRIGGER audit_pruned_again BEFORE INSERT ON audit_pruned
WHEN EXISTS (SELECT 1 FROM audit_pruned WHERE writer = NEW.writer AND frame = NEW.frame)
BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;

DROP TRIGGER audit_frame_delete;
DROP TRIGGER audit_record_delete;
CREATE TRIGGER audit_frame_delete BEFORE DELETE ON audit_frame
WHEN NOT EXISTS (SELECT 1 FROM audit_pruned AS gone WHERE gone.writer = OLD.writer AND gone.frame >= OLD.frame)
BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
CREATE TRIGGER audit_record_delete BEFORE DELETE ON audit_record
WHEN NOT EXISTS (SELECT 1 FROM audit_pruned AS gone WHERE gone.writer = OLD.writer AND gone.frame >= OLD.frame)
BEGIN SELECT RAISE(ABORT, 'the trail is not changed'); END;
