-- A publication FOR ALL TABLES has the extension's own tables in it, too, and nothing keeps them out. Where a
-- subscription brings them to a database that has the extension itself, they are passed over: policies and jobs there
-- are of its own tables. They hold OIDs and no names, for a name that is not there would stop the subscription.

CREATE FUNCTION steward.is_subscription() RETURNS boolean
LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'is_subscription_wrapper';
COMMENT ON FUNCTION steward.is_subscription IS 'Whether this process applies what a subscription brings.';

CREATE FUNCTION steward.pass_over() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$ BEGIN RETURN NULL; END $$;
REVOKE ALL ON FUNCTION steward.pass_over() FROM PUBLIC;
COMMENT ON FUNCTION steward.pass_over IS 'Leaves a row as it was.';

DO $$
DECLARE
    own text;
BEGIN
    FOR own IN SELECT c.relname FROM pg_catalog.pg_class c
                WHERE c.relnamespace = 'steward'::pg_catalog.regnamespace AND c.relkind = 'r' LOOP
        EXECUTE format('CREATE TRIGGER of_another_database BEFORE INSERT OR UPDATE OR DELETE ON steward.%I
                            FOR EACH ROW WHEN (steward.is_subscription()) EXECUTE FUNCTION steward.pass_over()', own);
        EXECUTE format('ALTER TABLE steward.%I ENABLE ALWAYS TRIGGER of_another_database', own);
    END LOOP;
END
$$;
