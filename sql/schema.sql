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
'One step that maintenance takes, or would take: a row of the result of manage_range(), manage_hash(), alter_range(), alter_hash() and plan().';
COMMENT ON COLUMN steward.step.ordinal IS 'Position of the step in the result, from 1.';
COMMENT ON COLUMN steward.step.parent IS 'The set that the step is for.';
COMMENT ON COLUMN steward.step.action IS 'create; detach; finalize (complete a DETACH ... CONCURRENTLY that was interrupted); archive (call the archive function); drop (a detached table, or an empty partition of a hash set that gets another number of them); move (to another tablespace, or a detached table to another schema).';
COMMENT ON COLUMN steward.step.partition IS 'The partition that the step creates or changes, schema-qualified and quoted.';
COMMENT ON COLUMN steward.step.sql IS 'Exactly what runs, in one transaction, with the rights of the owner of the set; a DETACH ... CONCURRENTLY runs outside a transaction block, and what belongs to another role (a publication) is altered with the rights of that role.';
COMMENT ON COLUMN steward.step.lock IS 'The strongest lock on the set, and the locks on other tables.';
COMMENT ON COLUMN steward.step.reason IS 'Why the step is needed; after "blocked:", why it cannot be taken now.';
