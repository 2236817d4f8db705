-- What a decision asks of these tables, it asks by these columns: what it costs must not grow with the rows of others.

CREATE INDEX assignments_of_a_client ON assignments (client_id);
CREATE INDEX restrictions_of_a_client ON restrictions (client_id);
CREATE INDEX consents_of_a_client ON consents (client_id);
CREATE INDEX referrals_of_a_client ON referrals (client_id);
CREATE INDEX lockdowns_of_a_client ON lockdowns (client_id);
CREATE INDEX lockdowns_of_a_tenant ON lockdowns (tenant_id) WHERE client_id IS NULL;
CREATE INDEX legal_holds_of_a_client ON legal_holds (client_id);
CREATE INDEX legal_holds_of_a_tenant ON legal_holds (tenant_id) WHERE client_id IS NULL;
CREATE INDEX tickets_of_an_engineer ON tickets (assigned_engineer_id);
CREATE INDEX ticket_scopes_of_a_record ON ticket_scopes (resource_type, resource_id);
