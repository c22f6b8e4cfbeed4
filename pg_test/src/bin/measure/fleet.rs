//! A hundred databases, some of them with work every minute: against an empty server, and against
//! pg_cron calling the same maintenance.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pg_test::cluster::Cluster;
use pg_test::progress::Progress;
use pg_test::setup::packages;

use crate::bench::{Bench, count, run};
use crate::many::{self, Contents, settle, with_databases};
use crate::numbers::{Series, mebibytes, time};
use crate::processes::Server;
use crate::report::{Line, Report};

/// Between two looks at processes and memory.
const SAMPLE: Duration = Duration::from_secs(1);
/// A scheduler and an executor for each of those at work.
const CONF: &str = "max_worker_processes = 32";
/// What is done every minute in the databases that are at work.
const WORK: &str = "CREATE TABLE busy (at timestamptz NOT NULL) PARTITION BY RANGE (at);
    SELECT steward.manage_range('busy', '1 minute')";

/// What a server used while it was watched.
#[derive(Default)]
struct Used {
    processes: Series,
    memory: Series,
    cpu_seconds: f64,
    wal_bytes: i64,
}

pub(crate) fn measure(bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
    let (databases, busy, seconds) = bench.size((100, 10, 300), (20, 4, 90));
    let package = format!("postgresql-{}-cron", bench.server.major);
    let has_cron = || bench.server.sharedir.join("extension/pg_cron.control").exists();
    if !has_cron() && packages::has_candidate(&package) {
        packages::ensure(&[vec![package]])?;
    }
    let progress = Progress::start(format!("servers with {databases} databases each"));
    let empty = bench.cluster().preload(false).conf(CONF);
    let mut clusters = vec![
        with_databases(empty, databases, Contents::Plain)?,
        with_databases(bench.cluster().conf(CONF), databases, Contents::Managed)?,
    ];
    for number in 1..=busy {
        run(&mut clusters[1].connect(&many::name(number))?, WORK)?;
    }
    if has_cron() {
        clusters.push(with_cron(bench, databases, busy)?);
    }
    settle(&clusters[1])?;
    progress.finish();

    let progress = Progress::start(format!("{busy} of {databases} databases at work"));
    let used = watch(&clusters, Duration::from_secs(seconds))?;
    progress.finish();

    let made: Vec<i64> =
        clusters[1..].iter().map(|cluster| partitions(cluster, busy)).collect::<Result<_>>()?;
    for (place, other) in [(0, "empty server"), (2, "pg_cron")] {
        let Some(theirs) = used.get(place) else { continue };
        let work = match place {
            0 => format!("{} partitions made", made[0]),
            _ => format!("{} partitions made, {} by way of pg_cron", made[0], made[1]),
        };
        tell(Report {
            title: format!(
                "{databases} databases, {busy} with a partition to make every minute, for \
                 {seconds} s; {work}"
            ),
            columns: [other, "pg_steward", "more"],
            lines: compared(theirs, &used[1]),
        });
    }
    Ok(())
}

fn compared(theirs: &Used, ours: &Used) -> Vec<Line> {
    let more = |other: f64, own: f64, unit: &dyn Fn(f64) -> String| {
        let sign = if own < other { "-" } else { "+" };
        format!("{sign}{}", unit((own - other).abs()))
    };
    let plain = |number: f64| format!("{number:.0}");
    let line = |what: &str, other: f64, own: f64, unit: &dyn Fn(f64) -> String| {
        Line::plain(what, unit(other), unit(own), more(other, own, unit))
    };
    vec![
        line("processes, median", theirs.processes.median(), ours.processes.median(), &plain),
        line("processes, most", theirs.processes.max(), ours.processes.max(), &plain),
        line("CPU time", theirs.cpu_seconds, ours.cpu_seconds, &time),
        line("memory, median", theirs.memory.median(), ours.memory.median(), &mebibytes),
        line("memory, most", theirs.memory.max(), ours.memory.max(), &mebibytes),
        line("WAL", theirs.wal_bytes as f64, ours.wal_bytes as f64, &mebibytes),
    ]
}

/// The extension without its workers, and pg_cron calling it every minute.
fn with_cron(bench: &Bench, databases: u32, busy: u32) -> Result<Cluster> {
    let builder = bench.cluster().preload(false).preload_also("pg_cron").conf(CONF);
    let cluster = with_databases(builder, databases, Contents::Managed)?;
    // pg_cron connects as any client does.
    cluster.add_conf(&format!("cron.host = '{}'", cluster.socket_dir().display()))?;
    cluster.restart()?;
    let mut admin = cluster.connect("postgres")?;
    run(&mut admin, "CREATE EXTENSION pg_cron")?;
    for number in 1..=busy {
        let name = many::name(number);
        run(&mut cluster.connect(&name)?, WORK)?;
        let schedule = format!(
            "SELECT cron.schedule_in_database('{name}', '* * * * *', 'CALL steward.maintain()', \
             '{name}')"
        );
        run(&mut admin, &schedule)?;
    }
    Ok(cluster)
}

/// Watches all of them during the same time.
fn watch(clusters: &[Cluster], length: Duration) -> Result<Vec<Used>> {
    let servers: Vec<Server> = clusters.iter().map(Server::of).collect::<Result<_>>()?;
    let state = || -> Result<Vec<(f64, i64)>> {
        let pairs = clusters.iter().zip(&servers);
        pairs.map(|(cluster, server)| Ok((server.cpu_seconds()?, wal(cluster)?))).collect()
    };
    let mut used: Vec<Used> = servers.iter().map(|_| Used::default()).collect();
    let before = state()?;
    let started = Instant::now();
    while started.elapsed() < length {
        for (server, used) in servers.iter().zip(&mut used) {
            used.processes.push(server.processes() as f64);
            // A process may end while it is looked at.
            if let Ok(bytes) = server.memory_bytes() {
                used.memory.push(bytes);
            }
        }
        thread::sleep(SAMPLE); // the time that is measured
    }
    for ((used, before), after) in used.iter_mut().zip(before).zip(state()?) {
        used.cpu_seconds = after.0 - before.0;
        used.wal_bytes = after.1 - before.1;
    }
    Ok(used)
}

/// Where the server's WAL ends, in bytes.
fn wal(cluster: &Cluster) -> Result<i64> {
    count(&mut cluster.connect("postgres")?, "SELECT (pg_current_wal_lsn() - '0/0')::int8")
}

/// Partitions of the sets at work.
fn partitions(cluster: &Cluster, busy: u32) -> Result<i64> {
    let mut sum = 0;
    for number in 1..=busy {
        let mut client = cluster.connect(&many::name(number))?;
        sum += count(
            &mut client,
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'busy'::regclass",
        )
        .with_context(|| many::name(number))?;
    }
    ensure!(sum > i64::from(busy) * 4, "no partition was made");
    Ok(sum)
}
