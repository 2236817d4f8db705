-- Assignments, restrictions, consents and tickets as the admin room keeps them: who did what, where 0001 has no place for it.

ALTER TABLE assignments ADD COLUMN reason text;
ALTER TABLE restrictions ADD COLUMN requested_at timestamptz;
ALTER TABLE restrictions ADD COLUMN requested_by text;
ALTER TABLE restrictions ADD COLUMN ended_at timestamptz;
ALTER TABLE restrictions ADD COLUMN ended_by text;
-- By request, by an agreement that was documented, or by notice (45 CFR 164.522(a)(2)).
ALTER TABLE restrictions ADD COLUMN ended_how text CHECK (ended_how IN ('request','oral_agreement','notice'));
ALTER TABLE consents ADD COLUMN entered_by text;
ALTER TABLE consents ADD COLUMN revoked_by text;
ALTER TABLE tickets ADD COLUMN resolved_by text;

CREATE INDEX assignments_of_a_tenant ON assignments (tenant_id, id);
CREATE INDEX restrictions_of_a_tenant ON restrictions (tenant_id, client_id, id);
CREATE INDEX consents_of_a_tenant ON consents (tenant_id, client_id, id);
CREATE INDEX tickets_of_a_tenant ON tickets (tenant_id, id);
