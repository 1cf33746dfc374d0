-- Errors that somebody has seen: until they come again, nobody needs to look at them.

CREATE TABLE error_acknowledged (
    tenant      TEXT        NOT NULL,
    fingerprint TEXT        NOT NULL,
    said_by     TEXT        NOT NULL,
    reason      TEXT,
    at          TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, fingerprint)
);

SELECT confine_tenants();
