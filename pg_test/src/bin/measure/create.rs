//! A thousand partitions made: by maintain, by a script with the same DDL, by pg_partman.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pg_test::cluster::Cluster;
use pg_test::progress::Progress;

use crate::bench::{Bench, count, run};
use crate::numbers::{Series, time};
use crate::report::{Line, Report, Target};

/// How much longer than the fastest script it may take.
const TIMES_A_SCRIPT: f64 = 1.15;

/// A way to make the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// `CALL steward.maintain()`.
    Steward,
    /// CREATE and ATTACH, each committed by itself.
    Statements,
    /// CREATE and ATTACH in one transaction a partition.
    Transactions,
    /// `run_maintenance()`: all of them in one transaction.
    Partman,
}

pub(crate) fn measure(bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
    let (partitions, rounds) = bench.size((1_000, 5), (200, 3));
    let cluster = bench.cluster().start()?;
    let mut sides = vec![Side::Steward, Side::Statements, Side::Transactions];
    if bench.partman_4().is_some() {
        sides.push(Side::Partman);
    }
    let work = tempfile::tempdir()?;
    let model = prepare(bench, &cluster, partitions, work.path())?;

    let _progress = Progress::start(format!("making {partitions} partitions in each way"));
    let mut times = vec![Series::default(); sides.len()];
    for round in 0..rounds {
        // Whoever is first in one round is last in the next.
        let turn = |place| if round % 2 == 0 { place } else { sides.len() - 1 - place };
        for place in (0..sides.len()).map(turn) {
            let took = make(&cluster, &model, sides[place], partitions, work.path())?;
            times[place].push_time(took);
        }
    }

    let ours = &times[0];
    let best = if times[1].median() < times[2].median() { 1 } else { 2 };
    let line = |place: usize, what: &str| {
        let ratio = ours.over(&times[place]);
        let line = Line::new(what, time(times[place].median()), time(ours.median()), &ratio);
        if place == best {
            line.target(Target::AtMost(TIMES_A_SCRIPT), ratio.median())
        } else {
            line
        }
    };
    let mut lines = vec![
        line(1, "script, every statement by itself"),
        line(2, "script, a transaction a partition"),
    ];
    if times.len() > 3 {
        lines.push(line(3, "pg_partman, all in one transaction"));
    }
    tell(Report {
        title: format!(
            "{partitions} daily partitions made, of a table with a primary key and an index"
        ),
        columns: ["other", "pg_steward", "times the other"],
        lines,
    });
    Ok(())
}

/// A database to be copied for each run, with nothing but a small set in it that both manage; and
/// the scripts. Gives its name.
fn prepare(bench: &Bench, cluster: &Cluster, partitions: i64, work: &Path) -> Result<String> {
    let (model, mut client) = bench.database(cluster)?;
    for name in ["made", "made_by_partman"] {
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
    run(&mut client, "SELECT steward.manage_range('made', '1 day', premake => 1)")?;
    if bench.partman_4().is_some() {
        run(
            &mut client,
            "SELECT partman.create_parent('public.made_by_partman', 'at', 'native', 'daily',
                                          p_premake := 1);
             UPDATE partman.part_config SET infinite_time_partitions = true",
        )?;
        let premake = format!("UPDATE partman.part_config SET premake = {} ", partitions + 1);
        run(&mut client, &premake)?;
    }
    // What alter_range() would do as well, but for making the partitions at once.
    let premake = format!("UPDATE steward.range_policy SET premake = {}", partitions + 1);
    run(&mut client, &premake)?;

    // Exactly what maintain will run.
    let rows = client.query("SELECT sql FROM steward.plan('made') ORDER BY ordinal", &[])?;
    ensure!(rows.len() as i64 == partitions, "{} steps instead of {partitions}", rows.len());
    let (mut statements, mut transactions) = (String::new(), String::new());
    for row in rows {
        let sql: &str = row.get(0);
        writeln!(statements, "{sql}")?;
        writeln!(transactions, "BEGIN;\n{sql}\nCOMMIT;")?;
    }
    std::fs::write(script(work, Side::Statements), statements)?;
    std::fs::write(script(work, Side::Transactions), transactions)?;
    std::fs::write(script(work, Side::Steward), "CALL steward.maintain();\n")?;
    std::fs::write(script(work, Side::Partman), "SELECT partman.run_maintenance();\n")?;
    Ok(model)
}

fn script(work: &Path, side: Side) -> std::path::PathBuf {
    work.join(format!("{side:?}.sql"))
}

/// Makes them in a fresh copy of the model, all through psql.
fn make(
    cluster: &Cluster,
    model: &str,
    side: Side,
    partitions: i64,
    work: &Path,
) -> Result<Duration> {
    let database = format!("{model}_copy");
    let mut admin = cluster.connect("postgres")?;
    run(&mut admin, &format!("CREATE DATABASE {database} TEMPLATE {model}"))?;
    run(&mut admin, "CHECKPOINT")?;
    let parent = if side == Side::Partman { "made_by_partman" } else { "made" };
    let here = format!("SELECT count(*) FROM pg_inherits WHERE inhparent = '{parent}'::regclass");
    let before = count(&mut cluster.connect(&database)?, &here)?;

    let psql = cluster.psql(&database).args(&["--quiet", "--set=ON_ERROR_STOP=1"]);
    let started = Instant::now();
    let output = psql.file(&script(work, side))?;
    let took = started.elapsed();

    ensure!(output.code == Some(0), "{side:?}: {}", output.text);
    let made = count(&mut cluster.connect(&database)?, &here)? - before;
    // pg_partman counts periods by an average length of months and may make a few more.
    let spare = if side == Side::Partman { partitions / 20 } else { 0 };
    ensure!((made - partitions).abs() <= spare, "{side:?} made {made} instead of {partitions}");
    run(&mut admin, &format!("DROP DATABASE {database} WITH (FORCE)"))?;
    Ok(took.mul_f64(partitions as f64 / made as f64))
}
