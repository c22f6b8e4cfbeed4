//! What many databases with the extension and nothing to do cost a server.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use pg_test::cluster::{Cluster, try_wait_for};
use pg_test::progress::Progress;

use crate::bench::{Bench, run};
use crate::numbers::{Series, time};
use crate::processes::Server;
use crate::report::{Line, Report, Target};

/// Longer than the launcher takes to look into every database once.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longer than the pause between two looks.
const CALM: Duration = Duration::from_secs(5);

pub(crate) fn measure(bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
    let (databases, minute, rounds) = bench.size((100, 60, 3), (20, 20, 2));
    let progress = Progress::start(format!("two servers with {databases} databases each"));
    let without = with_databases(bench, databases, false)?;
    let with = with_databases(bench, databases, true)?;
    let (plain, steward) = (Server::of(&without)?, Server::of(&with)?);
    let settled = settle(&with)?;
    progress.finish();

    let _progress = Progress::start("both idle");
    let [mut cpu_plain, mut cpu_steward, mut memory_plain, mut memory_steward, mut processes] =
        [(); 5].map(|()| Series::default());
    for _ in 0..rounds {
        let before = (plain.cpu_seconds()?, steward.cpu_seconds()?);
        thread::sleep(Duration::from_secs(minute)); // the time that is measured
        cpu_plain.push(plain.cpu_seconds()? - before.0);
        cpu_steward.push(steward.cpu_seconds()? - before.1);
        memory_plain.push(plain.memory_bytes()?);
        memory_steward.push(steward.memory_bytes()?);
        processes.push(steward.processes() as f64 - plain.processes() as f64);
    }

    let mebibytes = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
    tell(Report {
        title: format!(
            "{databases} idle databases, each with the extension and a monthly set, against the \
             same without (all were looked into {:.1} s after the start)",
            settled.as_secs_f64()
        ),
        columns: ["without", "with", "times without"],
        lines: vec![
            Line::plain(
                "processes",
                plain.processes().to_string(),
                steward.processes().to_string(),
                format!("{:+}", processes.max()),
            )
            .target(Target::AtMost(1.0), processes.max()),
            Line::new(
                &format!("CPU time in {minute} s"),
                time(cpu_plain.median()),
                time(cpu_steward.median()),
                &cpu_steward.over(&cpu_plain),
            ),
            Line::new(
                "memory (PSS)",
                mebibytes(memory_plain.median()),
                mebibytes(memory_steward.median()),
                &memory_steward.over(&memory_plain),
            ),
        ],
    });
    Ok(())
}

/// A server that was just started, with so many equal databases.
fn with_databases(bench: &Bench, databases: u32, extension: bool) -> Result<Cluster> {
    // Making the databases is not measured.
    let cluster = bench.cluster().preload(extension).conf("fsync = off").start()?;
    let first = cluster.create_database()?;
    let mut client = cluster.connect(&first)?;
    run(&mut client, "CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at)")?;
    if extension {
        run(&mut client, "CREATE EXTENSION pg_steward")?;
        run(&mut client, "SELECT steward.manage_range('t', '1 month')")?;
    } else {
        run(
            &mut client,
            "DO $$ DECLARE month date := date_trunc('month', now()); BEGIN
                 FOR n IN 0 .. 3 LOOP
                     EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES FROM (%L) TO (%L)',
                                    n, month, month + interval '1 month');
                     month := month + interval '1 month';
                 END LOOP;
             END $$",
        )?;
    }
    drop(client);
    let mut admin = cluster.connect("postgres")?;
    for n in 2..=databases {
        run(&mut admin, &format!("CREATE DATABASE copy_{n} TEMPLATE {first}"))?;
    }
    run(&mut admin, "CHECKPOINT")?;
    drop(admin);
    cluster.restart()?;
    Ok(cluster)
}

/// Waits until the launcher has looked into every database and has been alone for a while; gives
/// the time from the start until then, that while not counted.
fn settle(cluster: &Cluster) -> Result<Duration> {
    let started = Instant::now();
    let mut busy_until = started.elapsed();
    try_wait_for(PATIENCE, "the launcher is the only process of pg_steward", || {
        for kind in ["pg_steward scheduler", "pg_steward executor"] {
            if !cluster.pids(kind)?.is_empty() {
                busy_until = started.elapsed();
            }
        }
        Ok((started.elapsed() - busy_until > CALM).then_some(()))
    })?;
    Ok(busy_until)
}
