-- The audit: the mirror of PostgreSQL's migration of the same number.

CREATE TABLE audit_entry (
    tenant     TEXT    NOT NULL,
    seq        INTEGER NOT NULL CHECK (seq > 0),
    at         INTEGER NOT NULL,
    order_id   BLOB    NOT NULL CHECK (length(order_id) = 16),
    step_id    BLOB    NOT NULL CHECK (length(step_id) = 16),
    actor_kind TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    subject    BLOB,                                         -- the user or token
    role       TEXT,
    address    TEXT,
    request    TEXT,
    action     TEXT    NOT NULL,
    target     TEXT    NOT NULL,
    reason     TEXT,
    details    TEXT    NOT NULL,                             -- JSON, as it was hashed
    previous   TEXT    NOT NULL,                             -- the hash of the row before it
    hash       TEXT    NOT NULL,
    PRIMARY KEY (tenant, seq)
) STRICT;

-- A step is written down once, however often it is tried.
CREATE UNIQUE INDEX audit_entry_step ON audit_entry (tenant, step_id);
CREATE INDEX audit_entry_actor ON audit_entry (tenant, actor, seq);
CREATE INDEX audit_entry_action ON audit_entry (tenant, action, seq);
CREATE INDEX audit_entry_target ON audit_entry (tenant, target, seq);

-- Where each chain ends, and up to where it was removed after its time.
CREATE TABLE audit_head (
    tenant      TEXT    NOT NULL PRIMARY KEY,
    seq         INTEGER NOT NULL,
    hash        TEXT    NOT NULL,
    pruned_seq  INTEGER NOT NULL,
    pruned_hash TEXT    NOT NULL
) STRICT;

-- Where a chain ended on a day, signed.
CREATE TABLE audit_signed_head (
    tenant    TEXT    NOT NULL,
    seq       INTEGER NOT NULL,
    hash      TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    key       TEXT    NOT NULL,
    signature TEXT    NOT NULL,
    PRIMARY KEY (tenant, seq, key)
) STRICT;

-- Rows are added and never changed, and removed only below where the head says that they were removed. Whoever can write
-- to the file can take the triggers away: that is what the chain and the signatures are for.
-- `INSERT OR REPLACE` would take away the row that is there without a word to the triggers of DELETE.
CREATE TRIGGER audit_entry_place BEFORE INSERT ON audit_entry
WHEN EXISTS (SELECT 1 FROM audit_entry e WHERE e.tenant = NEW.tenant AND e.seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the audit is append-only: INSERT over audit_entry is refused'); END;

CREATE TRIGGER audit_entry_once BEFORE INSERT ON audit_entry
WHEN EXISTS (SELECT 1 FROM audit_entry e WHERE e.tenant = NEW.tenant AND e.step_id = NEW.step_id)
BEGIN SELECT RAISE(IGNORE); END;

CREATE TRIGGER audit_head_once BEFORE INSERT ON audit_head
WHEN EXISTS (SELECT 1 FROM audit_head h WHERE h.tenant = NEW.tenant)
BEGIN SELECT RAISE(IGNORE); END;

CREATE TRIGGER audit_signed_once BEFORE INSERT ON audit_signed_head
WHEN EXISTS (SELECT 1 FROM audit_signed_head s WHERE s.tenant = NEW.tenant AND s.seq = NEW.seq AND s.key = NEW.key)
BEGIN SELECT RAISE(IGNORE); END;

CREATE TRIGGER audit_entry_kept BEFORE UPDATE ON audit_entry
BEGIN SELECT RAISE(ABORT, 'the audit is append-only: UPDATE of audit_entry is refused'); END;

CREATE TRIGGER audit_entry_whole BEFORE DELETE ON audit_entry
WHEN NOT EXISTS (SELECT 1 FROM audit_head h WHERE h.tenant = OLD.tenant AND h.pruned_seq >= OLD.seq)
BEGIN SELECT RAISE(ABORT, 'the audit is append-only: DELETE of audit_entry is refused'); END;

CREATE TRIGGER audit_head_kept BEFORE DELETE ON audit_head
BEGIN SELECT RAISE(ABORT, 'the audit is append-only: DELETE of audit_head is refused'); END;

CREATE TRIGGER audit_head_on BEFORE UPDATE ON audit_head
WHEN NOT (NEW.tenant = OLD.tenant AND NEW.seq BETWEEN OLD.seq AND OLD.seq + 1
          AND (NEW.seq > OLD.seq OR NEW.hash = OLD.hash)
          AND NEW.pruned_seq BETWEEN OLD.pruned_seq AND NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the head of the audit only goes forward'); END;

CREATE TRIGGER audit_signed_kept BEFORE UPDATE ON audit_signed_head
BEGIN SELECT RAISE(ABORT, 'the audit is append-only: UPDATE of audit_signed_head is refused'); END;

CREATE TRIGGER audit_signed_whole BEFORE DELETE ON audit_signed_head
BEGIN SELECT RAISE(ABORT, 'the audit is append-only: DELETE of audit_signed_head is refused'); END;
