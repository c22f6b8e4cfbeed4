//! Whose rights work runs with: owners who cannot log in, and owners who want more.

use pg_test::cluster::{Ask, Cluster, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::{SOON, drop_newest, exists, make_due, unattended_runs};

/// A function that tries everything an owner might, and writes down what came of it. IMMUTABLE, so
/// the server evaluates it while it plans: in CHECKs when a partition is attached, in indexes when
/// one is built.
const HOSTILE: &str = r#"
CREATE TABLE mallory.loot (who text, session text, worker text, attempt text, outcome text);
CREATE FUNCTION mallory.attack() RETURNS void LANGUAGE plpgsql AS $$
DECLARE attempt text;
BEGIN
    INSERT INTO mallory.loot VALUES (current_user, session_user, current_setting('application_name'), 'called', 'ok');
    FOREACH attempt IN ARRAY ARRAY[
        'SET ROLE postgres',
        'SET LOCAL ROLE postgres',
        'RESET ROLE',
        'SET ROLE NONE',
        'SET SESSION AUTHORIZATION postgres',
        'RESET SESSION AUTHORIZATION',
        'SELECT set_config(''role'', ''postgres'', false)',
        'ALTER ROLE mallory SUPERUSER',
        'CREATE ROLE crony SUPERUSER',
        'GRANT postgres TO mallory',
        'UPDATE steward.job SET enabled = false',
        'DELETE FROM steward.range_policy',
        'INSERT INTO steward.job (kind, target) VALUES (''partition'', ''pg_class''::regclass)',
        'DELETE FROM steward.job_run',
        'ALTER TABLE steward.job OWNER TO mallory',
        'CREATE FUNCTION steward.trap() RETURNS int LANGUAGE sql AS ''SELECT 1''',
        'CREATE TEMP TABLE pg_class (n int)',
        'LISTEN trap',
        'DECLARE trap CURSOR WITH HOLD FOR SELECT 1',
        'COPY (SELECT 1) TO PROGRAM ''true''',
        'SELECT pg_read_file(''postgresql.conf'')',
        'TABLE alice.secret',
        'SET session_replication_role = replica',
        'COMMIT'
    ] LOOP
        BEGIN
            EXECUTE attempt;
            INSERT INTO mallory.loot VALUES (current_user, session_user, current_setting('application_name'), attempt, 'done');
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO mallory.loot VALUES (current_user, session_user, current_setting('application_name'), attempt, SQLSTATE);
        END;
    END LOOP;
    -- These succeed, and must not outlive the step.
    PERFORM set_config('search_path', 'mallory, pg_catalog', false);
    PERFORM set_config('pg_steward.lock_timeout', '1min', false);
    PERFORM set_config('TimeZone', 'Asia/Kathmandu', false);
END $$;
CREATE FUNCTION mallory.innocent(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM mallory.attack(); RETURN true; END $$;
-- Look-alikes of what we might call.
CREATE FUNCTION mallory.count(bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.attack(); RETURN 0; END $$;
CREATE FUNCTION mallory.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.attack(); RETURN '2000-01-01'; END $$;
"#;

fn world() -> (Cluster, String, Client) {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut superuser = cluster.connect(&database).unwrap();
    superuser.run(
        "CREATE ROLE alice LOGIN; CREATE ROLE mallory LOGIN; CREATE ROLE silent NOLOGIN;
         CREATE SCHEMA alice AUTHORIZATION alice; CREATE SCHEMA mallory AUTHORIZATION mallory;
         CREATE SCHEMA silent AUTHORIZATION silent",
    );
    (cluster, database, superuser)
}

#[test]
fn sets_of_owners_without_login_or_superuser_are_kept_up() {
    let (_cluster, _, mut superuser) = world();
    for owner in ["alice", "silent"] {
        superuser.run(&format!(
            "SET ROLE {owner};
             CREATE TABLE {owner}.bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
             SELECT steward.manage_range('{owner}.bets', '1 day');
             RESET ROLE"
        ));
        let lost = drop_newest(&mut superuser, &format!("{owner}.bets"));
        make_due(&mut superuser);
        wait_until(SOON, &format!("the set of {owner} is kept up"), || {
            exists(&mut superuser, &lost)
        });
        let of: String = superuser.value(&format!(
            "SELECT relowner::regrole::text FROM pg_class WHERE oid = '{lost}'::regclass"
        ));
        assert_eq!(of, owner);
        let job: String = superuser.value(&format!(
            "SELECT owner::text FROM steward.jobs WHERE target = '{owner}.bets'::regclass"
        ));
        assert_eq!(job, owner);
    }
}

#[test]
fn a_hostile_owner_gains_nothing() {
    let (cluster, database, mut superuser) = world();
    let mut mallory = cluster.connect_as(&database, "mallory").unwrap();
    superuser.run(
        "CREATE TABLE alice.secret AS SELECT 'of alice' AS text; ALTER TABLE alice.secret OWNER TO alice;
         CREATE TABLE alice.bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         ALTER TABLE alice.bets OWNER TO alice;
         SELECT steward.manage_range('alice.bets', '1 day')",
    );
    mallory.run(HOSTILE);
    mallory.run(
        "CREATE TABLE mallory.bets (at timestamptz NOT NULL, n int DEFAULT 1,
                                    CHECK (mallory.innocent(1))) PARTITION BY RANGE (at);
         CREATE INDEX ON mallory.bets (at) WHERE mallory.innocent(2);
         CREATE INDEX ON mallory.bets ((mallory.innocent(3)));
         CREATE FUNCTION mallory.row() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM mallory.attack(); RETURN NEW; END $$;
         CREATE TRIGGER t BEFORE INSERT ON mallory.bets FOR EACH ROW EXECUTE FUNCTION mallory.row();
         SELECT steward.manage_range('mallory.bets', '1 day')",
    );
    // Before her in the executor's queue and after her: what she leaves behind would hit alice.
    let mut lost = ["mallory.bets", "alice.bets"].map(|parent| drop_newest(&mut superuser, parent));
    make_due(&mut superuser);
    wait_until(SOON, "both are kept up", || {
        lost.iter().all(|partition| exists(&mut superuser, partition))
    });
    let policies = "SELECT string_agg(p::text || j::text, E'\\n' ORDER BY p.parent::oid)
                      FROM steward.range_policy p JOIN (SELECT target, enabled, kind FROM steward.job) j
                        ON j.target = p.parent";
    let before: String = superuser.value(policies);
    // The same with a superuser as the caller, and with the superuser's session as it was.
    lost = ["mallory.bets", "alice.bets"].map(|parent| drop_newest(&mut superuser, parent));
    superuser.run("SET application_name = 'superuser'");
    superuser.run("CALL steward.maintain()");
    assert!(lost.iter().all(|partition| exists(&mut superuser, partition)));
    drop_newest(&mut superuser, "mallory.bets");
    superuser.run(
        "SELECT count(*) FROM steward.plan(); SELECT * FROM steward.partition_sets;
                   SELECT * FROM steward.partitions",
    );
    superuser.run("SELECT steward.alter_range('mallory.bets', premake => 6)");
    let session: String = superuser.value(
        "SELECT format('%s %s %s %s %s', current_user, session_user, current_setting('search_path'),
                       current_setting('pg_steward.lock_timeout'), current_setting('TimeZone'))",
    );
    assert_eq!(session, "postgres postgres \"$user\", public 2s UTC");

    let by_worker: i64 = superuser.value(
        "SELECT count(*) FROM mallory.loot WHERE attempt = 'called' AND worker LIKE 'pg_steward executor%'",
    );
    assert!(by_worker > 0, "her code was never called by a worker: the test shows nothing");
    let by_superuser: i64 = superuser.value(
        "SELECT count(*) FROM mallory.loot WHERE attempt = 'called' AND worker = 'superuser'",
    );
    assert!(by_superuser > 0, "her code was never called in the superuser's session");
    let who: Vec<String> =
        superuser.column("SELECT DISTINCT who || ' ' || session FROM mallory.loot");
    assert_eq!(who, ["mallory mallory"], "her code ran with the rights of another");
    let done: Vec<String> = superuser.column(
        "SELECT DISTINCT format('%s by %s: %s', attempt, worker, outcome) FROM mallory.loot
          WHERE worker <> 'pg_test' AND attempt <> 'called' AND outcome = 'done'",
    );
    assert!(done.is_empty(), "{done:#?}");

    superuser.run("UPDATE steward.job SET enabled = true WHERE time_zone = 'drop_newest'");
    let after: String = superuser.value(policies);
    assert_eq!(after.lines().next(), before.lines().next(), "alice's policy was changed");
    assert!(superuser.value::<bool>("SELECT bool_and(enabled) FROM steward.jobs"));
    assert_eq!(
        superuser
            .value::<i64>("SELECT count(*) FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'"),
        0
    );
    assert!(superuser.value::<bool>(
        "SELECT bool_and(relowner = 'alice'::regrole) FROM pg_class
          WHERE relnamespace = 'alice'::regnamespace AND relkind IN ('r', 'p')"
    ));
}

#[test]
fn what_is_planted_in_public_or_in_the_callers_path_is_never_called() {
    let (cluster, database, mut superuser) = world();
    superuser.run("GRANT CREATE ON SCHEMA public TO mallory");
    let mut mallory = cluster.connect_as(&database, "mallory").unwrap();
    mallory.run(
        r#"CREATE TABLE public.trapped (by text, what text);
        GRANT INSERT ON public.trapped TO PUBLIC;
        CREATE FUNCTION public.trap(what text) RETURNS void LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO public.trapped VALUES (current_user, what); END $$;
        CREATE FUNCTION public.text_eq(a text, b text) RETURNS boolean LANGUAGE plpgsql AS
            $$ BEGIN PERFORM public.trap('text ='); RETURN true; END $$;
        CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.text_eq);
        CREATE FUNCTION public.oid_eq(a oid, b oid) RETURNS boolean LANGUAGE plpgsql AS
            $$ BEGIN PERFORM public.trap('oid ='); RETURN true; END $$;
        CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.oid_eq);
        CREATE FUNCTION public.later(a timestamptz, b timestamptz) RETURNS boolean LANGUAGE plpgsql AS
            $$ BEGIN PERFORM public.trap('timestamptz'); RETURN true; END $$;
        CREATE OPERATOR public.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = public.later);
        CREATE OPERATOR public.>= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = public.later);
        CREATE OPERATOR public.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = public.later);
        CREATE OPERATOR public.> (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = public.later);
        CREATE FUNCTION public.joined(a text, b text) RETURNS text LANGUAGE plpgsql AS
            $$ BEGIN PERFORM public.trap('||'); RETURN ''; END $$;
        CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = public.joined);
        CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS
            $$ BEGIN PERFORM public.trap('now'); RETURN '2000-01-01'; END $$;
        CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
            $$ BEGIN PERFORM public.trap('clock_timestamp'); RETURN '2000-01-01'; END $$;
        CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE plpgsql AS
            $$ BEGIN PERFORM public.trap('lower'); RETURN ''; END $$;
        CREATE FUNCTION public.range_summary(regclass, timestamptz) RETURNS int LANGUAGE plpgsql AS
            $$ BEGIN PERFORM public.trap('range_summary'); RETURN 0; END $$;
        CREATE TABLE public.job (job_id bigint, target regclass);
        CREATE TABLE public.pg_class (oid oid, relowner oid, relname name);
        CREATE TABLE public.range_policy (parent regclass)"#,
    );
    // The victims' sessions run our calls only: their own `=` would be the planted one.
    let mut watcher = cluster.connect(&database).unwrap();
    watcher.run("SET search_path = pg_catalog");
    let mut alice = cluster.connect_as(&database, "alice").unwrap();
    for client in [&mut alice, &mut superuser] {
        client.run("SET search_path = public, pg_catalog");
    }
    alice.run(
        "CREATE TABLE alice.bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('alice.bets', '1 day', default_partition => true);
         INSERT INTO alice.bets VALUES (pg_catalog.now());
         SELECT steward.alter_range('alice.bets', premake => 5)",
    );
    let lost = drop_newest(&mut watcher, "alice.bets");
    alice.run("SELECT steward.plan()");
    alice.run("CALL steward.maintain('alice.bets')");
    assert!(exists(&mut watcher, &lost));
    let job: i64 = watcher.value("SELECT job_id FROM steward.jobs");
    for client in [&mut alice, &mut superuser] {
        client.run(&format!(
            "SELECT steward.pause_job({job}, true); SELECT steward.resume_job({job})"
        ));
        client.run(&format!("CALL steward.run_job({job})"));
        for view in ["jobs", "job_runs", "partition_sets", "partitions", "node", "status"] {
            client.run(&format!("SELECT * FROM steward.{view}"));
        }
    }
    let lost = drop_newest(&mut watcher, "alice.bets");
    make_due(&mut watcher);
    wait_until(SOON, "the worker has done it", || {
        exists(&mut watcher, &lost) && unattended_runs(&mut watcher, "succeeded") > 0
    });
    alice.run("SELECT steward.unmanage('alice.bets'); DROP TABLE alice.bets");
    let trapped: Vec<String> =
        watcher.column("SELECT DISTINCT by || ' ' || what FROM public.trapped");
    assert!(trapped.is_empty(), "{trapped:?}");
    // The trap is a trap: the same session's own query falls into it.
    superuser.run("SELECT 'a'::text = 'b'::text");
    assert_eq!(watcher.value::<i64>("SELECT count(*) FROM public.trapped"), 1);
}
