-- Requests from outside that carry an idempotency key. One is under way until it has a status.
CREATE TABLE request (
    tenant      TEXT        NOT NULL,
    caller      TEXT        NOT NULL,                        -- whose key it is
    key         TEXT        NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 255),
    attempt     UUID        NOT NULL UNIQUE,                 -- the one that may answer
    sha256      TEXT        NOT NULL CHECK (length(sha256) = 64), -- of all that it asks for
    lease_until TIMESTAMPTZ NOT NULL,                        -- another attempt may begin then
    keep_until  TIMESTAMPTZ NOT NULL,
    status      INTEGER     CHECK (status BETWEEN 200 AND 599),
    document    TEXT,                                        -- JSON; NULL where it was too long
    location    TEXT,
    PRIMARY KEY (tenant, caller, key)
);

CREATE INDEX request_expiry ON request (keep_until);
