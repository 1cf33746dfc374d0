-- Access tokens: the keys that sign them, and the refresh tokens by which a session goes on without a password. And rows
-- that the server itself keeps apart by their tenants.

-- How a session is known: by the cookie of a browser, or by tokens. `hash` is then that of the refresh token that may be
-- used next.
ALTER TABLE access_session ADD COLUMN kind TEXT NOT NULL DEFAULT 'browser' CHECK (kind IN ('browser', 'tokens'));

-- The refresh tokens of a session that were used: one that comes again was stolen, from its owner or by them.
CREATE TABLE access_spent (
    hash       BYTEA PRIMARY KEY CHECK (length(hash) = 32),
    session_id UUID        NOT NULL REFERENCES access_session (id) ON DELETE CASCADE,
    spent_at   TIMESTAMPTZ NOT NULL
);
CREATE INDEX access_spent_of_session ON access_spent (session_id);

-- One key signs. One that was replaced verifies until what it has signed is over; then nothing of it is needed.
CREATE TABLE access_key (
    id         UUID PRIMARY KEY,
    public     BYTEA       NOT NULL CHECK (length(public) = 32),
    secret     BYTEA,                                        -- sealed; NULL when it signs no more
    signs      BOOLEAN UNIQUE CHECK (signs),                 -- NULL when it signs no more
    created_at TIMESTAMPTZ NOT NULL,
    ends_at    TIMESTAMPTZ,                                  -- until when it verifies; NULL while it signs
    CHECK ((signs IS NULL) = (secret IS NULL) AND (signs IS NULL) = (ends_at IS NOT NULL))
);

-- Tenants kept apart by the server itself, for the connections of the API: a transaction there takes a role that is named
-- here, and says whose it is in the setting `gristmill.tenant`. Who has another role sees all rows as before, and the
-- tables' owner is asked nothing at all.
CREATE TABLE confined_role (
    name NAME PRIMARY KEY
);
GRANT SELECT ON confined_role TO PUBLIC;

-- A row is seen and written by its tenant. One that has no tenant of its own goes with the row that it belongs to, which is
-- looked for with the same eyes. Run again after each migration: a table that is new has no policy yet.
CREATE FUNCTION confine_tenants() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    free  CONSTANT text := 'NOT EXISTS (SELECT 1 FROM confined_role r WHERE r.name = current_user)';
    found record;
BEGIN
    FOR found IN
        SELECT c.oid::regclass AS called, format('%I = current_setting(''gristmill.tenant'', true)', a.attname) AS own
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
          AND (a.attname = 'tenant' OR (c.relname = 'access_tenant' AND a.attname = 'name'))
        UNION ALL
        SELECT c.oid::regclass, format('EXISTS (SELECT 1 FROM %I p WHERE p.%I = %I.%I)', of.parent, of.key, of.part, of.named)
        FROM (VALUES ('attempt', 'job_id', 'job', 'id'), ('operation_job', 'operation_id', 'operation', 'id'),
                     ('result', 'batch_id', 'batch', 'id'), ('access_user', 'id', 'access_membership', 'user_id'))
             AS of (part, named, parent, key)
        JOIN pg_class c ON c.relname = of.part AND c.relnamespace = current_schema()::regnamespace
    LOOP
        CONTINUE WHEN EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = found.called AND p.polname = 'tenant_rows');
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', found.called);
        EXECUTE format('CREATE POLICY tenant_rows ON %s USING (%s OR %s)', found.called, found.own, free);
    END LOOP;
END $$;

SELECT confine_tenants();
