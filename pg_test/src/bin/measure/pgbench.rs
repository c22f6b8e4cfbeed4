//! pgbench at a steady rate, and what each of its transactions saw.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use pg_test::cluster::Cluster;

use crate::numbers::{Series, percentile};

/// What pgbench is to do.
pub(crate) struct Load<'a> {
    /// Its script.
    pub(crate) script: &'a str,
    /// `prepared`, or `extended`: planned for each execution.
    pub(crate) protocol: &'a str,
    /// Sessions.
    pub(crate) clients: u32,
    /// Transactions a second, in all.
    pub(crate) rate: u32,
    pub(crate) seconds: u32,
}

/// One transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Done {
    /// When it was over, in seconds since 1970.
    pub(crate) at: f64,
    /// Its latency in seconds, from when it was meant to begin.
    pub(crate) took: f64,
}

/// What a number of transactions saw, in seconds.
pub(crate) struct Latency {
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

impl Latency {
    /// Of so many; an error if there are none.
    pub(crate) fn of(latencies: impl Iterator<Item = f64>) -> Result<Self> {
        let mut latencies: Vec<f64> = latencies.collect();
        ensure!(!latencies.is_empty(), "pgbench logged no transaction");
        latencies.sort_by(f64::total_cmp);
        Ok(Self {
            median: percentile(&latencies, 0.5),
            p99: percentile(&latencies, 0.99),
            longest: percentile(&latencies, 1.0),
        })
    }
}

/// The rounds of one side.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) median: Series,
    pub(crate) p99: Series,
    pub(crate) longest: Series,
}

impl Rows {
    pub(crate) fn push(&mut self, latency: &Latency) {
        self.median.push(latency.median);
        self.p99.push(latency.p99);
        self.longest.push(latency.longest);
    }
}

/// Runs pgbench to its end; a statement that failed is an error.
pub(crate) fn run(
    cluster: &Cluster,
    database: &str,
    work: &Path,
    load: &Load<'_>,
) -> Result<Vec<Done>> {
    let script = work.join("load.sql");
    fs::write(&script, load.script)?;
    let log = work.join("latency");
    let output = Command::new(cluster.installation().program("pgbench"))
        .args(["--no-vacuum", "--username=postgres", "--log", "--jobs=1"])
        .arg(format!("--protocol={}", load.protocol))
        .arg(format!("--client={}", load.clients))
        .arg(format!("--rate={}", load.rate))
        .arg(format!("--time={}", load.seconds))
        .arg("--log-prefix")
        .arg(&log)
        .arg("--host")
        .arg(cluster.socket_dir())
        .arg("--file")
        .arg(&script)
        .arg(database)
        .stdin(Stdio::null())
        .output()
        .context("cannot run pgbench")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !said.contains("ERROR"), "a statement failed:\n{said}");
    let mut done = Vec::new();
    for entry in fs::read_dir(work)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("latency.") {
            done.extend(read_log(&fs::read_to_string(entry.path())?)?);
            fs::remove_file(entry.path())?;
        }
    }
    Ok(done)
}

/// pgbench's log: `client transaction microseconds script seconds microseconds …` a line.
fn read_log(text: &str) -> Result<Vec<Done>> {
    let done = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| fields.get(place)?.parse::<f64>().ok();
        Some(Done { at: number(4)? + number(5)? / 1e6, took: number(2)? / 1e6 })
    };
    text.lines()
        .map(|line| done(line).with_context(|| format!("pgbench logged {line:?}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Done, read_log};

    #[test]
    fn a_log_line_has_its_latency_in_third_place() {
        let log = "0 1 1500 0 1700000000 250000 900\n2 9 250000 0 1700000000 500000 12\n";
        let expected =
            [Done { at: 1_700_000_000.25, took: 0.0015 }, Done { at: 1_700_000_000.5, took: 0.25 }];
        assert_eq!(read_log(log).unwrap(), expected);
        assert!(read_log("0 1 failed 0 1 2\n").is_err());
    }
}
