-- Hash sets: every remainder has its partition.

CREATE TABLE steward.hash_policy (
    parent      oid      PRIMARY KEY REFERENCES steward.job (target) ON DELETE CASCADE,
    partitions  integer  NOT NULL,
    name_format text,
    template    oid
);
COMMENT ON TABLE steward.hash_policy IS 'One row per hash set. Read it through steward.partition_sets, where its other columns are described; change it with steward.alter_hash().';
COMMENT ON COLUMN steward.hash_policy.partitions IS 'How many partitions it was given; the modulus of those that it lacks.';

CREATE FUNCTION steward.manage_hash(
    parent      regclass,
    partitions  integer  DEFAULT 16,
    name_format text     DEFAULT NULL,
    template    regclass DEFAULT NULL
) RETURNS SETOF steward.step
LANGUAGE c VOLATILE ROWS 16 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'manage_hash_wrapper';
COMMENT ON FUNCTION steward.manage_hash IS
'Puts a PARTITION BY HASH table under management and creates, in the caller''s transaction, the partitions it lacks; returns the steps taken. From then on it is looked at every minute, or as alter_job() says, and completed: a key whose remainder has no partition cannot be inserted.
 parent: the partitioned table.
 partitions: how many an empty set gets, 1 to 10000; of a set that has some, their greatest modulus or a multiple of it: what there is stays, what is lacking is made with that modulus (4 and 8 together are legal).
 name_format: {parent}, {remainder}; default <parent>_p0 and so on.
 template: a plain table of the same owner that gives what a parent cannot (storage parameters, UNLOGGED, further indexes, grants).
Locks, held until the caller commits: SHARE UPDATE EXCLUSIVE on the parent, SHARE ROW EXCLUSIVE on tables that foreign keys join to it; each waited for at most pg_steward.lock_timeout.
Errors: 42P01, 42809 not partitioned by hash, 42501 not the owner, 42710 already managed, 22023 bad argument, 55000 standby, 55P03 lock not available.';

CREATE FUNCTION steward.alter_hash(
    parent      regclass,
    partitions  integer  DEFAULT NULL,
    name_format text     DEFAULT NULL,
    template    regclass DEFAULT NULL
) RETURNS SETOF steward.step
LANGUAGE c VOLATILE CALLED ON NULL INPUT ROWS 16 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'alter_hash_wrapper';
COMMENT ON FUNCTION steward.alter_hash IS
'Changes the policy of a managed hash set and takes, in the caller''s transaction, the steps that follow from it. Each argument is that of manage_hash(); NULL leaves it unchanged, '''' clears name_format, ''-'' template. Another number of partitions: only of a set without rows, whose partitions are dropped and created again, under ACCESS EXCLUSIVE, in a transaction that is READ COMMITTED. Errors: 42704 not managed, 55000 the set holds rows or the transaction is older than they may be, and those of manage_hash().';

CREATE FUNCTION steward.hash_partitions(
    parent regclass, OUT partition regclass, OUT modulus integer, OUT remainder integer
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT ROWS 4 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'hash_partitions_wrapper';
COMMENT ON FUNCTION steward.hash_partitions IS
'The partitions of a hash set from the server''s relation cache, by modulus and remainder. Takes ACCESS SHARE on the parent.';

CREATE FUNCTION steward.hash_holes(parent regclass, partitions integer) RETURNS text[]
LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'hash_holes_wrapper';
COMMENT ON FUNCTION steward.hash_holes IS
'What a hash set lacks: ''modulus 8, remainder 6'' each; inserts of such keys fail. partitions: how many a set without any gets. NULL: the set is locked by another session. Takes ACCESS SHARE on the parent.';
