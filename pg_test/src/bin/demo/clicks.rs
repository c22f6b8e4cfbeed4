//! Ten-second partitions, made unattended while pgbench inserts.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pg_test::cluster::Cluster;
use postgres::Client;

use crate::{DATABASE, show};

/// How long pgbench inserts.
const SECONDS: u64 = 40;

/// How many sessions insert.
const CLIENTS: u32 = 4;

/// One insert a transaction, dated by the wall clock as it comes in.
const SCRIPT: &str = "\\set visitor random(1, 100000)
INSERT INTO clicks (at, visitor) VALUES (clock_timestamp(), :visitor);
";

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    inserted: i64,
    failed: usize,
    unattended: usize,
}

impl Traffic {
    /// Whether no insert failed while partitions were being made.
    pub(crate) fn is_good(self) -> bool {
        self.failed == 0 && self.unattended > 0
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inserted, failed, unattended } = self;
        write!(
            f,
            "{failed} failed inserts, {unattended} partitions made unattended \
             ({inserted} rows in {SECONDS} seconds)"
        )
    }
}

/// Puts a table under ten-second management and has pgbench insert into it.
pub(crate) fn run(cluster: &Cluster, client: &mut Client) -> Result<Traffic> {
    show::heading(&format!(
        "A partition every ten seconds, {CLIENTS} sessions of pgbench inserting"
    ));
    client.batch_execute(
        "CREATE TABLE clicks (at timestamptz NOT NULL, visitor integer NOT NULL)
             PARTITION BY RANGE (at)",
    )?;
    let call = "steward.manage_range('clicks', '10 seconds', premake => 3)";
    println!("  SELECT * FROM {call}\n");
    show::table(client, &format!("SELECT ordinal AS step, action, partition, reason FROM {call}"))?;

    let mut seen: BTreeSet<String> =
        partitions(client)?.into_iter().map(|(name, _)| name).collect();
    let by_hand = seen.len();
    let mut seen_runs: i64 = 0;
    let work = tempfile::tempdir()?;
    let mut bench = pgbench(cluster, work.path())?;
    let started = Instant::now();
    let mut line = LiveLine::default();
    while bench.try_wait()?.is_none() {
        let elapsed = started.elapsed().as_secs_f64();
        for (name, bounds) in partitions(client)? {
            if seen.insert(name.clone()) {
                line.event(&format!("{elapsed:5.1} s  made unattended: {name}  {bounds}"));
            }
        }
        for (run, text) in runs(client, seen_runs)? {
            seen_runs = run;
            line.event(&format!("{elapsed:5.1} s  {text}"));
        }
        let rows: i64 = client.query_one("SELECT count(*) FROM clicks", &[])?.get(0);
        let made = seen.len() - by_hand;
        let failed = failures(work.path());
        line.update(
            elapsed,
            &format!(
                "{elapsed:3.0} of {SECONDS} s: {rows} rows, {made} new partitions, {failed} failed"
            ),
        );
        thread::sleep(Duration::from_millis(250)); // how often the picture is renewed
    }
    line.clear();

    println!();
    show::table(
        client,
        "SELECT p.partition::text, left(p.lower_bound::text, 19) AS \"from\", p.state, n AS rows
         FROM steward.partitions p
         LEFT JOIN (SELECT tableoid, count(*) AS n FROM clicks GROUP BY 1) c
                ON c.tableoid = p.partition
         WHERE p.parent = 'clicks'::regclass ORDER BY p.lower_bound",
    )?;
    Ok(Traffic {
        inserted: client.query_one("SELECT count(*) FROM clicks", &[])?.get(0),
        failed: failures(work.path()),
        unattended: seen.len() - by_hand,
    })
}

fn pgbench(cluster: &Cluster, work: &Path) -> Result<Child> {
    let script = work.join("clicks.sql");
    std::fs::write(&script, SCRIPT)?;
    let output = File::create(work.join("output")).context("cannot write pgbench's output")?;
    Command::new(cluster.installation().program("pgbench"))
        .args(["--no-vacuum", "--protocol=prepared", "--rate=2000", "--username=postgres"])
        .args([format!("--client={CLIENTS}"), "--jobs=1".to_owned(), format!("--time={SECONDS}")])
        .arg("--host")
        .arg(cluster.socket_dir())
        .arg("--file")
        .arg(&script)
        .arg(DATABASE)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("cannot run pgbench")
}

/// How many inserts failed by pgbench's own account: what it counts, and each error it names.
fn failures(work: &Path) -> usize {
    let output = std::fs::read_to_string(work.join("output")).unwrap_or_default();
    let named = output.lines().filter(|line| line.contains("ERROR:") || line.contains("aborted"));
    let counted = output
        .lines()
        .filter_map(|line| line.strip_prefix("number of failed transactions: "))
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    named.count() + counted.sum::<usize>()
}

/// The partitions of clicks: name, and from when until when.
fn partitions(client: &mut Client) -> Result<Vec<(String, String)>> {
    let rows = client.query(
        "SELECT partition::text, to_char(lower_bound::timestamptz, '[HH24:MI:SS, ')
                              || to_char(upper_bound::timestamptz, 'HH24:MI:SS)')
         FROM steward.partitions WHERE parent = 'clicks'::regclass ORDER BY lower_bound",
        &[],
    )?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The runs that ended after a certain one.
fn runs(client: &mut Client, after: i64) -> Result<Vec<(i64, String)>> {
    let rows = client.query(
        "SELECT run_id, format('run %s: %s, %s, %s ms', run_id, target, status,
                               round(extract(epoch FROM duration) * 1000, 1))
         FROM steward.job_runs WHERE run_id > $1 AND status <> 'running' ORDER BY run_id",
        &[&after],
    )?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A line that is rewritten in place on a terminal, and written now and then elsewhere.
#[derive(Debug, Default)]
struct LiveLine {
    next: f64,
}

impl LiveLine {
    /// Something worth a line of its own.
    fn event(&self, text: &str) {
        self.clear();
        println!("  {text}");
    }

    fn update(&mut self, elapsed: f64, text: &str) {
        let mut out = std::io::stdout();
        if out.is_terminal() {
            print!("\r\x1b[K  {text}");
            let _ = out.flush();
        } else if elapsed >= self.next {
            println!("  {text}");
            self.next = elapsed + 10.0;
        }
    }

    fn clear(&self) {
        if std::io::stdout().is_terminal() {
            print!("\r\x1b[K");
        }
    }
}
