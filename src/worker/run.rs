//! One run of one job of any kind: the same whether a worker or a person started it.
//!
//! Crash first: a worker's run is logged as started, in its own transaction, before anything is done
//! (jobs::claim).

use pgrx::JsonB;
use serde_json::Value;

use super::{SLEW_MICROSECONDS, kinds};
use crate::error::{Error, Result};
use crate::jobs::{self, Ended, Ending, Job, Look, Next, Planned, Status, Task};
use crate::pg::deadline::Deadline;
use crate::pg::locks::{self, TableLock, TargetLock};
use crate::pg::transaction::Transactions;
use crate::pg::{clock, guc, identity, leaving, subtransaction, wakeup};
use crate::settings;

/// Runs a job whose lock the caller holds. `started` is the run that a worker has already logged; a
/// person who waits sees a crash, so for them it is logged when there turns out to be something to
/// do. Err: what went wrong, already logged in `job_runs`; or [`Error::NeedsWorker`], with nothing
/// done and nothing logged: a worker has to run it.
pub(super) fn run(
    transactions: &Transactions<'_>,
    job: &Job,
    started: Option<i64>,
    _lock: &TargetLock,
) -> Result<()> {
    let began_at = clock::now();
    let deadline = job.max_runtime.filter(|_| transactions.in_worker()).map(Deadline::after);
    let outcome = {
        let _ours = leaving::Ours::begin(job.target);
        plan(transactions, job, started.is_none(), began_at)
            .and_then(|planned| carry_out(transactions, job, started, began_at, planned, deadline))
    };
    // The next one may be another owner's.
    clock::reseed();
    outcome
}

/// Runs a task that is no job's own, such as `drain_default()`; logged as a run of the job all the same.
pub(super) fn run_task(
    transactions: &Transactions<'_>,
    job: &Job,
    task: Box<dyn Task>,
    _lock: &TargetLock,
) -> Result<()> {
    carry_out(transactions, job, None, clock::now(), Ok(Planned::Task(task)), None)
}

/// What there is to do; a failure to find that out is one of the run. Err: nobody can be told but the caller.
type Found = Result<Planned>;

fn plan(transactions: &Transactions<'_>, job: &Job, logs_idle: bool, now: i64) -> Result<Found> {
    // Whoever waits wants to see it tried.
    let retry_at = if transactions.attended() { i64::MAX } else { now };
    // Losing the log of a look that found nothing in a crash loses nothing.
    let look = || {
        transactions.on_our_tables_without_waiting(|| {
            let planned = kinds::plan(job, &Look { at: now, retry_at })?;
            if let Planned::Nothing(ended) = &planned
                && logs_idle
            {
                record_idle(transactions, job, now, ended)?;
            }
            Ok(planned)
        })
    };
    let found = match look() {
        // Waited for where nothing of ours is locked meanwhile, so that DROP EXTENSION, and the views
        // behind it, do not wait as long.
        Err(error) if error.is_lock_trouble() => transactions
            .on_user_tables(|| {
                let lock_timeout = settings::lock_timeout_milliseconds();
                guc::with_lock_timeout(lock_timeout, || {
                    locks::hold_table(job.target, TableLock::AccessShare);
                });
                Ok(())
            })
            .and_then(|()| look()),
        outcome => outcome,
    };
    match found {
        Err(error) if error.is_lock_trouble() => {
            let name = transactions.on_our_tables(|| jobs::target_name(job.target))?;
            let lock_timeout = settings::lock_timeout_milliseconds();
            Ok(Err(error.naming_lock(&name, lock_timeout)))
        }
        found => Ok(found),
    }
}

fn carry_out(
    transactions: &Transactions<'_>,
    job: &Job,
    started: Option<i64>,
    began_at: i64,
    found: Found,
    deadline: Option<Deadline>,
) -> Result<()> {
    if let Ok(Planned::Task(task)) = &found
        && !transactions.in_worker()
        && task.needs_worker()
    {
        return Err(Error::NeedsWorker);
    }
    let run_id = match (started, &found) {
        (Some(run_id), _) => run_id,
        (None, Ok(Planned::Nothing(_))) => return Ok(()), // it has been logged
        (None, _) => transactions
            .on_our_tables(|| identity::as_steward(|| jobs::start_run(job, None, began_at)))?,
    };
    let progress = |so_far: Value| {
        transactions
            .on_our_tables(|| identity::as_steward(|| jobs::note_progress(run_id, JsonB(so_far))))
    };
    let outcome = found.and_then(|planned| match planned {
        Planned::Nothing(ended) => Ok(ended),
        Planned::Task(task) => task.run(transactions, &progress),
    });
    let ended = outcome.unwrap_or_else(Ended::failed);
    let deadline_passed = deadline.is_some_and(Deadline::has_passed);
    finish(transactions, job, run_id, began_at, &ended, ended.status(deadline_passed))?;
    ended.result()
}

/// Logs, in the transaction that looked, that there was nothing to do.
fn record_idle(
    transactions: &Transactions<'_>,
    job: &Job,
    looked_at: i64,
    ended: &Ended,
) -> Result<()> {
    identity::as_steward(|| jobs::record_idle_run(job, looked_at, JsonB(ended.detail.clone())))?;
    match ended.next {
        Next::At(at) => note_next(transactions, job, at, 0),
        Next::Retry { .. } | Next::Unchanged => Ok(()),
    }
}

fn finish(
    transactions: &Transactions<'_>,
    job: &Job,
    run_id: i64,
    began_at: i64,
    ended: &Ended,
    status: Status,
) -> Result<()> {
    let now = clock::now();
    let ending = match ended.next {
        Next::At(due_again_at) => Some(Ending::Succeeded { due_again_at }),
        Next::Retry { at_the_latest } => Some(Ending::Failed {
            consecutive: job.failures.saturating_add(1),
            due_again_at: at_the_latest,
        }),
        Next::Unchanged => None,
    };
    transactions.on_our_tables(|| {
        identity::as_steward(|| {
            let detail = JsonB(ended.detail.clone());
            jobs::finish_run(run_id, now, status, ended.error.as_ref(), detail)
        })?;
        let Some(ending) = ending else { return Ok(()) };
        let failures = match ending {
            // Somebody stopped it: that says nothing of the job.
            Ending::Failed { .. } if status == Status::Cancelled => job.failures,
            Ending::Failed { consecutive, .. } => consecutive,
            Ending::Succeeded { .. } => 0,
        };
        let next = match now < began_at - SLEW_MICROSECONDS {
            true => now, // the clock was set back: what the work said by the other one is void
            false => jobs::next_run_at(now, ending, clock::random()),
        };
        note_next(transactions, job, next, failures)
    })
}

/// Notes when the job runs next, unless somebody holds its row locked in an open transaction, who
/// must not pin us for longer than anybody else. The claim has put a worker's job off already.
fn note_next(
    transactions: &Transactions<'_>,
    job: &Job,
    next_run_at: i64,
    failures: u32,
) -> Result<()> {
    let noted = subtransaction::run(|| {
        guc::with_lock_timeout(settings::lock_timeout_milliseconds(), || {
            identity::as_steward(|| reschedule(transactions, job, next_run_at, failures))
        })
    });
    match noted {
        Err(error) if error.is_lock_trouble() => Ok(()),
        outcome => outcome,
    }
}

/// Notes when the job runs next. After a run by hand nobody else tells the scheduler.
fn reschedule(
    transactions: &Transactions<'_>,
    job: &Job,
    next_run_at: i64,
    failures: u32,
) -> Result<()> {
    if jobs::reschedule(job, next_run_at, failures)? && transactions.attended() {
        wakeup::at_commit();
    }
    Ok(())
}

/// Removes what is left of a policy whose object is gone. True: it was.
pub(super) fn forget_orphan(
    transactions: &Transactions<'_>,
    error: &Error,
    job: &Job,
) -> Result<bool> {
    if !matches!(error, Error::NoSuchRelation { .. }) {
        return Ok(false);
    }
    transactions.on_our_tables(|| identity::as_steward(|| jobs::forget(job.target)))?;
    Ok(true)
}
