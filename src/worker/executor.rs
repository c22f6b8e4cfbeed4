//! The executor: takes due jobs of its database one after the other until none is left.

use super::run;
use crate::error::{Error, Result};
use crate::jobs::{self, Ending, Job};
use crate::pg::locks::{self, TargetLock};
use crate::pg::transaction::{self, Transactions};
use crate::pg::{Oid, bounds, clock, places, report, shared_memory, signals, workers};
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
    let mut owner = None;
    while settings::enabled() && !workers::in_recovery() {
        signals::check();
        let now = clock::now();
        let has_turn = clock::is_within(now, started, TURN_MICROSECONDS);
        if !has_turn && owner.is_some_and(|owner| shared_memory::others_wait(oid, owner, now)) {
            return Ok(());
        }
        let Some((job, run_id, lock)) = claim(owner, has_turn)? else { return Ok(()) };
        owner = Some(job.owner);
        workers::show_as(&format!("pg_steward executor: {database} job {}", job.job_id));
        workers::report(Some(&format!("job {}", job.job_id)));
        let outcome = run::run(&Transactions::Worker, &job, Some(run_id), &lock);
        places::leave();
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

/// The first due job in turn that nobody else has, and whose owner may have one more at work: its run,
/// logged, and its lock. What somebody has locked comes after all others, for it may have to be waited for.
///
/// Whose job was the first, all are: what an owner's code leaves behind in a session (connections of dblink,
/// advisory locks, lastval()) is no other owner's to meet. After its turn it makes room for others.
fn claim(served: Option<Oid>, has_turn: bool) -> Result<Option<(Job, i64, TargetLock)>> {
    let claimed = transaction::with_extension(|| {
        let registry = jobs::registry()?;
        if locks::database_is_wanted() || locks::workers_are_kept_out(registry) {
            return Ok(None);
        }
        let now = clock::now();
        let due = jobs::due(now)?;
        let is_mine = |job: &Job| served.is_none_or(|owner| job.owner == owner);
        if !has_turn && !due.iter().all(is_mine) {
            return Ok(None);
        }
        let due = jobs::in_turn(due, |job| (job.owner, job.due_at), places::running);
        let mut locked = Vec::new();
        for job in due.into_iter().filter(is_mine) {
            if !bounds::can_open_now(job.target) {
                locked.push(job);
            } else if let Some(claimed) = try_claim(registry, &job, now)? {
                return Ok(Some(claimed));
            }
        }
        for job in locked {
            if let Some(claimed) = try_claim(registry, &job, now)? {
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    });
    if !matches!(claimed, Ok(Some(_))) {
        places::leave();
    }
    claimed
}

fn try_claim(registry: Oid, job: &Job, now: i64) -> Result<Option<(Job, i64, TargetLock)>> {
    if !places::take(job.owner, settings::limits()) {
        return Ok(None);
    }
    let Some(lock) = TargetLock::try_take(registry, job.target) else { return Ok(None) };
    let crashed =
        Ending::Failed { consecutive: job.failures.saturating_add(1), due_again_at: None };
    let if_it_crashes = jobs::next_run_at(now, crashed, clock::random());
    let claimed = jobs::claim(job.job_id, now, if_it_crashes)?;
    Ok(claimed.map(|(job, run_id)| (job, run_id, lock)))
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
