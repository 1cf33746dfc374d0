-- Errors that an operator has seen: the mirror of PostgreSQL's migration of the same number.

CREATE TABLE error_acknowledged (
    tenant      TEXT        NOT NULL,
    fingerprint TEXT        NOT NULL,
    said_by     TEXT        NOT NULL,
    reason      TEXT,
    at          INTEGER     NOT NULL,
    PRIMARY KEY (tenant, fingerprint)
) STRICT;
