-- Errors that an operator has seen: they need no look until they come again.

CREATE TABLE error_acknowledged (
    tenant      TEXT        NOT NULL,
    fingerprint TEXT        NOT NULL,
    said_by     TEXT        NOT NULL,
    reason      TEXT,
    at          TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, fingerprint)
);

SELECT confine_tenants();
