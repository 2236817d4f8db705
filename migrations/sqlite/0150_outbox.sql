-- What is told to others about grants and reviews: written with the change itself, sent until it is taken.
-- Nothing here says who a client is: `about` is a pseudonym and a link.

CREATE TABLE outbox (
  id text PRIMARY KEY,                            -- the message's own id, the same at each try
  tenant_id text NOT NULL, kind text NOT NULL CHECK (kind IN ('immediate','digest','overdue')),
  about text NOT NULL,
  batch text,                                     -- of a digest: the first row that went with it, whose id is the message's
  attempts integer NOT NULL DEFAULT 0, written_at timestamptz NOT NULL, next_try_at timestamptz NOT NULL, sent_at timestamptz);
CREATE INDEX outbox_due ON outbox (next_try_at, id) WHERE sent_at IS NULL;
CREATE INDEX outbox_batch ON outbox (batch) WHERE batch IS NOT NULL;

-- Nobody wrote it, and a count that stays at nought is a lie: how often a grant was used stands in the trail.
ALTER TABLE grants DROP COLUMN use_count;
