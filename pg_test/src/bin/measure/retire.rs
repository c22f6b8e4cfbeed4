//! Half of a set's partitions leave: by maintain, by a script with the same DDL, by pg_partman; and
//! what reads and writes see meanwhile.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use pg_test::cluster::Cluster;
use pg_test::progress::Progress;
use postgres::Client;

use crate::bench::{Bench, count, run};
use crate::numbers::{Series, time};
use crate::pgbench::{self, Done, Latency, Load, Rows};
use crate::report::{Line, Report, Target};

/// How much longer than the script it may take.
const TIMES_A_SCRIPT: f64 = 1.3;
/// How much faster than pg_partman it has to be.
const TIMES_PARTMAN: f64 = 30.0;
/// How much higher the 99th percentile may be meanwhile.
const TIMES_WITHOUT: f64 = 1.1;
/// Partitions from today on.
const AHEAD: i64 = 5;

/// A write and two reads of what is kept, each of which the server can tell the partition of when it
/// plans. Plans that are kept for all of a thousand partitions cost 100 ms to make anew, after every
/// ATTACH and DETACH, whoever does that.
const SCRIPT: &str = "\\set customer random(1, 100000)
INSERT INTO kept VALUES (:customer, TODAY, :customer, 1, NULL) ON CONFLICT DO NOTHING;
SELECT count(*) FROM kept WHERE at = TODAY AND customer = :customer;
SELECT note FROM kept WHERE id = :customer AND at = TODAY;
";
const CLIENTS: u32 = 4;
/// What the machine does easily, so that a stall shows as latency.
const RATE: u32 = 300;

/// Until pgbench has connected and planned.
const SETTLE_SECONDS: u32 = 3;
/// How long it runs by itself before they leave.
const QUIET_SECONDS: u32 = 40;
/// How long they leave.
const BUSY_SECONDS: u32 = 60;

/// A way to let them go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// `CALL steward.maintain()`.
    Steward,
    /// The statements of its plan through psql, in a database without the extension.
    Script,
    /// `run_maintenance()`.
    Partman,
}

pub(crate) fn measure(bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
    let (partitions, rounds) = bench.size((1_000, 5), (200, 2));
    for others in [0, bench.size(9, 2)] {
        let (cluster, model, work) = start(bench, partitions, others)?;
        let _progress =
            Progress::start(format!("half of {partitions} partitions leave in each way"));
        tell(durations(bench, &cluster, &model, Size { partitions, others }, rounds, work.path())?);
    }
    Ok(())
}

/// How large the database is.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Partitions of the set that half leave.
    partitions: i64,
    /// Sets of as many partitions beside it, of which none leave.
    others: i64,
}

/// What reads and writes see while they leave.
pub(crate) fn measure_latency(bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
    let (partitions, rounds) = bench.size((1_000, 3), (200, 1));
    let (cluster, model, work) = start(bench, partitions, 0)?;
    let _progress = Progress::start("reads and writes while partitions leave");
    for pace in [Pace::Unattended, Pace::Called] {
        tell(latencies(&cluster, &model, pace, rounds, work.path())?);
    }
    Ok(())
}

fn start(
    bench: &Bench,
    partitions: i64,
    others: i64,
) -> Result<(Cluster, String, tempfile::TempDir)> {
    // Only what is called works on the sets.
    let cluster = bench.cluster().conf("pg_steward.enabled = off").start()?;
    let work = tempfile::tempdir()?;
    let progress = Progress::start(format!("making sets of {partitions} partitions"));
    let model = prepare(bench, &cluster, Size { partitions, others }, work.path())?;
    progress.finish();
    Ok((cluster, model, work))
}

fn durations(
    bench: &Bench,
    cluster: &Cluster,
    model: &str,
    size: Size,
    rounds: usize,
    work: &Path,
) -> Result<Report> {
    let Size { partitions, others } = size;
    let mut sides = vec![Side::Steward, Side::Script];
    if bench.partman.is_some() {
        sides.push(Side::Partman);
    }
    let mut times = vec![Series::default(); sides.len()];
    for round in 0..rounds {
        // Whoever is first in one round is last in the next.
        let turn = |place| if round % 2 == 0 { place } else { sides.len() - 1 - place };
        for place in (0..sides.len()).map(turn) {
            times[place].push_time(retire(cluster, model, sides[place], partitions, work)?);
        }
    }
    let against = |place: usize, what: &str| {
        let ratio = times[0].over(&times[place]);
        Line::new(what, time(times[place].median()), time(times[0].median()), &ratio)
    };
    let script = times[0].over(&times[1]).median();
    let mut lines = vec![against(1, "script").target(Target::AtMost(TIMES_A_SCRIPT), script)];
    if times.len() > 2 {
        let faster = times[2].over(&times[0]);
        let line = Line::plain(
            "pg_partman, times faster",
            time(times[2].median()),
            time(times[0].median()),
            faster.to_string(),
        );
        lines.push(line.target(Target::AtLeast(TIMES_PARTMAN), faster.median()));
    }
    Ok(Report {
        title: format!(
            "{} of {partitions} daily partitions leave and are dropped, beside {others} other such sets",
            partitions / 2
        ),
        columns: ["other", "pg_steward", "times the other"],
        lines,
    })
}

/// A database to be copied for each run, with a set for each of us and the policy that half of it
/// leaves; and the scripts. Gives its name.
///
/// Its catalogs are analyzed, as autovacuum keeps them.
fn prepare(bench: &Bench, cluster: &Cluster, size: Size, work: &Path) -> Result<String> {
    let Size { partitions, others } = size;
    let (model, mut client) = bench.database(cluster)?;
    let first = partitions - AHEAD;
    let others: Vec<String> = (1..=others).map(|n| format!("other_{n}")).collect();
    let all = ["kept", "kept_by_partman"].into_iter().chain(others.iter().map(String::as_str));
    for name in all {
        run(
            &mut client,
            &format!(
                "CREATE TABLE {name} (
                     id bigint NOT NULL, at timestamptz NOT NULL, customer integer NOT NULL,
                     amount numeric(12, 2), note text, PRIMARY KEY (id, at)
                 ) PARTITION BY RANGE (at);
                 CREATE INDEX ON {name} (customer, at)"
            ),
        )?;
    }
    make(&mut client, "kept", first)?;
    for name in &others {
        make(&mut client, name, first)?;
    }
    let keep = first - partitions / 2;
    run(&mut client, &format!("SELECT steward.set_retention('kept', '{keep} days')"))?;
    if let Some(partman) = &bench.partman {
        let daily = partman.daily();
        let create = format!(
            "SELECT partman.create_parent('public.kept_by_partman', 'at', {daily},
                                          p_premake := {AHEAD} - 1,
                                          p_start_partition := (current_date - {first})::text);
             UPDATE partman.part_config
                SET infinite_time_partitions = true, retention = '{keep} days',
                    retention_keep_table = false"
        );
        run(&mut client, &create)?;
    }
    run(&mut client, "VACUUM ANALYZE")?;
    let rows = client.query("SELECT sql FROM steward.plan('kept') ORDER BY ordinal", &[])?;
    ensure!(rows.len() as i64 == partitions, "{} steps instead of {partitions}", rows.len());
    let mut statements = String::new();
    for row in rows {
        writeln!(statements, "{}", row.get::<_, &str>(0))?;
    }
    std::fs::write(script(work, Side::Script), statements)?;
    std::fs::write(script(work, Side::Steward), "CALL steward.maintain();\n")?;
    std::fs::write(script(work, Side::Partman), "SELECT partman.run_maintenance();\n")?;
    Ok(model)
}

/// Makes a set's partitions.
fn make(client: &mut Client, name: &str, first: i64) -> Result<()> {
    run(
        client,
        &format!(
            "SELECT steward.manage_range('{name}', '1 day', premake => {AHEAD} - 1,
                                         start_at => (current_date - {first})::text)"
        ),
    )
}

fn script(work: &Path, side: Side) -> std::path::PathBuf {
    work.join(format!("{side:?}.sql"))
}

/// A fresh copy of the model.
fn copy(cluster: &Cluster, model: &str, side: Side) -> Result<String> {
    let database = format!("{model}_copy");
    let mut admin = cluster.connect("postgres")?;
    run(&mut admin, &format!("CREATE DATABASE {database} TEMPLATE {model} STRATEGY file_copy"))?;
    if side == Side::Script {
        run(&mut cluster.connect(&database)?, "DROP EXTENSION pg_steward")?;
    }
    run(&mut admin, "CHECKPOINT")?;
    Ok(database)
}

fn discard(cluster: &Cluster, database: &str) -> Result<()> {
    run(&mut cluster.connect("postgres")?, &format!("DROP DATABASE {database} WITH (FORCE)"))
}

/// Lets half of them go in a copy of the model, through psql.
fn retire(
    cluster: &Cluster,
    model: &str,
    side: Side,
    partitions: i64,
    work: &Path,
) -> Result<Duration> {
    let database = copy(cluster, model, side)?;
    let parent = if side == Side::Partman { "kept_by_partman" } else { "kept" };
    let left = left(&mut cluster.connect(&database)?, parent)?;
    let psql = cluster.psql(&database).args(&["--quiet", "--set=ON_ERROR_STOP=1"]);
    let started = Instant::now();
    let output = psql.file(&script(work, side))?;
    let took = started.elapsed();
    ensure!(output.code == Some(0), "{side:?}: {}", output.text);
    let gone = left - self::left(&mut cluster.connect(&database)?, parent)?;
    ensure!((gone - partitions / 2).abs() <= 1, "{side:?}: {gone} are gone");
    discard(cluster, &database)?;
    Ok(took.mul_f64(partitions as f64 / 2.0 / gone as f64))
}

/// Tables of a set that are there, in the set or out of it, but for the default partition.
fn left(client: &mut Client, parent: &str) -> Result<i64> {
    let tables =
        format!("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^{parent}_p?2'");
    count(client, &tables)
}

/// Who lets them go while pgbench runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// The workers, with a pause between two.
    Unattended,
    /// `CALL steward.maintain()`, one right after the other.
    Called,
}

fn latencies(
    cluster: &Cluster,
    model: &str,
    pace: Pace,
    rounds: usize,
    work: &Path,
) -> Result<Report> {
    let (mut with, mut without) = (Rows::default(), Rows::default());
    let mut gone = 0;
    let today: String = cluster
        .connect(model)?
        .query_one("SELECT format('TIMESTAMPTZ %L', current_date::timestamptz)", &[])?
        .get(0);
    let text = SCRIPT.replace("TODAY", &today);
    for _ in 0..rounds {
        let database = copy(cluster, model, Side::Steward)?;
        let before = left(&mut cluster.connect(&database)?, "kept")?;
        let seconds = SETTLE_SECONDS + QUIET_SECONDS + BUSY_SECONDS + 1;
        let load =
            Load { script: &text, protocol: "extended", clients: CLIENTS, rate: RATE, seconds };
        let (done, from, until) = thread::scope(|scope| -> Result<_> {
            let leaving = scope.spawn(|| {
                thread::sleep(Duration::from_secs((SETTLE_SECONDS + QUIET_SECONDS).into()));
                let from = now();
                let outcome = let_go(cluster, &database, pace, work);
                outcome.map(|()| (from, now()))
            });
            let done = pgbench::run(cluster, &database, work, &load)?;
            let (from, until) =
                leaving.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
            Ok((done, from, until))
        })?;
        let between = |from: f64, until: f64| {
            let within = move |each: &&Done| each.at >= from && each.at - each.took <= until;
            Latency::of(done.iter().filter(within).map(|each| each.took))
        };
        with.push(&between(from, until.min(from + f64::from(BUSY_SECONDS)))?);
        without.push(&between(from - f64::from(QUIET_SECONDS), from)?);
        gone += before - left(&mut cluster.connect(&database)?, "kept")?;
        discard(cluster, &database)?;
    }
    ensure!(gone > 0, "none has left meanwhile");
    let line = |what: &str, without: &Series, with: &Series| {
        Line::new(what, time(without.median()), time(with.median()), &with.over(without))
    };
    let p99 = line("99th percentile", &without.p99, &with.p99);
    let ratio = with.p99.over(&without.p99).median();
    let how = match pace {
        Pace::Unattended => "workers let",
        Pace::Called => "one CALL lets",
    };
    Ok(Report {
        title: format!(
            "{RATE} transactions a second from {CLIENTS} sessions, each an insert and two selects, while \
             {how} {gone} partitions go, and before, {rounds} times"
        ),
        columns: ["before", "meanwhile", "times before"],
        lines: vec![
            line("median", &without.median, &with.median),
            match pace {
                Pace::Unattended => p99.target(Target::AtMost(TIMES_WITHOUT), ratio),
                Pace::Called => p99,
            },
            line("longest", &without.longest, &with.longest),
        ],
    })
}

/// Lets partitions go for a while, or to the end.
fn let_go(cluster: &Cluster, database: &str, pace: Pace, work: &Path) -> Result<()> {
    if pace == Pace::Called {
        let output = cluster
            .psql(database)
            .args(&["--quiet", "--set=ON_ERROR_STOP=1"])
            .file(&script(work, Side::Steward))?;
        ensure!(output.code == Some(0), "{}", output.text);
        return Ok(());
    }
    let mut admin = cluster.connect("postgres")?;
    run(&mut admin, "ALTER SYSTEM SET pg_steward.enabled = on")?;
    run(&mut admin, "SELECT pg_reload_conf()")?;
    thread::sleep(Duration::from_secs(BUSY_SECONDS.into())); // what is measured
    run(&mut admin, "ALTER SYSTEM RESET pg_steward.enabled")?;
    run(&mut admin, "SELECT pg_reload_conf()")
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
