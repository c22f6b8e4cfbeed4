//! A set in a database that nobody touches: whatever happens elsewhere, each row finds its partition.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use pg_test::cluster::{Cluster, describe};

use crate::findings::Findings;

const DATABASE: &str = "refuge";

/// Makes it. Six periods ahead are a minute in which all workers may be gone.
pub(crate) fn found(cluster: &Cluster) -> Result<()> {
    cluster.connect("postgres")?.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
    let mut client = cluster.connect(DATABASE)?;
    client
        .batch_execute(
            "CREATE EXTENSION pg_steward; CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
             SELECT count(*) FROM steward.manage_range('t', '10 seconds', 6);
             SELECT steward.set_retention('t', '2 minutes')",
        )
        .context("the refuge")
}

/// Inserts a row of now, five times a second, until told to stop; gives their number.
pub(crate) fn insert_until(stop: &AtomicBool, cluster: &Cluster, findings: &Findings) -> usize {
    let mut client = None;
    let mut rows = 0;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(200));
        let Some(connected) = client.as_mut() else {
            client = cluster.connect(DATABASE).ok();
            continue;
        };
        match postgres::Client::execute(connected, "INSERT INTO t VALUES (clock_timestamp())", &[])
        {
            Ok(_) => rows += 1,
            Err(error) => {
                findings.add(
                    "",
                    "an insert into a set that nobody touched failed",
                    &describe(&error),
                );
                client = None;
            }
        }
    }
    rows
}
