-- Which processes decide from this store, and the barriers that each of them passed.

-- The number of the last barrier. It grows by one with each, in the order of their commits.
CREATE TABLE sidecar_barrier (only_row integer PRIMARY KEY CHECK (only_row = 1), number integer NOT NULL);
INSERT INTO sidecar_barrier (only_row, number) VALUES (1, 0);

CREATE TABLE sidecars (
  id text PRIMARY KEY,                            -- the writer of its trail: another one at each start
  process text NOT NULL CHECK (process IN ('serve','admin','demo')), host text NOT NULL,
  policies text NOT NULL, staleness_ms integer NOT NULL,
  passed integer NOT NULL DEFAULT 0,              -- the last barrier that it passed
  tried integer NOT NULL DEFAULT 0, trouble text, -- the last one that it could not pass, and why
  started_at timestamptz NOT NULL, seen_at timestamptz NOT NULL);  -- by the clock of this database
