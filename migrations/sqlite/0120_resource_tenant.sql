-- Whose the resource of a record is, beside the tenant that its principal acted in: a tenant finds access to what is its
-- own, also by vendor staff and by people of a linked organization. Records shipped before have none.
ALTER TABLE audit_record ADD COLUMN resource_tenant text;
CREATE INDEX audit_record_resource_tenant ON audit_record (resource_tenant, rtrim(at, 'Z'), writer, seq);
