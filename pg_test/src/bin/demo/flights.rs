//! A year of real flights, under monthly management in the time zone they left from.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use pg_test::progress::Progress;
use postgres::Client;

use crate::show;

/// Loads the flights, moved in time so that the last one leaves this hour, into a managed table.
pub(crate) fn load(client: &mut Client) -> Result<()> {
    show::heading("336,776 flights, a partition a month, New York's months");
    let progress = Progress::start("reading the flights");
    client.batch_execute(
        "SET timezone = 'America/New_York';
         CREATE TEMP TABLE raw (time_hour timestamptz, carrier text, flight integer, origin text,
                                dest text, dep_delay integer, distance integer)",
    )?;
    copy(client)?;
    progress.finish();

    let moved = "time_hour + (date_trunc('hour', now()) - (SELECT max(time_hour) FROM raw))";
    let first: String =
        client.query_one(&format!("SELECT min({moved})::text FROM raw"), &[])?.get(0);
    client.batch_execute(
        "CREATE TABLE flights (time_hour timestamptz NOT NULL, carrier text, flight integer,
                               origin text, dest text, dep_delay integer, distance integer)
             PARTITION BY RANGE (time_hour);
         CREATE INDEX ON flights (origin, time_hour)",
    )?;
    let call = format!(
        "steward.manage_range('flights', '1 month', premake => 3,\n      \
         time_zone => 'America/New_York', start_at => '{first}')"
    );
    println!("  SELECT * FROM {call}\n");
    show::table(
        client,
        &format!(
            "SELECT count(*) AS steps, action, split_part(lock, ' on ', 1) AS lock_on_parent,
                    min(partition) AS first, max(partition) AS last
             FROM {call} GROUP BY 2, 3"
        ),
    )?;

    let progress = Progress::start("loading the flights");
    let rows = client.execute(
        &format!(
            "INSERT INTO flights
             SELECT {moved}, carrier, flight, origin, dest, dep_delay, distance FROM raw"
        ),
        &[],
    )?;
    client.batch_execute("DROP TABLE raw; ANALYZE flights")?;
    let elapsed = progress.finish();
    println!(
        "  {rows} flights loaded in {:.1} s; the last one leaves this hour.\n",
        elapsed.as_secs_f64()
    );
    show::table(
        client,
        "SELECT partition::text, lower_bound AS \"from\", upper_bound AS until, state,
                estimated_rows AS rows, pg_size_pretty(total_bytes) AS size
         FROM steward.partitions WHERE parent = 'flights'::regclass
         ORDER BY lower_bound::timestamptz",
    )?;
    println!("  What maintenance will do by itself in two months' time (nothing is due today):\n");
    show::table(
        client,
        "SELECT ordinal AS step, action, partition, split_part(lock, ' on ', 1) AS lock_on_parent,
                reason
         FROM steward.plan('flights', at => now() + interval '2 months')",
    )
}

/// Asks the flights something, and shows that only the partitions concerned are read.
pub(crate) fn ask(client: &mut Client) -> Result<()> {
    show::heading("Which airport kept people waiting this past week?");
    let day = client.query_one(
        "SELECT (date_trunc('day', now()) - interval '7 days')::text, date_trunc('day', now())::text",
        &[],
    )?;
    let (since, until): (String, String) = (day.get(0), day.get(1));
    let question = format!(
        "SELECT origin, count(*) AS flights, round(avg(dep_delay), 1) AS minutes_late
         FROM flights WHERE time_hour >= '{since}' AND time_hour < '{until}' GROUP BY origin ORDER BY 3 DESC"
    );
    show::table(client, &question)?;
    let explain = format!("EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) {question}");
    let plan: Vec<String> = client.query(&explain, &[])?.iter().map(|row| row.get(0)).collect();
    for line in &plan {
        println!("  {line}");
    }
    let all: i64 = client
        .query_one(
            "SELECT count(*) FROM steward.partitions WHERE parent = 'flights'::regclass",
            &[],
        )?
        .get(0);
    let read = plan.iter().filter(|line| line.contains(" on flights_")).count();
    println!("\n  {read} of {all} partitions in the plan: the others are pruned.");
    Ok(())
}

fn copy(client: &mut Client) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/flights.csv.xz");
    let mut xz = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run xz")?;
    let mut unpacked = xz.stdout.take().context("xz has no output")?;
    let mut writer = client.copy_in("COPY raw FROM STDIN WITH (FORMAT csv, HEADER, NULL 'NA')")?;
    io::copy(&mut unpacked, &mut writer)?;
    writer.finish()?;
    ensure!(xz.wait()?.success(), "xz cannot unpack {}", file.display());
    Ok(())
}
