//! A pass that finds nothing to do, against pg_partman's; and what it costs by a set's size.

use anyhow::{Result, ensure};
use pg_test::cluster::Cluster;
use pg_test::progress::Progress;
use postgres::Client;

use crate::bench::{Bench, count, mean, run, timed};
use crate::numbers::{Series, time};
use crate::report::{Line, Report, Target};
use crate::sets::{self, AHEAD};

/// Passes before the first round: caches are filled, plans are generic.
const WARM_UP: u32 = 7;
/// Passes a round and side.
const PASSES: u32 = 5;
/// How many times faster than pg_partman a pass has to be.
const TIMES_FASTER: f64 = 200.0;

pub(crate) fn measure(bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
    let cluster = bench.cluster().start()?;
    if bench.partman_4().is_some() {
        tell(against_partman(bench, &cluster)?);
    }
    tell(by_size(bench, &cluster)?);
    Ok(())
}

/// Both manage the same tables.
fn against_partman(bench: &Bench, cluster: &Cluster) -> Result<Report> {
    let (sets, partitions, rounds) = bench.size((10, 1_000, 9), (3, 200, 3));
    let (database, mut client) = bench.database(cluster)?;
    let progress = Progress::start(format!("making {sets} sets of {partitions} partitions"));
    // It counts from this very moment, not from the period that holds it, and may want one more.
    let their_premake = AHEAD - 1;
    let names: Vec<String> = (1..=sets).map(|n| format!("set_{n}")).collect();
    for name in &names {
        sets::make(&mut client, name, partitions)?;
        manage(&mut client, name)?;
        run(
            &mut client,
            &format!(
                "SET client_min_messages = error;
                 SELECT partman.create_parent('public.{name}', 'at', 'native', 'daily',
                                              p_premake := {their_premake})"
            ),
        )?;
    }
    // By the clock, as pg_steward goes: it spares pg_partman the search for the newest row.
    run(&mut client, "UPDATE partman.part_config SET infinite_time_partitions = true")?;
    run(&mut client, "VACUUM ANALYZE")?;
    progress.finish();

    let _progress = Progress::start("passes that find nothing to do");
    let before = count(&mut client, "SELECT count(*) FROM pg_inherits")?;
    let (mut theirs, mut ours) = (cluster.connect(&database)?, cluster.connect(&database)?);
    let (their_pass, our_pass) = ("SELECT partman.run_maintenance()", "CALL steward.maintain()");
    mean(&mut theirs, their_pass, WARM_UP)?;
    mean(&mut ours, our_pass, WARM_UP)?;
    let (mut warm_theirs, mut warm_ours) = (Series::default(), Series::default());
    let (mut new_theirs, mut new_ours) = (Series::default(), Series::default());
    for _ in 0..rounds {
        warm_theirs.push_time(mean(&mut theirs, their_pass, PASSES)?);
        warm_ours.push_time(mean(&mut ours, our_pass, PASSES)?);
        new_theirs.push_time(timed(&mut cluster.connect(&database)?, their_pass)?);
        new_ours.push_time(timed(&mut cluster.connect(&database)?, our_pass)?);
    }
    let after = count(&mut client, "SELECT count(*) FROM pg_inherits")?;
    ensure!(before == after, "there was something to do: {} partitions were made", after - before);

    let line = |what: &str, theirs: &Series, ours: &Series| {
        Line::new(what, time(theirs.median()), time(ours.median()), &theirs.over(ours))
    };
    let warm = warm_theirs.over(&warm_ours).median();
    Ok(Report {
        title: format!(
            "A pass over {sets} sets of {partitions} daily partitions that finds nothing to do"
        ),
        columns: ["pg_partman", "pg_steward", "times faster"],
        lines: vec![
            line("warm session", &warm_theirs, &warm_ours)
                .target(Target::AtLeast(TIMES_FASTER), warm),
            line("new session", &new_theirs, &new_ours),
        ],
    })
}

/// What one set costs, small and large; and what of that in a new session is the server's own
/// reading of the partitions, which any query on the table does as well.
fn by_size(bench: &Bench, cluster: &Cluster) -> Result<Report> {
    let (sizes, rounds) = bench.size(([100, 1_000, 10_000], 15), ([50, 200, 1_000], 5));
    let (database, mut client) = bench.database(cluster)?;
    let progress = Progress::start(format!("making a set of {} partitions", sizes[2]));
    for size in sizes {
        sets::make(&mut client, &format!("set_{size}"), size)?;
        manage(&mut client, &format!("set_{size}"))?;
    }
    run(&mut client, "VACUUM ANALYZE")?;
    progress.finish();

    let _progress = Progress::start("passes over one set, by its size");
    // A constant: the server plans one partition, but has to know where all of them begin.
    let today: String = client.query_one("SELECT current_date::text", &[])?.get(0);
    let mut warm = cluster.connect(&database)?;
    let mut costs = [(); 3].map(|()| Cost::default());
    for size in sizes {
        mean(&mut warm, &pass(size), WARM_UP)?;
    }
    for _ in 0..rounds {
        for (size, cost) in sizes.into_iter().zip(&mut costs) {
            cost.warm.push_time(mean(&mut warm, &pass(size), PASSES)?);
            cost.new.push_time(timed(&mut cluster.connect(&database)?, &pass(size))?);
            let mut session = cluster.connect(&database)?;
            let query = format!("EXPLAIN SELECT FROM set_{size} WHERE at = '{today}'");
            cost.query.push_time(timed(&mut session, &query)?);
            cost.after_query.push_time(timed(&mut session, &pass(size))?);
        }
    }

    let [small, ..] = &costs;
    let lines = KINDS.into_iter().flat_map(|(what, of)| {
        sizes.into_iter().zip(&costs).skip(1).map(move |(size, cost)| {
            let (own, small) = (of(cost), of(small));
            let what = format!("{what}, {size} partitions");
            Line::new(&what, time(small.median()), time(own.median()), &own.over(small))
        })
    });
    Ok(Report {
        title: format!(
            "CALL steward.maintain(set) with nothing to do, against a set of {} partitions",
            sizes[0]
        ),
        columns: ["small set", "this set", "times the small"],
        lines: lines.collect(),
    })
}

/// A view on a [`Cost`].
type Of = fn(&Cost) -> &Series;

/// What is shown of each size.
const KINDS: [(&str, Of); 4] = [
    ("warm session", |cost| &cost.warm),
    ("new session", |cost| &cost.new),
    ("new session, a query on the table instead", |cost| &cost.query),
    ("new session, after that query", |cost| &cost.after_query),
];

/// What a pass over one set of a size takes.
#[derive(Default)]
struct Cost {
    warm: Series,
    new: Series,
    query: Series,
    after_query: Series,
}

fn pass(size: u32) -> String {
    format!("CALL steward.maintain('set_{size}')")
}

fn manage(client: &mut Client, name: &str) -> Result<()> {
    let steps = count(
        client,
        &format!(
            "SELECT count(*) FROM steward.manage_range('{name}', '1 day', premake => {AHEAD})"
        ),
    )?;
    ensure!(steps == 0, "{name} was not complete: {steps} steps");
    Ok(())
}
