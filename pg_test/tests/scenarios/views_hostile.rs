//! A monitor's look at the views beside owners whose tables are locked, or whose code takes its time.

use std::time::{Duration, Instant};

use pg_test::cluster::{Ask, Cluster, Session, sqlstate, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::{SOON, signal};

/// What a look may take, by the clock: far beyond its statement_timeout, on a busy machine.
const AT_MOST: Duration = Duration::from_secs(5);

/// Functions that sleep while the switch is on, and take no notice of a cancel: for longer than a test
/// waits, but not for ever.
const SLEEPERS: &str = "
CREATE TABLE mallory.switch (is_on boolean); INSERT INTO mallory.switch VALUES (false);
GRANT USAGE ON SCHEMA mallory TO PUBLIC; GRANT SELECT ON mallory.switch TO PUBLIC;
CREATE FUNCTION mallory.sleep() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT s.is_on FROM mallory.switch s) THEN
        FOR i IN 1..12 LOOP
            BEGIN
                PERFORM pg_catalog.pg_sleep(1);
            EXCEPTION WHEN query_canceled THEN
                NULL;
            END;
        END LOOP;
    END IF;
END $$;
CREATE FUNCTION mallory.zero(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ DECLARE x text; BEGIN SELECT mallory.sleep()::text INTO x; RETURN 0; END $$;
CREATE TABLE mallory.n (a int, k bigint NOT NULL) PARTITION BY RANGE (k);
SELECT count(*) FROM steward.manage_range('mallory.n', '10', 2);
INSERT INTO mallory.n SELECT 1, generate_series(1, 25);
CREATE TABLE mallory.t (a int, k timestamptz NOT NULL) PARTITION BY RANGE (k);
SELECT count(*) FROM steward.manage_range('mallory.t', '1 day', name_format => '{parent}_%Y_%m_%d',
                                          default_partition => true);
CREATE TABLE mallory.h (id int) PARTITION BY HASH (id);
SELECT count(*) FROM steward.manage_hash('mallory.h', 2)";

const VICTIMS: &str = "
CREATE TABLE victim.t (k timestamptz NOT NULL) PARTITION BY RANGE (k);
SELECT count(*) FROM steward.manage_range('victim.t', '1 day', 4);
CREATE TABLE victim.n (k bigint NOT NULL) PARTITION BY RANGE (k);
SELECT count(*) FROM steward.manage_range('victim.n', '10', 2);
CREATE TABLE victim.h (id int) PARTITION BY HASH (id);
SELECT count(*) FROM steward.manage_hash('victim.h', 4);
CREATE TABLE victim.s (k timestamptz NOT NULL, who int NOT NULL) PARTITION BY RANGE (k);
SELECT count(*) FROM steward.manage_range('victim.s', '1 day', 1, subpartition_by => 'who', subpartitions => 2)";

/// A kind of hostility: what mallory does before the switch is on, what she does in a transaction that
/// she leaves open, and what somebody else then waits for.
struct Kind {
    name: &'static str,
    before: &'static str,
    held: &'static str,
    waits: &'static str,
}

const QUIET: Kind = Kind { name: "", before: "", held: "", waits: "" };

const KINDS: [Kind; 9] = [
    Kind {
        name: "a policy of an integer partition that sleeps",
        before: "CREATE POLICY slow ON mallory.n_p0 USING (mallory.zero(k::int) = 0);
                 CREATE POLICY slow ON mallory.n_p10 USING (mallory.zero(k::int) = 0);
                 CREATE POLICY slow ON mallory.n_p20 USING (mallory.zero(k::int) = 0);
                 SELECT format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', inhrelid::regclass)
                   FROM pg_inherits WHERE inhparent = 'mallory.n'::regclass",
        ..QUIET
    },
    Kind {
        name: "an index expression of an integer set that sleeps",
        before: "CREATE INDEX ON mallory.n ((a + mallory.zero(1)))",
        ..QUIET
    },
    Kind {
        name: "an index expression of every set that sleeps",
        before: "CREATE INDEX ON mallory.t ((a + mallory.zero(1)));
                 CREATE INDEX ON mallory.h ((id + mallory.zero(1)));
                 CREATE STATISTICS mallory.s ON (a + mallory.zero(1)) FROM mallory.n",
        ..QUIET
    },
    Kind {
        name: "a key below a period that sleeps",
        before: "CREATE TABLE mallory.t_old PARTITION OF mallory.t FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')
                     PARTITION BY HASH ((a + mallory.zero(1)));
                 CREATE TABLE mallory.t_old_0 PARTITION OF mallory.t_old FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        ..QUIET
    },
    Kind {
        name: "a locked partition",
        held: "LOCK TABLE mallory.n_p10 IN ACCESS EXCLUSIVE MODE",
        waits: "SELECT count(*) FROM mallory.n_p10",
        ..QUIET
    },
    Kind {
        name: "a locked default partition",
        held: "LOCK TABLE mallory.t_default IN ACCESS EXCLUSIVE MODE",
        waits: "SELECT count(*) FROM mallory.t_default",
        ..QUIET
    },
    Kind {
        name: "locked sets",
        held: "LOCK TABLE mallory.n, mallory.t, mallory.h IN ACCESS EXCLUSIVE MODE",
        waits: "SELECT count(*) FROM mallory.h",
        ..QUIET
    },
    Kind {
        name: "an index in the middle of a REINDEX",
        before: "CREATE INDEX n_p10_a ON mallory.n_p10 (a)",
        held: "REINDEX INDEX mallory.n_p10_a",
        waits: "SELECT count(*) FROM mallory.n_p10",
    },
    Kind {
        name: "a set in the middle of a DROP",
        held: "DROP TABLE mallory.n",
        waits: "SELECT count(*) FROM mallory.n",
        ..QUIET
    },
];

/// A database of its own, with victim's sets and mallory's, whose first runs have been.
fn database(cluster: &Cluster) -> (String, Client, Client) {
    let name = cluster.create_database_with_extension().unwrap();
    let mut superuser = cluster.connect(&name).unwrap();
    superuser.run(
        "CREATE SCHEMA mallory AUTHORIZATION mallory; CREATE SCHEMA victim AUTHORIZATION victim",
    );
    let mut mallory = cluster.connect_as(&name, "mallory").unwrap();
    mallory.run(SLEEPERS);
    cluster.connect_as(&name, "victim").unwrap().run(VICTIMS);
    wait_until(SOON, "every set has had a run", || {
        superuser
            .value("SELECT bool_and(last_status IS NOT NULL AND NOT running) FROM steward.jobs")
    });
    // What she does here keeps no worker busy: it is the readers that are looked at.
    mallory.run(
        "SELECT steward.pause_job(job_id, true) FROM steward.jobs WHERE owner = 'mallory'::regrole",
    );
    (name, superuser, mallory)
}

fn cluster() -> Cluster {
    let cluster = fixtures::cluster()
        .conf("max_worker_processes = 48\npg_steward.max_concurrent_jobs = 12")
        .start()
        .unwrap();
    cluster.connect("postgres").unwrap().run(
        "CREATE ROLE mallory LOGIN; CREATE ROLE victim LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor",
    );
    cluster
}

/// Mallory does it; what is held is held until the session is dropped.
fn begin(cluster: &Cluster, name: &str, mallory: &mut Client, kind: &Kind) -> Session {
    mallory.run("UPDATE mallory.switch SET is_on = false");
    for statement in kind.before.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        match statement.trim_start().starts_with("SELECT format") {
            true => mallory.column::<String>(statement).iter().for_each(|made| mallory.run(made)),
            false => mallory.run(statement),
        }
    }
    mallory.run("UPDATE mallory.switch SET is_on = true");
    let mut holder = cluster.session_as(name, "mallory").unwrap();
    if !kind.held.is_empty() {
        holder.run("BEGIN");
        holder.run(kind.held);
        let mut waiter = cluster.session(name).unwrap();
        waiter.start(&format!("SET lock_timeout = '10min'; {}", kind.waits));
        waiter.wait_until_blocked(SOON);
        signal("-TERM", waiter.pid());
    }
    holder
}

/// Reads a view as a role: an error, or that it took too long. A busy machine is given three attempts to
/// be within the statement's timeout; what cannot be cancelled fails at the first.
fn read(cluster: &Cluster, name: &str, role: &str, view: &str) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..3 {
        let mut client = cluster.connect_as(name, role).unwrap();
        client.run("SET statement_timeout = '1s'");
        let started = Instant::now();
        let outcome = client.batch_execute(&format!("SELECT * FROM {view}"));
        let took = started.elapsed();
        if took > AT_MOST {
            return Err(format!("{view} by {role} took {took:?}"));
        }
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) if sqlstate(&error) == "57014" => {
                last = format!("{view} by {role} was cut off after 1 s");
            }
            Err(error) => return Err(format!("{view} by {role}: {error:?}")),
        }
    }
    Err(last)
}

/// What a monitor is shown of victim's sets.
const OF_VICTIM: &str = "
SELECT array_to_string(ARRAY(
           SELECT concat_ws(' ', parent, partitions, covered_until IS NOT NULL, holes)
             FROM steward.partition_sets WHERE parent::text LIKE 'victim.%' ORDER BY 1), ', ')
       || '; ' || (SELECT concat_ws(' ', count(*), count(total_bytes), count(estimated_rows), count(state))
                     FROM steward.partitions WHERE parent::text LIKE 'victim.%')
       || '; ' || (SELECT count(*) FROM steward.jobs WHERE owner = 'victim'::regrole)";

#[test]
fn every_view_answers_beside_any_hostile_set() {
    let cluster = cluster();
    let mut failures = Vec::new();
    for kind in &KINDS {
        let (name, mut superuser, mut mallory) = database(&cluster);
        let views: Vec<String> = superuser.column(
            "SELECT format('%I.%I', schemaname, viewname) FROM pg_views WHERE schemaname = 'steward' ORDER BY 1",
        );
        assert!(views.len() >= 7, "{views:?}");
        let expected: String = superuser.value(OF_VICTIM);
        // Complete: four sets, five days, three periods, four remainders, two days of three tables each.
        assert!(expected.ends_with("; 18 18 18 18; 4"), "{expected}");
        let holder = begin(&cluster, &name, &mut mallory, kind);
        let mut tell = |failure| failures.push(format!("{}: {failure}", kind.name));
        for view in &views {
            for role in ["monitor", "victim"] {
                if let Err(failure) = read(&cluster, &name, role, view) {
                    tell(failure);
                }
            }
        }
        let mut monitor = cluster.connect_as(&name, "monitor").unwrap();
        monitor.run("SET statement_timeout = '5s'");
        match monitor.query_one(OF_VICTIM, &[]) {
            Ok(row) if row.get::<_, String>(0) == expected => {}
            Ok(row) => tell(format!("of victim: {} and not {expected}", row.get::<_, String>(0))),
            Err(error) => tell(format!("of victim: {error:?}")),
        }
        drop(holder);
        mallory.run("UPDATE mallory.switch SET is_on = false");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_cancel_is_obeyed() {
    let cluster = cluster();
    let (name, mut superuser, mut mallory) = database(&cluster);
    for kind in KINDS.iter().filter(|kind| kind.held.is_empty()) {
        begin(&cluster, &name, &mut mallory, kind);
    }
    for view in ["partition_sets", "partitions"] {
        let mut reader = cluster.session_as(&name, "monitor").unwrap();
        // In a sleep of its own, if it ever comes to it.
        reader.start(&format!("SELECT v.*, pg_sleep(60) FROM steward.{view} v"));
        let pid = reader.pid();
        wait_until(SOON, "it sleeps", || {
            superuser.value(&format!(
                "SELECT count(*) > 0 FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'"
            ))
        });
        superuser.run(&format!("SELECT pg_cancel_backend({pid})"));
        let cancelled = reader.finish(AT_MOST).expect_err("it ended by itself");
        assert_eq!(sqlstate(&cancelled), "57014", "{cancelled}");
    }
}

/// A bound of a few bytes can be 131,000 digits long.
#[test]
fn bounds_without_end_are_a_reason_in_the_row_of_their_set() {
    let cluster = cluster();
    let (name, mut superuser, mut mallory) = database(&cluster);
    mallory.run(
        "CREATE TABLE mallory.big (k numeric) PARTITION BY RANGE (k);
         SELECT count(*) FROM steward.manage_range('mallory.big', '10', premake => 1);
         DO $$ BEGIN FOR i IN 1..200 LOOP
             EXECUTE format('CREATE TABLE mallory.big_%s PARTITION OF mallory.big FOR VALUES FROM (%se131000) TO (%se131000)',
                            i, 2 * i, 2 * i + 1);
         END LOOP; END $$",
    );
    for view in ["steward.partition_sets", "steward.partitions"] {
        assert_eq!(read(&cluster, &name, "monitor", view), Ok(()));
    }
    let problem: String = superuser
        .value("SELECT problem FROM steward.partition_sets WHERE parent = 'mallory.big'::regclass");
    assert!(problem.contains("mallory.big") && problem.contains("too long"), "{problem}");
    superuser.refused("55000", "CALL steward.maintain('mallory.big')");
}
