//! A backlog of ten thousand partitions leaves under the server's default lock table.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use pg_test::cluster::Cluster;
use pg_test::progress::Progress;

use crate::bench::{Bench, count, run};
use crate::numbers::time;
use crate::report::{Line, Report, Target};
use crate::sets::{self, AHEAD};

/// Room for max_locks_per_transaction × (max_connections + max_prepared_transactions) locks: 6,400.
const DEFAULT_LOCKS: &str = "pg_steward.enabled = off\nmax_locks_per_transaction = 64";
/// Days that are kept, today's among them.
const KEPT: u32 = 3;
/// A period's partition and its set, and what the server's DETACH and ours lock of the catalogs and
/// our tables: in the order of ten, whatever the set has.
const MOST_LOCKS: f64 = 64.0;

pub(crate) fn measure(bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
    let partitions = bench.size(10_000, 1_000);
    let cluster = bench.cluster().conf(DEFAULT_LOCKS).start()?;
    let (database, mut client) = bench.database(&cluster)?;
    let progress = Progress::start(format!("making a set of {partitions} partitions"));
    sets::make(&mut client, "backlog", partitions)?;
    run(
        &mut client,
        &format!(
            "SELECT count(*) FROM steward.manage_range('backlog', '1 day', premake => {AHEAD});
             SELECT steward.set_retention('backlog', '{} days')",
            KEPT - 1
        ),
    )?;
    progress.finish();

    let _progress = Progress::start("a backlog leaves");
    let done = AtomicBool::new(false);
    let (took, most) = thread::scope(|scope| -> Result<_> {
        let watching = scope.spawn(|| most_locks(&cluster, &database, &done));
        let started = Instant::now();
        let outcome = run(&mut client, "CALL steward.maintain('backlog')");
        let took = started.elapsed();
        done.store(true, Ordering::Relaxed);
        let most = watching.join().map_err(|_| anyhow!("the thread panicked"))??;
        outcome?;
        Ok((took, most))
    })?;
    let left = count(
        &mut client,
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'backlog'::regclass",
    )?;
    ensure!(left == i64::from(KEPT + AHEAD), "{left} partitions are left");
    let gone = i64::from(partitions) - left;
    let each = took / u32::try_from(gone)?;
    tell(Report {
        title: format!(
            "{gone} of {partitions} daily partitions leave in one CALL, default lock table"
        ),
        columns: ["", "pg_steward", ""],
        lines: vec![
            Line::plain("all of them", String::new(), time(took.as_secs_f64()), String::new()),
            Line::plain("each", String::new(), time(each.as_secs_f64()), String::new()),
            Line::plain(
                "most locks of one process",
                String::new(),
                most.to_string(),
                String::new(),
            )
            .target(Target::AtMost(MOST_LOCKS), most as f64),
        ],
    });
    Ok(())
}

/// The most locks that one other process was seen to hold at once.
fn most_locks(cluster: &Cluster, database: &str, done: &AtomicBool) -> Result<i64> {
    let mut client = cluster.connect(database)?;
    let mut most = 0;
    while !done.load(Ordering::Relaxed) {
        let held = count(
            &mut client,
            "SELECT coalesce(max(locks), 0)
               FROM (SELECT count(*) AS locks FROM pg_locks
                      WHERE pid <> pg_backend_pid()
                      GROUP BY pid) each",
        )?;
        most = most.max(held);
        thread::sleep(Duration::from_millis(50)); // between two looks
    }
    Ok(most)
}
