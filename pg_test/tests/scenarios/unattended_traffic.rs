//! Ten-second partitions under a minute of pgbench.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::SOON;

const SECONDS: u32 = 60;
const LOCK_TIMEOUT_MICROSECONDS: u64 = 2_000_000;

#[test]
fn ten_second_partitions_are_there_before_pgbench_needs_them() {
    let cluster = fixtures::cluster().conf("pg_steward.lock_timeout = '2s'").start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE clicks (at timestamptz NOT NULL, visitor integer NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('clicks', '10 seconds', premake => 2)",
    );
    let partitions = "SELECT partition::text FROM steward.partitions";
    let by_hand: BTreeSet<String> = client.column(partitions).into_iter().collect();
    let work = tempfile::tempdir().unwrap();
    let script = work.path().join("click.sql");
    fs::write(
        &script,
        "\\set visitor random(1, 100000)\n\
         INSERT INTO clicks VALUES (clock_timestamp(), :visitor);\n",
    )
    .unwrap();
    let bench = Command::new(cluster.installation().program("pgbench"))
        .args(["--no-vacuum", "--client=4", "--rate=1000", "--protocol=prepared", "--log"])
        .args(["--username=postgres", "--file=click.sql", &format!("--time={SECONDS}"), "--host"])
        .arg(cluster.socket_dir())
        .arg(&database)
        .current_dir(work.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&bench.stdout).into_owned()
        + &String::from_utf8_lossy(&bench.stderr);
    assert!(bench.status.success(), "{said}");
    assert!(said.contains("number of failed transactions: 0 "), "{said}");

    // Nothing is at work any more while we count.
    client.run("SELECT steward.pause_job(job_id) FROM steward.jobs");
    wait_until(SOON, "the last run has ended", || {
        client.value("SELECT NOT running FROM steward.jobs")
    });

    // client, transaction, microseconds, script, epoch, microseconds, schedule lag: the time since the
    // insert was scheduled, and how much of it had passed before it was sent (pgbench.c, processXactStats).
    let mut latencies = Vec::new();
    for entry in fs::read_dir(work.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("pgbench_log") {
            for line in fs::read_to_string(path).unwrap().lines() {
                let fields: Vec<u64> =
                    line.split(' ').map(|field| field.parse().unwrap()).collect();
                latencies.push(fields[2].saturating_sub(fields[6]));
            }
        }
    }
    assert!(latencies.len() > 10_000, "only {} inserts in the log", latencies.len());
    let rows: i64 = client.value("SELECT count(*) FROM clicks");
    assert_eq!(usize::try_from(rows).unwrap(), latencies.len(), "an insert got lost");
    let slowest = latencies.iter().max().unwrap();
    assert!(*slowest < LOCK_TIMEOUT_MICROSECONDS, "an insert took {slowest} microseconds");

    let all: BTreeSet<String> = client.column(partitions).into_iter().collect();
    let unattended = all.difference(&by_hand).count();
    assert!(unattended >= 5, "{unattended} partitions made unattended in {SECONDS} s");
    let (created, failed): (i64, i64) = {
        let row = client
            .query_one(
                "SELECT sum((detail->>'created')::bigint)::bigint, sum((detail->>'failed')::bigint)::bigint
                   FROM steward.job_runs WHERE scheduled_at IS NOT NULL AND status = 'succeeded'",
                &[],
            )
            .unwrap();
        (row.get(0), row.get(1))
    };
    assert_eq!(
        (usize::try_from(created).unwrap(), failed),
        (unattended, 0),
        "what job_runs counts"
    );
    assert_eq!(
        client.value::<i64>("SELECT count(*) FROM steward.job_runs WHERE status <> 'succeeded'"),
        0
    );
}
