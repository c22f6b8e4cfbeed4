-- What leaves a range set when it is old, and where older periods lie.

CREATE TABLE steward.retired_partition (
    partition       oid      PRIMARY KEY,
    parent          oid      NOT NULL REFERENCES steward.job (target) ON DELETE CASCADE,
    lower_bound     text     NOT NULL,
    upper_bound     text     NOT NULL,
    ends            numeric  NOT NULL,
    action          text     NOT NULL CHECK (action IN ('drop', 'detach')),
    to_schema       name,
    settled         boolean  NOT NULL DEFAULT false,
    archived_at     timestamptz,
    attempts        integer  NOT NULL DEFAULT 0,
    asked_at        timestamptz,
    next_attempt_at timestamptz,
    sqlstate        text,
    error_message   text
);
CREATE INDEX retired_partition_parent ON steward.retired_partition (parent);
COMMENT ON TABLE steward.retired_partition IS 'One row per partition that retention takes out of its set: written before it is detached, so that a crash leaves no table behind of which nobody knows; gone with the table. Read it through steward.partitions.';
COMMENT ON COLUMN steward.retired_partition.partition IS 'The table, by its OID: whatever it is called.';
COMMENT ON COLUMN steward.retired_partition.parent IS 'The set that it leaves.';
COMMENT ON COLUMN steward.retired_partition.lower_bound IS 'Its bound in the set, inclusive, as SQL writes it.';
COMMENT ON COLUMN steward.retired_partition.upper_bound IS 'Its bound in the set, exclusive.';
COMMENT ON COLUMN steward.retired_partition.ends IS 'The upper bound on the key''s axis, which retention counts on.';
COMMENT ON COLUMN steward.retired_partition.action IS 'What was asked for when it left: drop or detach. A later change of policy drops nothing that was to be kept.';
COMMENT ON COLUMN steward.retired_partition.to_schema IS 'Where it goes; NULL: it stays.';
COMMENT ON COLUMN steward.retired_partition.settled IS 'Nothing is left to be done once it is detached.';
COMMENT ON COLUMN steward.retired_partition.archived_at IS 'When the archive function returned true, in the transaction of that call.';
COMMENT ON COLUMN steward.retired_partition.attempts IS 'How often the archive function has failed or not returned true.';
COMMENT ON COLUMN steward.retired_partition.asked_at IS 'When the archive function was called, until it has answered: it stays where the process was ended meanwhile.';
COMMENT ON COLUMN steward.retired_partition.next_attempt_at IS 'When the workers call it again.';
COMMENT ON COLUMN steward.retired_partition.sqlstate IS 'Of the last failure.';
COMMENT ON COLUMN steward.retired_partition.error_message IS 'The last failure.';

-- A failing archive is an alert of its table: also of one that a dump brings, until it has succeeded, the table is
-- gone, or nobody asks for it any more.
CREATE FUNCTION steward.archive_answered() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP <> 'DELETE' AND NEW.attempts > 0 AND NEW.archived_at IS NULL THEN
        PERFORM steward.raise_alert('archive', NEW.partition,
                                    CASE WHEN NEW.attempts < 5 THEN 'warning' ELSE 'critical' END,
                                    NEW.attempts, NEW.error_message);
    ELSE
        PERFORM steward.resolve_alert('archive', OLD.partition);
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION steward.archive_answered() FROM PUBLIC;
COMMENT ON FUNCTION steward.archive_answered IS 'Keeps the alerts of check archive.';
CREATE TRIGGER archive_failed_before AFTER INSERT ON steward.retired_partition
    FOR EACH ROW WHEN (NEW.attempts > 0) EXECUTE FUNCTION steward.archive_answered();
CREATE TRIGGER archive_answered AFTER UPDATE ON steward.retired_partition
    FOR EACH ROW WHEN (NEW.attempts > 0 OR OLD.attempts > 0) EXECUTE FUNCTION steward.archive_answered();
CREATE TRIGGER archive_forgotten AFTER DELETE ON steward.retired_partition
    FOR EACH ROW WHEN (OLD.attempts > 0) EXECUTE FUNCTION steward.archive_answered();

CREATE FUNCTION steward.refuse_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A foreign key's action (ON DELETE SET NULL) follows what it points to, and is lost with the row anyway.
    IF TG_OP = 'UPDATE' AND pg_trigger_depth() > 1 THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% is archived and about to be dropped', TG_RELID::regclass
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = format('What is written into it now would be lost. To keep it, call steward.clear_retention(), then DROP TRIGGER %I ON %s;',
                            TG_NAME, coalesce(pg_partition_root(TG_RELID), TG_RELID::regclass));
END
$$;
COMMENT ON FUNCTION steward.refuse_write IS 'Function of the trigger pg_steward_archived, which a table gets when its archive function has returned true: from then until it is dropped nothing is inserted or updated.';

CREATE FUNCTION steward.retention_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE steward.retired_partition q
       SET attempts = 0, next_attempt_at = NULL, sqlstate = NULL, error_message = NULL, archived_at = NULL
     WHERE q.parent = OLD.parent
       AND CASE WHEN q.archived_at IS NULL THEN q.attempts > 0
                -- What one function has said says nothing of another: somebody had a reason to change it.
                ELSE TG_OP = 'UPDATE' AND NEW.archive_function <> OLD.archive_function END;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION steward.retention_changed() FROM PUBLIC;
COMMENT ON FUNCTION steward.retention_changed IS 'What has failed under the old policy is asked anew, and at once, under the new one; without one nobody asks. Another archive function is asked of what the old one has archived, too.';
CREATE TRIGGER retention_changed AFTER UPDATE OF keep, keep_action, archive_function OR DELETE ON steward.range_policy
    FOR EACH ROW EXECUTE FUNCTION steward.retention_changed();

CREATE FUNCTION steward.set_retention(
    parent           regclass,
    keep             text,
    action           text         DEFAULT 'drop',
    to_schema        name         DEFAULT NULL,
    archive_function regprocedure DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'set_retention_wrapper';
COMMENT ON FUNCTION steward.set_retention IS
'Partitions of a managed range set that are wholly older than keep leave it, oldest first, at the next maintenance, which the background workers begin at once. To see what would leave: call it in a transaction, look at steward.plan(), and roll back.
 parent: the set.
 keep: an interval (''12 months''), or for integer keys a whole number of keys below the highest one in use (''1000000''); more than zero.
 action: drop, or detach: they stay as plain tables, out of any publication that names them.
 to_schema: where detached tables go, with their indexes.
 archive_function: with drop, a function (regclass) RETURNS boolean of the set''s owner or a superuser. It is called as the set''s owner with the detached table, in a transaction of its own; unless it returns true the table stays, detached, and it is called again later.
Never leaves: the period that holds now, the last one, the default partition. Called again it replaces what was set; tables that were detached to be kept stay kept.
Locks of the maintenance: DETACH ... CONCURRENTLY (SHARE UPDATE EXCLUSIVE on the set), or, where there is a default partition, plain DETACH (ACCESS EXCLUSIVE on the set), each waited for at most pg_steward.lock_timeout.
Errors: 42704 not managed, 42809 not partitioned by range, 42501 not the owner, 22023 bad argument, 3F000 no such schema, 55000 standby, 55P03 lock not available.';

CREATE FUNCTION steward.clear_retention(parent regclass) RETURNS void
LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'clear_retention_wrapper';
COMMENT ON FUNCTION steward.clear_retention IS
'From now on everything is kept. Tables that are detached already stay as they are. Errors: 42704 not managed, 42501 not the owner, 55000 standby, 55P03 lock not available.';

CREATE FUNCTION steward.set_tiering(parent regclass, older_than text, tablespace name) RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'set_tiering_wrapper';
COMMENT ON FUNCTION steward.set_tiering IS
'Partitions of a managed range set that are wholly older than older_than (as keep of set_retention()) move to a tablespace, with their indexes and toast tables, one transaction per period. While a period is copied nobody else reads or writes it: ACCESS EXCLUSIVE on it alone, taken when nobody holds it, else waited for at most pg_steward.lock_timeout. Errors: 42704 not managed or no such tablespace, 42501 not the owner or no right to create in the tablespace, 22023 bad argument, 55000 standby, 55P03 lock not available.';

CREATE FUNCTION steward.clear_tiering(parent regclass) RETURNS void
LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'clear_tiering_wrapper';
COMMENT ON FUNCTION steward.clear_tiering IS
'From now on nothing is moved; what has been moved stays where it is. Errors: 42704 not managed, 42501 not the owner, 55000 standby, 55P03 lock not available.';
