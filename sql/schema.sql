-- The schema and the type that every room answers with. Runs first.
-- CREATE EXTENSION has made schema steward (pg_steward.control) and put it first in search_path.

GRANT USAGE ON SCHEMA steward TO PUBLIC;
COMMENT ON SCHEMA steward IS 'pg_steward: partitions kept ready, jobs, status; everything the extension owns.';

CREATE TYPE steward.step AS (
    ordinal   integer,
    parent    regclass,
    action    text,
    partition text,
    sql       text,
    lock      text,
    reason    text
);
COMMENT ON TYPE steward.step IS
'One thing maintenance does, or would do: the answer of manage_range(), manage_hash(), alter_range(), alter_hash() and plan().';
COMMENT ON COLUMN steward.step.ordinal IS 'Its place in this answer, from 1.';
COMMENT ON COLUMN steward.step.parent IS 'The set it is for.';
COMMENT ON COLUMN steward.step.action IS 'create; drop, of the empty partitions of a hash set that gets another number of them.';
COMMENT ON COLUMN steward.step.partition IS 'The partition it is about, qualified and quoted as SQL wants it.';
COMMENT ON COLUMN steward.step.sql IS 'Exactly what runs, as the owner of the set, in one transaction.';
COMMENT ON COLUMN steward.step.lock IS 'The strongest lock on the parent, and what else is locked.';
COMMENT ON COLUMN steward.step.reason IS 'Why; and after "blocked:" why it cannot be done now.';
