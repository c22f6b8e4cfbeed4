//! An owner's code runs as the owner, or not at all: in what opens a partitioned table for its key,
//! plans a query on a table, or seals an archive.

use pg_test::cluster::{Ask, sqlstate, wait_until};
use postgres::Client;

use crate::owners_support::World;
use crate::unattended_support::{SOON, exists, make_due};

/// Everything that shows sets, or what would be done to them.
const READS: [&str; 4] = [
    "SELECT * FROM steward.partitions",
    "SELECT * FROM steward.partition_sets",
    "SELECT * FROM steward.jobs",
    "SELECT * FROM steward.plan()",
];

/// Reads all of that, each in a session of its own.
fn read_all(world: &World) {
    for role in ["postgres", "monitor", "victim", "mallory"] {
        for read in READS {
            world.fresh(role).run(read);
        }
    }
}

fn last_run(client: &mut Client) -> i64 {
    client.value("SELECT coalesce(max(run_id), 0) FROM steward.job_runs")
}

/// Waits for a worker's run after that one, and says how it ended.
fn run_after(last: i64, client: &mut Client, parent: &str) -> String {
    make_due(client);
    let runs = format!(
        "FROM steward.job_run WHERE run_id > {last} AND scheduled_at IS NOT NULL
            AND finished_at IS NOT NULL AND target = '{parent}'::regclass"
    );
    wait_until(SOON, "a worker has run it", || {
        client.value(&format!("SELECT count(*) > 0 {runs}"))
    });
    client.value(&format!("SELECT concat_ws(' ', status, sqlstate) {runs} ORDER BY run_id LIMIT 1"))
}

#[test]
fn a_hash_key_that_is_an_expression_is_refused() {
    let mut world = World::new();
    let make =
        "CREATE TABLE mallory.h (id int) PARTITION BY HASH ((id + mallory.zero('hash key')))";
    world.mallory.run(make);
    for role in ["mallory", "postgres"] {
        let refusal =
            world.fresh(role).refused("55000", "SELECT steward.manage_hash('mallory.h', 2)");
        assert!(refusal.hint().is_some_and(|hint| !hint.is_empty()), "{refusal}");
    }
    // A plain column first does not hide it.
    world.mallory.run(
        "CREATE TABLE mallory.two (id int, n int)
             PARTITION BY HASH (id, (n + mallory.zero('second hash key')))",
    );
    world.mallory.refused("55000", "SELECT steward.manage_hash('mallory.two', 2)");
    let managed: i64 = world.superuser.value("SELECT count(*) FROM steward.partition_sets");
    assert_eq!(managed, 0);
    world.mallory.run(
        "CREATE TABLE mallory.h_0 PARTITION OF mallory.h FOR VALUES WITH (MODULUS 1, REMAINDER 0);
         SELECT * FROM mallory.h",
    );
    world.assert_only_mallory("mallory.h");
}

#[test]
fn a_hash_set_of_an_old_install_whose_key_is_an_expression_fails_and_runs_nothing() {
    let mut world = World::new();
    world.mallory.run(
        "CREATE TABLE mallory.h (id int) PARTITION BY HASH ((id + mallory.zero('hash key')));
         CREATE TABLE mallory.h_p0 PARTITION OF mallory.h FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    );
    let last = last_run(&mut world.superuser);
    // Jobs that no call has made begin when the session that brings them has ended.
    world.fresh("postgres").run(
        "INSERT INTO steward.job (kind, target) VALUES ('partition', 'mallory.h'::regclass);
         INSERT INTO steward.hash_policy (parent, partitions) VALUES ('mallory.h'::regclass, 2)",
    );
    let ended = run_after(last, &mut world.superuser, "mallory.h");
    read_all(&world);
    let mut by_hand = Vec::new();
    for role in ["mallory", "postgres"] {
        let outcome = world.fresh(role).batch_execute("CALL steward.maintain('mallory.h')");
        by_hand
            .push(outcome.map_or_else(|error| sqlstate(&error).to_owned(), |()| "ok".to_owned()));
        // Whatever it says, it says without her code.
        let _ = world
            .fresh(role)
            .batch_execute("SELECT steward.alter_hash('mallory.h', partitions => 4)");
        let _ = world.fresh(role).batch_execute("SELECT steward.plan('mallory.h')");
    }
    world.assert_only_mallory("mallory.h");
    assert_eq!(ended, "failed 55000");
    assert_eq!(by_hand, ["55000", "55000"]);
    // She can be rid of it.
    world.mallory.run("SELECT steward.unmanage('mallory.h')");
}

#[test]
fn a_period_divided_by_hand_by_an_expression_is_read_by_nobody_else() {
    let mut world = World::new();
    world.mallory.run(
        "CREATE TABLE mallory.t (a int, k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT count(*) FROM steward.manage_range('mallory.t', '1 day');
         CREATE TABLE mallory.t_hash PARTITION OF mallory.t FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')
             PARTITION BY HASH ((a + mallory.zero('hash')));
         CREATE TABLE mallory.t_hash_0 PARTITION OF mallory.t_hash FOR VALUES WITH (MODULUS 1, REMAINDER 0);
         CREATE TABLE mallory.t_range PARTITION OF mallory.t FOR VALUES FROM ('2020-02-01') TO ('2020-03-01')
             PARTITION BY RANGE ((a + mallory.zero('range')));
         CREATE TABLE mallory.t_range_0 PARTITION OF mallory.t_range FOR VALUES FROM (0) TO (10);
         CREATE TABLE mallory.t_list PARTITION OF mallory.t FOR VALUES FROM ('2020-03-01') TO ('2020-04-01')
             PARTITION BY LIST ((a + mallory.zero('list')));
         CREATE TABLE mallory.t_list_0 PARTITION OF mallory.t_list FOR VALUES IN (0);
         CREATE TABLE mallory.t_default PARTITION OF mallory.t DEFAULT
             PARTITION BY HASH ((a + mallory.zero('default')));
         CREATE TABLE mallory.t_default_0 PARTITION OF mallory.t_default FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    );
    let last = last_run(&mut world.superuser);
    let newest: String = world.superuser.value(
        "SELECT max(inhrelid)::regclass::text FROM pg_inherits
          WHERE inhparent = 'mallory.t'::regclass AND inhrelid::regclass::text ~ '_20[0-9_]+$'",
    );
    world.mallory.run(&format!("DROP TABLE {newest}"));
    run_after(last, &mut world.superuser, "mallory.t");
    wait_until(SOON, "it is made again", || exists(&mut world.superuser, &newest));
    read_all(&world);
    for role in ["postgres", "mallory"] {
        world
            .fresh(role)
            .run("SELECT * FROM steward.plan('mallory.t', now() + interval '20 days')");
        world.fresh(role).run("CALL steward.maintain('mallory.t')");
    }
    // It is a period of the set all the same.
    let shown: i64 = world.fresh("monitor").value(
        "SELECT count(*) FROM steward.partitions WHERE level = 1
            AND partition::text ~ '^mallory[.]t_(hash|range|list|default)$'",
    );
    world.assert_only_mallory("mallory.t");
    assert_eq!(shown, 4);
}

/// What the planner evaluates when a query names the first partition of a hash set.
const PLANNED: [(&str, &str); 3] = [
    ("index", "CREATE INDEX ON mallory.{h}_p0 ((id + mallory.zero('index')))"),
    ("predicate", "CREATE INDEX ON mallory.{h}_p0 (id) WHERE mallory.yes('predicate')"),
    (
        "statistics",
        "CREATE STATISTICS mallory.{h}_s ON (id + mallory.zero('statistics')) FROM mallory.{h}_p0",
    ),
];

#[test]
fn a_hash_set_is_looked_at_for_rows_without_the_callers_rights() {
    let mut world = World::new();
    for role in ["mallory", "postgres"] {
        for (kind, trap) in PLANNED {
            let set = format!("h_{kind}_{role}");
            world.mallory.run(&format!(
                "CREATE TABLE mallory.{set} (id int) PARTITION BY HASH (id);
                 SELECT count(*) FROM steward.manage_hash('mallory.{set}', 2)"
            ));
            world.mallory.run(&trap.replace("{h}", &set));
            // She sees that it goes off when she plans.
            world.mallory.run(&format!("SELECT FROM mallory.{set}_p0"));
            world
                .fresh(role)
                .run(&format!("SELECT steward.alter_hash('mallory.{set}', partitions => 4)"));
            let partitions: i64 = world.superuser.value(&format!(
                "SELECT count(*) FROM pg_inherits WHERE inhparent = 'mallory.{set}'::regclass"
            ));
            assert_eq!(partitions, 4, "{set}");
        }
    }
    let heard = world.heard();
    for (kind, _) in PLANNED {
        assert!(heard.iter().any(|line| line.tag == kind), "{kind} never ran");
    }
    world.mallory.run(
        "CREATE TABLE mallory.trapped (id int);
         CREATE INDEX ON mallory.trapped ((id + mallory.zero('index')))",
    );
    world.assert_only_mallory("mallory.trapped");
}

#[test]
fn rows_that_a_policy_hides_are_rows() {
    let mut world = World::new();
    world.mallory.run(
        "CREATE TABLE mallory.h (id int) PARTITION BY HASH (id);
         SELECT count(*) FROM steward.manage_hash('mallory.h', 2);
         INSERT INTO mallory.h SELECT generate_series(1, 20);
         CREATE POLICY none ON mallory.h_p0 USING (mallory.zero('policy') = 1);
         CREATE POLICY none ON mallory.h_p1 USING (mallory.zero('policy') = 1);
         ALTER TABLE mallory.h_p0 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         ALTER TABLE mallory.h_p1 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         SELECT FROM mallory.h_p0",
    );
    for role in ["mallory", "postgres"] {
        world
            .fresh(role)
            .refused("55000", "SELECT steward.alter_hash('mallory.h', partitions => 4)");
    }
    assert_eq!(world.superuser.value::<i64>("SELECT count(*) FROM mallory.h"), 20);
    world.mallory.run(
        "CREATE TABLE mallory.trapped (id int);
         CREATE INDEX ON mallory.trapped ((id + mallory.zero('index')))",
    );
    world.assert_only_mallory("mallory.trapped");
}

/// A set with two old periods that are divided by range and by list of an expression.
fn set_with_divided_periods(mallory: &mut Client, name: &str) {
    mallory.run(&format!(
        "CREATE TABLE mallory.{name} (a int, k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT count(*) FROM steward.manage_range('mallory.{name}', '1 day');
         CREATE TABLE mallory.{name}_range PARTITION OF mallory.{name}
             FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')
             PARTITION BY RANGE ((a + mallory.zero('range {name}')));
         CREATE TABLE mallory.{name}_range_0 PARTITION OF mallory.{name}_range FOR VALUES FROM (0) TO (10);
         CREATE TABLE mallory.{name}_list PARTITION OF mallory.{name}
             FOR VALUES FROM ('2020-02-01') TO ('2020-03-01')
             PARTITION BY LIST ((a + mallory.zero('list {name}')));
         CREATE TABLE mallory.{name}_list_0 PARTITION OF mallory.{name}_list FOR VALUES IN (0)"
    ));
}

#[test]
fn an_archive_is_sealed_with_the_owners_rights() {
    let mut world = World::new();
    set_with_divided_periods(&mut world.mallory, "t");
    set_with_divided_periods(&mut world.mallory, "by_hand");
    world.mallory.run("SELECT steward.pause_job(job_id, true) FROM steward.jobs WHERE target = 'mallory.by_hand'::regclass");
    for set in ["t", "by_hand"] {
        world.mallory.run(&format!(
            "SELECT steward.set_retention('mallory.{set}', '1 year',
                                          archive_function => 'mallory.keep(regclass)')"
        ));
    }
    let archived = |world: &World, period: &str| {
        let tag = format!("archive mallory.{period}");
        world.heard().into_iter().find(|line| line.tag == tag)
    };
    for period in ["t_range", "t_list"] {
        wait_until(SOON, "a worker has archived it", || archived(&world, period).is_some());
        assert!(archived(&world, period).unwrap().is_of_a_worker());
        wait_until(SOON, "and dropped it", || {
            !exists(&mut world.superuser, &format!("mallory.{period}"))
        });
    }
    assert!(exists(&mut world.superuser, "mallory.by_hand_range"), "it was to be paused");
    world.fresh("postgres").run("CALL steward.maintain('mallory.by_hand')");
    for period in ["by_hand_range", "by_hand_list"] {
        assert!(archived(&world, period).is_some(), "{period} was not archived");
        assert!(!exists(&mut world.superuser, &format!("mallory.{period}")), "{period} is left");
    }
    world.mallory.run(
        "CREATE TABLE mallory.trapped (id int);
         CREATE INDEX ON mallory.trapped ((id + mallory.zero('index')))",
    );
    world.assert_only_mallory("mallory.trapped");
}
