//! `kill -9` of the executor between any two phases of retention.

use std::time::Duration;

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::rough_kills::{rounds, up_to};
use crate::unattended_crashes::reconnect_after_crash;
use crate::unattended_support::SOON;

/// Hourly events of the last days, three rows a period, and a slow function that archives them.
fn events(periods: usize) -> String {
    format!(
        "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL)
             PARTITION BY RANGE (at);
         SELECT steward.manage_range('events', '1 hour', premake => 1, time_zone => 'UTC',
                                     start_at => (now() - interval '{periods} hours')::text);
         INSERT INTO events (at) SELECT lower_bound::timestamptz + make_interval(mins => n)
           FROM steward.partitions, generate_series(1, 3) n;
         CREATE TABLE archive (id bigint, at timestamptz);
         CREATE TABLE all_events AS SELECT id, at FROM events;
         CREATE FUNCTION store(gone regclass) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             EXECUTE format('INSERT INTO public.archive SELECT id, at FROM %s', gone);
             PERFORM pg_sleep(0.03);
             RETURN true;
         END $$"
    )
}

/// What must hold at any instant: no table of the set's that nobody knows of.
#[track_caller]
fn assert_no_orphan(client: &mut Client, what: &str) {
    let orphans: Vec<String> = client.column(
        "SELECT c.relname::text FROM pg_class c
          WHERE c.relname LIKE 'events\\_2%' AND c.relkind = 'r'
            AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
            AND NOT EXISTS (SELECT FROM steward.retired_partition q WHERE q.partition = c.oid)",
    );
    assert!(orphans.is_empty(), "{what}: {orphans:?}");
}

/// What must hold when all is done: each row in one place, and in the right one.
#[track_caller]
fn assert_each_row_is_where_it_belongs(client: &mut Client, keep: usize, since: &str, what: &str) {
    // An hour may have turned since the work was looked for: what is too old now need not have left.
    let old = |at: &str| {
        format!(
            "SELECT id FROM all_events
              WHERE date_trunc('hour', at, 'UTC') + interval '1 hour'
                    <= {at}::timestamptz - interval '{keep} hours'"
        )
    };
    let (was_old, is_old) = (old(&format!("'{since}'")), old("now()"));
    let wrong: Vec<String> = client.column(&format!(
        "SELECT 'twice in the archive: ' || id FROM archive GROUP BY id HAVING count(*) > 1
         UNION ALL SELECT 'in both: ' || id FROM events JOIN archive USING (id)
         UNION ALL SELECT 'lost: ' || id FROM all_events p
          WHERE NOT EXISTS (SELECT FROM events e WHERE e.id = p.id)
            AND NOT EXISTS (SELECT FROM archive a WHERE a.id = p.id)
         UNION ALL SELECT 'gone too early: ' || id FROM archive WHERE id NOT IN ({is_old})
         UNION ALL SELECT 'left behind: ' || id FROM events WHERE id IN ({was_old})"
    ));
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
}

#[test]
fn kill_9_between_any_two_phases_loses_no_row_and_archives_none_twice() {
    const A_ROUND: usize = 8;
    let cluster = fixtures::cluster().conf("pg_steward.retention_pause = 0").start().unwrap();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    let periods = (rounds() + 2) * A_ROUND;
    client.run(&events(periods));
    let mut hit = 0;
    for round in 0..rounds() {
        let keep = periods - (round + 1) * A_ROUND;
        let since: String = client.value("SELECT now()::text");
        client.run(&format!(
            "SELECT steward.set_retention('events', '{keep} hours', archive_function => 'store(regclass)')"
        ));
        let mut executor = 0;
        wait_until(SOON, "an executor is at it", || {
            executor = client.value(
                "SELECT coalesce(max(pid), 0) FROM pg_stat_activity
                  WHERE backend_type = 'pg_steward executor' AND datname = current_database()",
            );
            executor > 0
        });
        std::thread::sleep(up_to(Duration::from_millis(300))); // the random moment
        let what = format!("round {round}");
        // It may have ended by itself just before.
        let pids = cluster.pids("pg_steward executor").unwrap();
        if pids.contains(&executor) && cluster.kill(executor).unwrap() {
            client = reconnect_after_crash(&cluster, &name, &mut client);
            hit += 1;
        }
        assert_no_orphan(&mut client, &what);
        // Not the view alone: it reads what is attached now, and what has left as of its snapshot.
        wait_until(SOON, "the work completes by itself", || {
            client.value(
                "SELECT NOT EXISTS (SELECT FROM steward.partitions
                                     WHERE state IN ('expired', 'detaching', 'detached'))
                    AND NOT EXISTS (SELECT FROM steward.job_runs WHERE status = 'running')",
            )
        });
        assert_no_orphan(&mut client, &what);
        assert_each_row_is_where_it_belongs(&mut client, keep, &since, &what);
    }
    assert!(hit * 2 >= rounds(), "only {hit} runs were hit");
    let crashed: i64 =
        client.value("SELECT count(*) FROM steward.job_runs WHERE status = 'crashed'");
    assert!(crashed > 0);
}
