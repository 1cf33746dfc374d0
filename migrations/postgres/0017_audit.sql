-- The audit: one row for each change that a person or a program has ordered, in a chain for each tenant.

CREATE TABLE audit_entry (
    tenant     TEXT        NOT NULL,
    seq        BIGINT      NOT NULL CHECK (seq > 0),
    at         TIMESTAMPTZ NOT NULL,
    order_id   UUID        NOT NULL,
    step_id    UUID        NOT NULL,
    actor_kind TEXT        NOT NULL,
    actor      TEXT        NOT NULL,
    subject    UUID,                                         -- the user or token
    role       TEXT,
    address    TEXT,
    request    TEXT,
    action     TEXT        NOT NULL,
    target     TEXT        NOT NULL,
    reason     TEXT,
    details    TEXT        NOT NULL,                         -- JSON, as it was hashed
    previous   TEXT        NOT NULL,                         -- the hash of the row before it
    hash       TEXT        NOT NULL,
    PRIMARY KEY (tenant, seq)
);

-- A step is written down once, however often it is tried.
CREATE UNIQUE INDEX audit_entry_step ON audit_entry (tenant, step_id);
CREATE INDEX audit_entry_actor ON audit_entry (tenant, actor, seq);
CREATE INDEX audit_entry_action ON audit_entry (tenant, action, seq);
CREATE INDEX audit_entry_target ON audit_entry (tenant, target, seq);

-- Where each chain ends, and up to where it was removed after its time. Locked while a row is added.
CREATE TABLE audit_head (
    tenant      TEXT   PRIMARY KEY,
    seq         BIGINT NOT NULL,
    hash        TEXT   NOT NULL,
    pruned_seq  BIGINT NOT NULL,
    pruned_hash TEXT   NOT NULL
);

-- Where a chain ended on a day, signed.
CREATE TABLE audit_signed_head (
    tenant    TEXT        NOT NULL,
    seq       BIGINT      NOT NULL,
    hash      TEXT        NOT NULL,
    at        TIMESTAMPTZ NOT NULL,
    key       TEXT        NOT NULL,
    signature TEXT        NOT NULL,
    PRIMARY KEY (tenant, seq, key)
);

-- Rows are added and never changed, and removed only below where the head says that they were removed. Whoever owns the
-- tables can take the triggers away: that is what the chain and the signatures are for.
CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'audit_entry' THEN
        IF EXISTS (SELECT 1 FROM audit_head h WHERE h.tenant = OLD.tenant AND h.pruned_seq >= OLD.seq) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE OR REPLACE FUNCTION audit_head_forward() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.tenant = OLD.tenant AND NEW.seq BETWEEN OLD.seq AND OLD.seq + 1
       AND (NEW.seq > OLD.seq OR NEW.hash = OLD.hash)
       AND NEW.pruned_seq BETWEEN OLD.pruned_seq AND NEW.seq THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the head of the audit only goes forward' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_entry_kept BEFORE UPDATE OR DELETE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_entry_whole BEFORE TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_head_kept BEFORE DELETE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_head_whole BEFORE TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_head_on BEFORE UPDATE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION audit_head_forward();
CREATE TRIGGER audit_signed_kept BEFORE UPDATE OR DELETE ON audit_signed_head
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_signed_whole BEFORE TRUNCATE ON audit_signed_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
