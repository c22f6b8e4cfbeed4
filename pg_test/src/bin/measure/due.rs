//! How soon a job starts after it is due, when many are due at the same instant.

use std::time::Duration;

use anyhow::{Result, ensure};
use pg_test::cluster::{Cluster, try_wait_for};
use pg_test::progress::Progress;

use crate::bench::{Bench, count, run};
use crate::numbers::{Series, percentile, time};
use crate::report::{Line, Report, Target};

/// What the middle one of the jobs may wait for its start, in seconds, and the 99th of a hundred.
const MEDIAN_SECONDS: f64 = 1.0;
const P99_SECONDS: f64 = 2.0;
/// A minute, and what a busy machine may take on top.
const MINUTE: Duration = Duration::from_secs(75);

/// A launcher, a scheduler a database, and the executors have a place each.
const CONF: &str = "max_worker_processes = 32";

pub(crate) fn measure(bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
    let (databases, sets, minutes) = bench.size((20, 25, 4), (5, 10, 1));
    let progress = Progress::start(format!("{databases} databases with {sets} sets each"));
    let cluster = bench.cluster().conf(CONF).start()?;
    let names = make(&cluster, databases, sets)?;
    progress.finish();

    let jobs = databases * sets;
    let _progress = Progress::start(format!("{jobs} jobs due at every full minute"));
    let (mut median, mut p99, mut longest) = Default::default();
    // The first full minute may be one that the making of the sets reached into.
    let first: f64 = cluster
        .connect("postgres")?
        .query_one("SELECT extract(epoch FROM date_trunc('minute', now()))::float8 + 120", &[])?
        .get(0);
    for minute in 0..minutes {
        let due = first + 60.0 * f64::from(minute);
        let mut waited = started(&cluster, &names, due, jobs)?;
        waited.sort_by(f64::total_cmp);
        for (series, share) in [(&mut median, 0.5), (&mut p99, 0.99), (&mut longest, 1.0)] {
            Series::push(series, percentile(&waited, share));
        }
    }
    let line = |what: &str, series: &Series| {
        let range = format!("{}–{}", time(series.min()), time(series.max()));
        Line::plain(what, String::new(), time(series.median()), range)
    };
    tell(Report {
        title: format!(
            "{jobs} jobs in {databases} databases, all due at the same instant; each makes a \
             partition; {minutes} times; {CONF}, the other settings are the default ones"
        ),
        columns: ["", "started after", "least and most"],
        lines: vec![
            line("median", &median).target(Target::AtMost(MEDIAN_SECONDS), median.median()),
            line("99th percentile", &p99).target(Target::AtMost(P99_SECONDS), p99.median()),
            line("the last one", &longest),
        ],
    });
    Ok(())
}

/// Databases with so many sets of one-minute partitions.
fn make(cluster: &Cluster, databases: u32, sets: u32) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for _ in 0..databases {
        let name = cluster.create_database_with_extension()?;
        let mut client = cluster.connect(&name)?;
        for number in 1..=sets {
            run(
                &mut client,
                &format!(
                    "CREATE TABLE t_{number} (at timestamptz NOT NULL) PARTITION BY RANGE (at);
                     SELECT steward.manage_range('t_{number}', '1 minute')"
                ),
            )?;
        }
        names.push(name);
    }
    Ok(names)
}

/// How long after an instant each of the jobs due at it was started, in seconds.
fn started(cluster: &Cluster, names: &[String], due: f64, jobs: u32) -> Result<Vec<f64>> {
    let mut admin = cluster.connect("postgres")?;
    let left =
        format!("SELECT greatest(0, ceil({due} - extract(epoch FROM clock_timestamp())))::int8");
    let left = Duration::from_secs(count(&mut admin, &left)?.unsigned_abs());
    std::thread::sleep(left + Duration::from_secs(5)); // nobody else is to be busy meanwhile
    try_wait_for(MINUTE, "every job has run", || {
        let mut waited = Vec::new();
        for name in names {
            let rows = cluster.connect(name)?.query(
                "SELECT extract(epoch FROM started_at - scheduled_at)::float8, status
                   FROM steward.job_runs WHERE scheduled_at = to_timestamp($1)",
                &[&due],
            )?;
            for row in rows {
                let status: &str = row.get(1);
                ensure!(matches!(status, "succeeded" | "running"), "a run {status}");
                waited.push(row.get(0));
            }
        }
        Ok((waited.len() == jobs as usize).then_some(waited))
    })
}
