//! Servers with many databases.

use std::time::{Duration, Instant};

use anyhow::Result;
use pg_test::cluster::{Builder, Cluster, try_wait_for};

use crate::bench::run;

/// Longer than the launcher takes to look into every database once.
const PATIENCE: Duration = Duration::from_secs(900);
/// Longer than the pause between two looks.
const CALM: Duration = Duration::from_secs(5);

/// What each of the databases has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// A table with four monthly partitions.
    Plain,
    /// The same, made by the extension that manages it.
    Managed,
}

/// The name of one of the databases, which count from 1.
pub(crate) fn name(number: u32) -> String {
    format!("copy_{number}")
}

/// A server that was just started, with so many equal databases.
pub(crate) fn with_databases(
    builder: Builder,
    databases: u32,
    contents: Contents,
) -> Result<Cluster> {
    // Making the databases is not measured.
    let cluster = builder.conf("fsync = off").start()?;
    let model = cluster.create_database()?;
    let mut client = cluster.connect(&model)?;
    run(&mut client, "CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at)")?;
    if contents == Contents::Managed {
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
    for number in 1..=databases {
        run(&mut admin, &format!("CREATE DATABASE {} TEMPLATE {model}", name(number)))?;
    }
    run(&mut admin, &format!("DROP DATABASE {model}"))?;
    run(&mut admin, "CHECKPOINT")?;
    drop(admin);
    cluster.add_conf("fsync = on")?;
    cluster.restart()?;
    Ok(cluster)
}

/// Waits until the launcher has looked into every database and has been alone for a while; gives
/// the time from the start until then, that while not counted.
pub(crate) fn settle(cluster: &Cluster) -> Result<Duration> {
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
