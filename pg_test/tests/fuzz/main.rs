//! Fuzzing: every function with nasty arguments, under odd settings, by all kinds of roles, on all kinds of
//! relations, beside DDL, workers and the ends of processes.
//!
//! `PG_STEWARD_FUZZ_SECONDS` says how long (a minute, unless told otherwise), `PG_STEWARD_FUZZ_SEED` which
//! choices: a failure names the seed of its round. Sessions run at the same time, so a seed brings the same
//! statements again but not the same moments; each failure therefore also shows what its session had said.

mod aftermath;
mod arguments;
mod calls;
mod chance;
mod ddl;
mod findings;
mod memory;
mod pool;
mod refuge;
mod relations;
mod round;
mod serverlog;
mod sessions;
mod shapes;
mod verdict;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pg_test::cluster::{Cluster, server_directory};
use pg_test::fixtures;

use chance::Chance;
use findings::Findings;
use serverlog::ServerLog;
use verdict::Listed;

/// A database's life: long enough that policies, partitions and failures pile up in it.
const ROUND: Duration = Duration::from_secs(45);

const CONF: &str = "
max_connections = 60
max_worker_processes = 24
max_locks_per_transaction = 256
deadlock_timeout = '200ms'
wal_level = logical
log_min_messages = warning
pg_steward.lock_timeout = '300ms'
pg_steward.retention_pause = 0";

#[test]
fn fuzz_every_call() {
    let seconds = from_environment("PG_STEWARD_FUZZ_SECONDS").unwrap_or(60);
    let seed = from_environment("PG_STEWARD_FUZZ_SEED").unwrap_or_else(Chance::fresh_seed);
    eprintln!("PG_STEWARD_FUZZ_SEED={seed} PG_STEWARD_FUZZ_SECONDS={seconds}");
    let findings = Findings::default();
    let outcome = fuzz(seed, Duration::from_secs(seconds), &findings);
    let mut told = findings.told();
    if let Err(error) = outcome {
        told.push(format!("the run broke off: {error:#}"));
    }
    assert!(
        told.is_empty(),
        "PG_STEWARD_FUZZ_SEED={seed}: {} findings\n\n{}",
        told.len(),
        told.join("\n\n")
    );
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

fn fuzz(seed: u64, length: Duration, findings: &Findings) -> Result<()> {
    let listed = Listed::read()?;
    let cluster = fixtures::cluster().conf(CONF).conf(serverlog::SETTINGS).start()?;
    prepare(&cluster)?;
    let mut log = ServerLog::default();
    let stop = AtomicBool::new(false);
    let end = Instant::now() + length;
    thread::scope(|scope| {
        let inserter = scope.spawn(|| refuge::insert_until(&stop, &cluster, findings));
        let mut outcome = Ok(());
        let mut calls = 0;
        for number in 0.. {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // The first round is the seed's own, so that a round's seed brings that round again.
            let of_round = if number == 0 { seed } else { seed.wrapping_add(number) };
            let played = round::play(&cluster, of_round, left.min(ROUND), &listed, findings);
            memory::look(&cluster, findings);
            let crash = log.look(&cluster, &listed, findings)?;
            match (played, crash) {
                (_, Some(crash)) => outcome = Err(anyhow::anyhow!("the server crashed:\n{crash}")),
                (Err(error), None) => outcome = Err(error),
                (Ok(number), None) => calls += number,
            }
            if let Err(error) = outcome {
                outcome =
                    Err(error.context(format!("in the round of PG_STEWARD_FUZZ_SEED={of_round}")));
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let rows = inserter.join().unwrap();
        let (succeeded, outcomes) = findings.outcomes();
        eprintln!("{calls} calls, {rows} rows inserted meanwhile; {outcomes}");
        if outcome.is_ok() && (succeeded == 0 || rows == 0) {
            bail!("nothing was tried");
        }
        outcome
    })
}

fn prepare(cluster: &Cluster) -> Result<()> {
    let mut client = cluster.connect("postgres")?;
    client.batch_execute(relations::ROLES)?;
    let cold = server_directory()?;
    client.batch_execute(&format!("CREATE TABLESPACE cold LOCATION '{}'", cold.display()))?;
    client.batch_execute("GRANT CREATE ON TABLESPACE cold TO app").context("the tablespace")?;
    refuge::found(cluster)
}
