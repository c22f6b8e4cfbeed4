//! The executor: takes due jobs of its database one after the other until none is left.

use super::run;
use crate::error::{Error, Result};
use crate::jobs::{self, Ending, Job};
use crate::pg::locks::{self, TargetLock};
use crate::pg::transaction::{self, Transactions};
use crate::pg::{Oid, clock, report, shared_memory, signals, workers};
use crate::settings;

/// What the postmaster calls.
pub(super) const ENTRY_POINT: &str = "pg_steward_executor_main";

/// After so long another database that waits has its turn, in microseconds.
const TURN_MICROSECONDS: i64 = 5_000_000;

workers::entry_point!(pg_steward_executor_main, main);

fn main(argument: workers::Argument) {
    let (oid, database) = workers::connect(argument);
    match work(oid, &database) {
        // That the extension is gone is the scheduler's to find out.
        Ok(()) | Err(Error::NoExtension) => (),
        Err(error) => report::failure(&format!("executor in {database}"), &error),
    }
}

fn work(oid: Oid, database: &str) -> Result<()> {
    let started = clock::now();
    while settings::enabled() && !workers::in_recovery() {
        signals::check();
        let now = clock::now();
        if !clock::is_within(now, started, TURN_MICROSECONDS)
            && shared_memory::others_wait(oid, now)
        {
            return Ok(());
        }
        let Some((job, run_id, lock)) = claim()? else { return Ok(()) };
        workers::show_as(&format!("pg_steward executor: {database} job {}", job.job_id));
        workers::report(Some(&format!("job {}", job.job_id)));
        let outcome = run::run(&Transactions::Worker, &job, Some(run_id), &lock);
        if let Err(error) = outcome {
            if matches!(error, Error::NoExtension) {
                return Err(error);
            }
            report::failure(&format!("job {}", job.job_id), &error);
            run::forget_orphan(&Transactions::Worker, &error, &job)?;
        }
        workers::report(None);
    }
    Ok(())
}

/// The most urgent due job that nobody else has: its run, logged, and its lock.
fn claim() -> Result<Option<(Job, i64, TargetLock)>> {
    transaction::with_extension(|| {
        let registry = jobs::registry()?;
        if locks::database_is_wanted() || locks::workers_are_kept_out(registry) {
            return Ok(None);
        }
        let now = clock::now();
        for job in jobs::due(now)? {
            let Some(lock) = TargetLock::try_take(registry, job.target) else { continue };
            let crashed =
                Ending::Failed { consecutive: job.failures.saturating_add(1), due_again_at: None };
            let if_it_crashes = jobs::next_run_at(now, crashed, clock::random());
            if let Some((job, run_id)) = jobs::claim(job.job_id, now, if_it_crashes)? {
                return Ok(Some((job, run_id, lock)));
            }
        }
        Ok(None)
    })
}

/// Names an executor for the postmaster.
pub(super) fn start(database: Oid, name: &str) -> Option<workers::Worker> {
    workers::Worker::start(
        "pg_steward executor",
        &format!("pg_steward executor: {name}"),
        ENTRY_POINT,
        database,
    )
}
