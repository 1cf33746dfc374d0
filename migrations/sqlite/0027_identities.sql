-- Accounts that are known by a login elsewhere: the mirror of PostgreSQL's migration of the same number.

-- The one account behind a subject of an issuer. An account has one subject of each issuer at most: an address of mail that
-- an issuer gives to another person does not lead to the account of the first one.
CREATE TABLE access_identity (
    issuer        TEXT        NOT NULL,
    subject       TEXT        NOT NULL,
    user_id       BLOB        NOT NULL REFERENCES access_user (id) ON DELETE CASCADE,
    created_at    INTEGER     NOT NULL,
    last_login_at INTEGER     NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT;
CREATE UNIQUE INDEX access_identity_of_user ON access_identity (user_id, issuer);

-- Logins elsewhere that have come back, until they would be over anyway: each comes back once.
CREATE TABLE access_answer (
    state BLOB        NOT NULL PRIMARY KEY CHECK (length(state) = 32), -- SHA-256
    until INTEGER     NOT NULL
) STRICT;
CREATE INDEX access_answer_until ON access_answer (until);
