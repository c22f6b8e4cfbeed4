//! The seal of an archive goes to the table that was archived, whatever is called what by then.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pg_test::cluster::{Ask, wait_until};
use postgres::Client;

use crate::owners_support::{World, cluster};
use crate::unattended_support::{SOON, make_due};

/// How long names change while archives are made.
const SWAPPED_FOR: Duration = Duration::from_secs(20);
/// Old periods; each is archived once.
const OLD: i64 = 60;

/// Sees all triggers that statements make, and which tables were dropped with the seal on them. The pause
/// before a CREATE TRIGGER looks its table up is there for the names to change in.
const WATCHERS: &str = "
CREATE FUNCTION public.linger() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_catalog.pg_sleep(0.03); END $$;
CREATE EVENT TRIGGER linger ON ddl_command_start WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION public.linger();
CREATE FUNCTION public.made() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE found record;
BEGIN
    FOR found IN SELECT t.tgrelid::pg_catalog.regclass AS relation, c.relowner::pg_catalog.regrole AS owner
                   FROM pg_catalog.pg_event_trigger_ddl_commands() d
                   JOIN pg_catalog.pg_trigger t ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
                                               AND t.oid = d.objid
                   JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid LOOP
        -- Also told of what is rolled back.
        RAISE LOG 'made a trigger in % on % of %', pg_catalog.current_database(), found.relation, found.owner;
    END LOOP;
END $$;
CREATE EVENT TRIGGER made ON ddl_command_end EXECUTE FUNCTION public.made();
CREATE TABLE public.dropped (relation text, sealed boolean);
GRANT INSERT ON public.dropped TO PUBLIC;
CREATE FUNCTION public.gone() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Of a trigger: schema, table, name.
    sealed text[] := ARRAY(SELECT o.address_names[2] FROM pg_catalog.pg_event_trigger_dropped_objects() o
                            WHERE o.object_type = 'trigger' AND o.address_names[3] = 'pg_steward_archived');
BEGIN
    INSERT INTO public.dropped
    SELECT o.object_name, o.object_name = ANY (sealed) FROM pg_catalog.pg_event_trigger_dropped_objects() o
     WHERE o.object_type = 'table' AND o.original;
END $$;
CREATE EVENT TRIGGER gone ON sql_drop EXECUTE FUNCTION public.gone()";

/// Changes the names of schemas `a` and `b` for each other until told to stop, and back in the end;
/// how often.
fn swap(mut mallory: Client, stop: &AtomicBool) -> usize {
    const SWAP: &str =
        "ALTER SCHEMA a RENAME TO c; ALTER SCHEMA b RENAME TO a; ALTER SCHEMA c RENAME TO b";
    mallory.run("SET client_min_messages = error");
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) || swaps % 2 == 1 {
        // A step that meets a name half way fails by itself; the swap is one transaction.
        mallory.run(SWAP);
        swaps += 1;
        thread::sleep(Duration::from_millis(20));
    }
    swaps
}

#[test]
fn a_seal_goes_to_the_archived_table_whatever_its_name_is_then() {
    let mut world = World::new();
    let database = world.database.clone();
    // By the first day that is not kept.
    let old = format!(
        "SELECT partition::oid, partition::text AS name FROM steward.partitions
          WHERE parent = 'a.v'::regclass AND state IN ('past', 'expired') ORDER BY lower_bound LIMIT {OLD}"
    );
    world.superuser.run(&format!("GRANT CREATE ON DATABASE \"{database}\" TO mallory"));
    world.mallory.run(&format!(
        "CREATE SCHEMA a; CREATE SCHEMA b; GRANT ALL ON SCHEMA b TO victim; GRANT USAGE ON SCHEMA a TO victim;
         CREATE TABLE a.v (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT count(*) FROM steward.manage_range('a.v', '1 day', 1, time_zone => 'UTC',
                                                   start_at => (now() - interval '{} days')::text)",
        OLD + 9
    ));
    let tables: Vec<String> = world.mallory.column(&format!("SELECT name FROM ({old}) o"));
    let oids: Vec<u32> = world.mallory.column(&format!("SELECT partition FROM ({old}) o"));
    assert_eq!(tables.len(), usize::try_from(OLD).unwrap());
    let mut victim = world.fresh("victim");
    for table in &tables {
        let name = table.strip_prefix("a.").unwrap();
        victim.run(&format!("CREATE TABLE b.{name} (k timestamptz NOT NULL)"));
    }
    wait_until(SOON, "the first run has been", || {
        world
            .superuser
            .value("SELECT bool_and(last_status IS NOT NULL AND NOT running) FROM steward.jobs")
    });
    world.superuser.run(WATCHERS);

    let left = format!("SELECT count(*) FROM pg_class WHERE oid = ANY ('{{{}}}')", join(&oids));
    let stop = AtomicBool::new(false);
    let swaps = thread::scope(|scope| {
        let swapper = cluster().connect_as(&database, "mallory").unwrap();
        let swaps = scope.spawn(|| swap(swapper, &stop));
        // By OID of the table: the names are on their way already.
        let set = "SELECT steward.set_retention(p.parent, '9 days', archive_function => 'mallory.keep(regclass)')
                     FROM steward.range_policy p";
        let started = Instant::now();
        // Steps that met no table of that name are tried again, as soon as that is allowed.
        let mut superuser = world.fresh("postgres");
        superuser.run(set);
        while started.elapsed() < SWAPPED_FOR && superuser.value::<i64>(&left) > 0 {
            make_due(&mut superuser);
            superuser.run(
                "UPDATE steward.retired_partition SET next_attempt_at = now() WHERE attempts > 0",
            );
            thread::sleep(Duration::from_millis(200));
        }
        stop.store(true, Ordering::Relaxed);
        swaps.join().unwrap()
    });
    assert!(swaps > 20, "only {swaps} swaps: the test shows nothing");
    wait_until(SOON + SOON, "all that is old is archived and dropped", || {
        make_due(&mut world.superuser);
        thread::sleep(Duration::from_millis(200));
        world.superuser.value::<i64>(&left) == 0
    });

    let log = fs::read(cluster().log_file()).unwrap();
    let log = String::from_utf8_lossy(&log);
    let of_victim: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(&format!("LOG:  made a trigger in {database} ")))
        .filter(|line| line.ends_with(" of victim"))
        .collect();
    assert!(of_victim.is_empty(), "{of_victim:#?}");
    let heard = world.heard().iter().filter(|line| line.tag.starts_with("archive")).count();
    assert!(heard >= tables.len(), "only {heard} calls of the archive function");
    let unsealed: Vec<String> =
        world.superuser.column("SELECT relation FROM public.dropped WHERE NOT sealed");
    assert!(unsealed.is_empty(), "{unsealed:?}");
    let sealed: i64 = world.superuser.value("SELECT count(*) FROM public.dropped");
    assert_eq!(sealed, OLD);
    let of_victim: i64 = world.superuser.value(
        "SELECT count(*) FROM pg_class WHERE relowner = 'victim'::regrole AND relkind = 'r' AND NOT relhastriggers",
    );
    assert_eq!(of_victim, OLD, "tables of victim's that are as they were");
    world.mallory.run(
        "CREATE TABLE mallory.trapped (id int);
         CREATE INDEX ON mallory.trapped ((id + mallory.zero('index')))",
    );
    world.assert_only_mallory("mallory.trapped");
}

fn join(oids: &[u32]) -> String {
    oids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}
