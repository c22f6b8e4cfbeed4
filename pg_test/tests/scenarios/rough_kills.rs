//! `kill -9` of whatever part of the server at random moments, under load.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pg_test::cluster::{Ask, Cluster, try_wait_for, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_crashes::{reconnect, reconnect_after_crash};
use crate::unattended_support::SOON;

const SETS: i64 = 4;

/// 50 rounds when `cargo verify --thorough` says so.
pub(crate) fn rounds() -> usize {
    if std::env::var_os("PG_STEWARD_THOROUGH").is_some() { 50 } else { 10 }
}

/// A random duration of up to `most`.
pub(crate) fn up_to(most: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    most.mul_f64((random % 1_000_000) as f64 / 1_000_000.0)
}

/// pgbench in the background, until its server dies or this value is dropped.
struct Load(Child);

impl Load {
    fn on(cluster: &Cluster, database: &str, script: &Path) -> Self {
        let child = Command::new(cluster.installation().program("pgbench"))
            .args(["--no-vacuum", "--client=2", "--rate=300", "--username=postgres", "--time=600"])
            .arg(format!("--file={}", script.display()))
            .arg("--host")
            .arg(cluster.socket_dir())
            .arg(database)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended with its server; all that matters is that it is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills one of our processes as soon as one is seen; executors live for milliseconds only.
fn kill_worker(cluster: &Cluster, client: &mut Client, kind: &str) {
    try_wait_for(SOON, &format!("a {kind} was there to be killed"), || {
        let look = Instant::now();
        while look.elapsed() < Duration::from_secs(1) {
            let found = client.query_opt(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = $1 LIMIT 1",
                &[&kind],
            )?;
            if let Some(row) = found {
                // Not there any more: there will be another one.
                return Ok(cluster.kill(row.get(0))?.then_some(()));
            }
        }
        Ok(None)
    })
    .unwrap();
}

/// Catalogs as they must be at any instant, whatever was killed.
#[track_caller]
fn assert_nothing_half_done(client: &mut Client, what: &str) {
    let wrong: Vec<String> = client.column(
        "SELECT 'orphan table ' || c.relname FROM pg_class c
          WHERE c.relname LIKE 'clicks%' AND c.relkind = 'r'
            AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
         UNION ALL
         SELECT 'half-attached ' || c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE c.relname LIKE 'clicks%'
            AND (i.inhdetachpending OR NOT c.relispartition
                 OR (c.relkind = 'r' AND c.relpartbound IS NULL))
         UNION ALL
         SELECT 'index of ' || c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE c.relname LIKE 'clicks%' AND c.relkind = 'r'
            AND (SELECT count(*) FROM pg_index x JOIN pg_inherits xi ON xi.inhrelid = x.indexrelid
                  WHERE x.indrelid = c.oid AND x.indisvalid) <> 1
         UNION ALL
         SELECT 'index left ' || c.relname FROM pg_class c
          WHERE c.relname LIKE 'clicks%' AND c.relkind = 'i'
            AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)",
    );
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
    let kept: i64 = client.value(
        "SELECT count(*) FROM steward.range_policy p JOIN steward.job j ON j.target = p.parent
          WHERE j.enabled AND p.premake = 3 AND p.partition_interval = '2 seconds'",
    );
    assert_eq!(kept, SETS, "{what}: a policy or its job is lost");
}

/// Each set's job has succeeded unattended since `since`, and the set covers now.
fn wait_until_resumed(client: &mut Client, since: &str, what: &str) {
    wait_until(SOON, &format!("jobs resume after {what}"), || {
        client.value(&format!(
            "SELECT (SELECT count(DISTINCT r.target) = {SETS} FROM steward.job_run r
                      WHERE r.status = 'succeeded' AND r.scheduled_at IS NOT NULL
                        AND r.started_at > '{since}')
                AND (SELECT count(*) = 0 FROM steward.job_run r
                      WHERE r.status = 'running' AND r.started_at < '{since}')
                AND (SELECT bool_and(s.covered_until::timestamptz > clock_timestamp())
                       FROM steward.partition_sets s)"
        ))
    });
}

#[test]
fn kill_9_of_any_process_at_random_moments_under_load_leaves_nothing_half_done() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(&format!(
        "DO $$ BEGIN
             FOR n IN 1..{SETS} LOOP
                 EXECUTE format('CREATE TABLE clicks%s (at timestamptz PRIMARY KEY) PARTITION BY RANGE (at)', n);
                 PERFORM steward.manage_range(format('clicks%s', n)::regclass, '2 seconds', premake => 3);
             END LOOP;
         END $$"
    ));
    let work = tempfile::tempdir().unwrap();
    let script = work.path().join("click.sql");
    let insert = "INSERT INTO clicks:n VALUES (clock_timestamp()) ON CONFLICT DO NOTHING;\n";
    std::fs::write(&script, format!("\\set n random(1, {SETS})\n{insert}")).unwrap();

    let mut started: String = client.value("SELECT clock_timestamp()::text");
    wait_until_resumed(&mut client, &started, "the beginning");
    let mut crashed_runs = 0;
    for round in 0..rounds() {
        let load = Load::on(&cluster, &database, &script);
        wait_until(SOON, "pgbench inserts", || {
            client.value(&format!("SELECT EXISTS (SELECT FROM clicks1 WHERE at > '{started}')"))
        });
        std::thread::sleep(up_to(Duration::from_millis(1500))); // the random moment
        let victim = ["executor", "scheduler", "launcher", "postmaster"][round % 4];
        let what = format!("round {round}, kill -9 of the {victim}");
        if victim == "postmaster" {
            cluster.crash().unwrap();
            cluster.start().unwrap();
            client = reconnect(&cluster, &database);
        } else {
            kill_worker(&cluster, &mut client, &format!("pg_steward {victim}"));
            client = reconnect_after_crash(&cluster, &database, &mut client);
        }
        drop(load);
        assert_nothing_half_done(&mut client, &what);
        started = client.value("SELECT clock_timestamp()::text");
        wait_until_resumed(&mut client, &started, &what);
        assert_nothing_half_done(&mut client, &what);
        let crashed: i64 =
            client.value("SELECT count(*) FROM steward.job_run WHERE status = 'crashed'");
        assert!(crashed >= crashed_runs, "{what}: the log of runs lost something");
        crashed_runs = crashed;
        wait_until(SOON, "there is one launcher", || {
            cluster.pids("pg_steward launcher").unwrap().len() == 1
        });
    }
}
