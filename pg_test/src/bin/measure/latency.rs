//! Inserts with maintenance running, against inserts into a table that has all its partitions; and
//! while a script attaches the same partitions at the same moments, which is the server's own share.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pg_test::cluster::Cluster;
use pg_test::progress::Progress;
use postgres::Client;

use crate::bench::{Bench, count, run};
use crate::numbers::{Series, time};
use crate::pgbench::{self, Latency, Load, Rows};
use crate::report::{Line, Report, Target};

/// Width of a partition in seconds.
const WIDTH_SECONDS: u32 = 10;
/// Sessions that insert.
const CLIENTS: u32 = 4;
/// Inserts a second, in all: what the machine does easily, so that a stall shows as latency.
const RATE: u32 = 500;
/// How much higher the 99th percentile may be with maintenance.
const TIMES_WITHOUT: f64 = 1.1;

/// Latencies are counted from when pgbench meant to begin, so whoever waits behind a stall counts.
const SCRIPT: &str = "\\set customer random(1, 100000)
INSERT INTO inserted (at, customer) VALUES (clock_timestamp(), :customer);
";

/// Who makes partitions while pgbench inserts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Nobody: they are all there.
    Nobody,
    /// The workers.
    Steward,
    /// psql, started at each boundary with the SQL of the plan.
    Script,
}

const SIDES: [Side; 3] = [Side::Nobody, Side::Steward, Side::Script];

pub(crate) fn measure(bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
    let (seconds, rounds) = bench.size((30, 7), (20, 2));
    let cluster = bench.cluster().start()?;
    let (database, mut client) = bench.database(&cluster)?;
    let stall = lock_timeout(&mut client)?;
    let work = tempfile::tempdir()?;
    let progress = Progress::start("inserts with and without maintenance");
    let mut rows = [(); 3].map(|()| Rows::default());
    let mut made = [0; 3];
    for round in 0..rounds {
        // Whoever is first in one round is last in the next.
        let turn = |place| if round % 2 == 0 { place } else { SIDES.len() - 1 - place };
        for place in (0..SIDES.len()).map(turn) {
            let side = SIDES[place];
            let script = prepare(&mut client, side, seconds)?;
            let before = partitions(&mut client)?;
            let latency = thread::scope(|scope| {
                let attaching = scope.spawn(|| attach(&cluster, &database, &script));
                let latency = inserts(&cluster, &database, work.path(), seconds);
                attaching.join().map_err(|_| anyhow::anyhow!("the script's thread panicked"))??;
                latency
            })?;
            made[place] += partitions(&mut client)? - before;
            rows[place].push(&latency);
        }
    }
    progress.finish();
    ensure!(made[0] == 0 && made[1] > 0 && made[2] > 0, "partitions made: {made:?}");

    for (place, column, times) in
        [(1, "with maintenance", "times without"), (2, "attached by a script", "times without")]
    {
        let (without, with) = (&rows[0], &rows[place]);
        let line = |what: &str, without: &Series, with: &Series| {
            Line::new(what, time(without.median()), time(with.median()), &with.over(without))
        };
        let p99 = line("99th percentile", &without.p99, &with.p99);
        let longest = Line::plain(
            "longest stall of all rounds",
            time(without.longest.max()),
            time(with.longest.max()),
            format!("lock_timeout {}", time(stall)),
        );
        let ours = SIDES[place] == Side::Steward;
        let ratio = with.p99.over(&without.p99).median();
        tell(Report {
            title: format!(
                "{RATE} inserts a second from {CLIENTS} sessions into {WIDTH_SECONDS}-second \
                 partitions, {rounds} times {seconds} s a side, {} partitions made meanwhile",
                made[place]
            ),
            columns: ["without", column, times],
            lines: vec![
                line("median", &without.median, &with.median),
                if ours { p99.target(Target::AtMost(TIMES_WITHOUT), ratio) } else { p99 },
                if ours {
                    longest.target(Target::AtMost(stall), with.longest.max())
                } else {
                    longest
                },
            ],
        });
    }
    Ok(())
}

/// `pg_steward.lock_timeout`, in seconds.
fn lock_timeout(client: &mut Client) -> Result<f64> {
    let sql = "SELECT setting::bigint FROM pg_settings WHERE name = 'pg_steward.lock_timeout'";
    Ok(count(client, sql)? as f64 / 1_000.0)
}

/// A fresh table that is managed, or has every partition of the next minutes, or will be given them
/// by the script that is returned: its plans, one for each boundary, with the time until then.
fn prepare(client: &mut Client, side: Side, seconds: u32) -> Result<Vec<(Instant, String)>> {
    let periods = 2 * seconds / WIDTH_SECONDS + 10;
    let premake = if side == Side::Nobody { periods } else { 2 };
    run(
        client,
        &format!(
            "DROP TABLE IF EXISTS inserted;
             CREATE TABLE inserted (
                 id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL,
                 customer integer NOT NULL, PRIMARY KEY (id, at)
             ) PARTITION BY RANGE (at);
             SELECT steward.manage_range('inserted', '{WIDTH_SECONDS} seconds',
                                         premake => {premake});"
        ),
    )?;
    let mut script = Vec::new();
    if side == Side::Script {
        // Each row is what the workers would run, and do run on the other side, at that boundary.
        let sql = format!(
            "SELECT p.sql, EXTRACT(epoch FROM boundary - clock_timestamp())::float8
               FROM generate_series(1, {periods}) n
              CROSS JOIN LATERAL (SELECT date_bin('{WIDTH_SECONDS} seconds', now(), '2000-01-01')
                                         + n * interval '{WIDTH_SECONDS} seconds' AS boundary) b
              CROSS JOIN LATERAL (SELECT p.sql FROM steward.plan('inserted', boundary) p
                                   ORDER BY p.ordinal DESC LIMIT 1) p
              ORDER BY n"
        );
        let now = Instant::now();
        for row in client.query(&sql, &[])? {
            let (sql, wait): (String, f64) = (row.get(0), row.get(1));
            script.push((now + Duration::from_secs_f64(wait.max(0.0)), sql));
        }
        let end = now + Duration::from_secs(seconds.into());
        script.retain(|(at, _)| *at < end);
    }
    if side != Side::Steward {
        run(client, "SELECT steward.unmanage('inserted')")?;
    }
    run(client, "CHECKPOINT")?;
    Ok(script)
}

/// Runs each piece of a script at its time.
fn attach(cluster: &Cluster, database: &str, script: &[(Instant, String)]) -> Result<()> {
    for (at, sql) in script {
        thread::sleep(at.saturating_duration_since(Instant::now())); // until the boundary
        cluster.psql(database).args(&["--quiet", "--single-transaction"]).command(sql)?;
    }
    Ok(())
}

fn partitions(client: &mut Client) -> Result<i64> {
    count(client, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'inserted'::regclass")
}

fn inserts(cluster: &Cluster, database: &str, work: &Path, seconds: u32) -> Result<Latency> {
    let load = Load { script: SCRIPT, protocol: "prepared", clients: CLIENTS, rate: RATE, seconds };
    Latency::of(pgbench::run(cluster, database, work, &load)?.into_iter().map(|done| done.took))
}
