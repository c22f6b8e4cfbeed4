//! One run of one job: the same whether a worker or a person started it.
//!
//! Crash first: a worker's run is logged as started, in its own transaction, before anything is done
//! (jobs::claim).

use pgrx::JsonB;
use serde_json::json;

use super::SLEW_MICROSECONDS;
use super::detail::Detail;
use crate::error::{Error, Result};
use crate::jobs::{self, Ending, Job};
use crate::maintenance;
use crate::partition::{self, Outcome, Work};
use crate::pg::deadline::Deadline;
use crate::pg::locks::{self, TableLock, TargetLock};
use crate::pg::transaction::Transactions;
use crate::pg::{clock, identity, leaving, settings as pg_settings, subtransaction, wakeup};
use crate::{retention, settings};

/// How long a look waits for a lock on a user's table while it has ours, in milliseconds.
const BRIEFLY_MILLISECONDS: i32 = 100;

/// Runs a job whose lock the caller holds. `started` is the run that a worker has already logged; a
/// person who waits sees a crash, so for them it is logged when there turns out to be something to
/// do. Err: what went wrong, already logged in `job_runs`; or [`Error::NeedsWorker`], with nothing
/// done and nothing logged: a worker has to run it.
pub(super) fn run(
    transactions: &Transactions<'_>,
    job: &Job,
    started: Option<i64>,
    lock: &TargetLock,
) -> Result<()> {
    let outcome = {
        let _ours = leaving::Ours::begin(job.target);
        run_under(transactions, job, started, lock)
    };
    // The next one may be another owner's.
    clock::reseed();
    outcome
}

fn run_under(
    transactions: &Transactions<'_>,
    job: &Job,
    started: Option<i64>,
    _lock: &TargetLock,
) -> Result<()> {
    let now = clock::now();
    // Whoever waits wants to see it tried.
    let retry_at = if transactions.attended() { i64::MAX } else { now };
    let deadline = job.max_runtime.filter(|_| transactions.in_worker()).map(Deadline::after);
    // Losing the log of a look that found nothing in a crash loses nothing.
    let look = |is_first: bool| {
        transactions.own_without_waiting(|| {
            let work = pg_settings::with_lock_timeout(BRIEFLY_MILLISECONDS, || {
                maintenance::prepare(job.target, now, retry_at)
            })?;
            partition::note_seen(&work)?;
            if work.past.as_ref().is_some_and(|past| past.retention.is_some()) {
                forget_what_is_back(job)?;
            }
            if is_first && started.is_none() && work.is_idle() {
                record_idle(transactions, job, now, &work)?;
            }
            Ok(work)
        })
    };
    let prepared = match look(true) {
        // Waited for where nothing of ours is locked meanwhile, so that DROP EXTENSION, and the views
        // behind it, do not wait as long.
        Err(error) if error.is_lock_trouble() => transactions
            .step(|| {
                let lock_timeout = settings::lock_timeout_milliseconds();
                pg_settings::with_lock_timeout(lock_timeout, || {
                    locks::hold_table(job.target, TableLock::AccessShare);
                });
                Ok(())
            })
            .and_then(|()| look(true)),
        outcome => outcome,
    };
    let prepared = prepared.map_err(|error| partition::naming(transactions, job.target, error));
    if !transactions.in_worker() && prepared.as_ref().is_ok_and(Work::needs_worker) {
        return Err(Error::NeedsWorker);
    }
    let run_id = match started {
        Some(run_id) => run_id,
        None if prepared.as_ref().is_ok_and(Work::is_idle) => return Ok(()),
        None => transactions.own(|| identity::as_steward(|| jobs::start_run(job, None, now)))?,
    };
    let progress = |so_far: &Outcome| {
        let detail = JsonB(Detail::of(so_far).json());
        transactions.own(|| identity::as_steward(|| jobs::note_progress(run_id, detail)))
    };
    let outcome = prepared.and_then(|work| {
        let outcome = maintenance::carry_out(transactions, &work, progress)?;
        if !outcome.finalized() {
            return Ok((work, outcome));
        }
        // A detach that somebody has broken off stood in the place of a period that may be wanted.
        let work = look(false)?;
        let rest = maintenance::carry_out(transactions, &work, progress)?;
        Ok((work, outcome.followed_by(rest)))
    });
    let deadline_passed = deadline.is_some_and(Deadline::has_passed);
    finish(transactions, job, run_id, now, &outcome, deadline_passed)?;
    match outcome {
        Ok((_, outcome)) => outcome.result(),
        Err(error) => Err(error),
    }
}

/// What retention has noted of tables that are partitions again, or gone; unless somebody holds that
/// locked, whom nothing else waits for.
fn forget_what_is_back(job: &Job) -> Result<()> {
    let forgotten = subtransaction::run(|| {
        pg_settings::with_lock_timeout(settings::lock_timeout_milliseconds(), || {
            retention::withdraw(job.target)
        })
    });
    match forgotten {
        Err(error) if error.is_lock_trouble() => Ok(()),
        outcome => outcome,
    }
}

/// Logs, in the transaction that looked, that there was nothing to do.
fn record_idle(
    transactions: &Transactions<'_>,
    job: &Job,
    looked_at: i64,
    work: &Work,
) -> Result<()> {
    identity::as_steward(|| {
        jobs::record_idle_run(job, looked_at, JsonB(Detail::of(&Outcome::default()).json()))
    })?;
    note_next(transactions, job, work.due_again_at, 0)
}

fn finish(
    transactions: &Transactions<'_>,
    job: &Job,
    run_id: i64,
    began_at: i64,
    outcome: &Result<(Work, Outcome)>,
    deadline_passed: bool,
) -> Result<()> {
    let now = clock::now();
    let failed =
        |due_again_at| Ending::Failed { consecutive: job.failures.saturating_add(1), due_again_at };
    let (status, error, detail, ending) = match outcome {
        Ok((work, outcome)) => {
            let error = outcome.result().err();
            let more_at = outcome.more_at.unwrap_or(work.due_again_at).min(work.due_again_at);
            let ending = match &error {
                None => Ending::Succeeded { due_again_at: more_at },
                // What is looked at every so often waits as long as it has failed for: each look at what
                // is locked costs a worker lock_timeout.
                Some(error) if error.is_lock_trouble() && !work.has_clock() => failed(None),
                // What failed does not keep the rest waiting that went well so far.
                Some(_) if !outcome.done.is_empty() => failed(Some(more_at)),
                Some(_) => failed(Some(work.due_again_at)),
            };
            let (status, error) = match (&outcome.deferred, error) {
                (Some(reason), None) if outcome.done.is_empty() => {
                    ("deferred", Some(reason.clone()))
                }
                (_, error) => (status(error.as_ref(), deadline_passed), error),
            };
            (status, error, Detail::of(outcome).json(), ending)
        }
        Err(error) => {
            (status(Some(error), deadline_passed), Some(error.clone()), json!({}), failed(None))
        }
    };
    let failures = match ending {
        // Somebody stopped it: that says nothing of the job.
        Ending::Failed { .. } if status == "cancelled" => job.failures,
        Ending::Failed { consecutive, .. } => consecutive,
        Ending::Succeeded { .. } => 0,
    };
    let next = match now < began_at - SLEW_MICROSECONDS {
        true => now, // the clock was set back: what the work said by the other one is void
        false => jobs::next_run_at(now, ending, clock::random()),
    };
    transactions.own(|| {
        identity::as_steward(|| {
            jobs::finish_run(run_id, now, status, error.as_ref(), JsonB(detail.clone()))
        })?;
        note_next(transactions, job, next, failures)
    })
}

fn status(error: Option<&Error>, deadline_passed: bool) -> &'static str {
    match error {
        None => "succeeded",
        Some(error) if error.is_cancel() && deadline_passed => "timed_out",
        Some(error) if error.is_cancel() => "cancelled",
        Some(_) => "failed",
    }
}

/// Notes when the job runs next, unless somebody holds its row locked in an open transaction, who
/// must not pin us for longer than anybody else. The claim has put a worker's job off already.
pub(super) fn note_next(
    transactions: &Transactions<'_>,
    job: &Job,
    next_run_at: i64,
    failures: u32,
) -> Result<()> {
    let noted = subtransaction::run(|| {
        pg_settings::with_lock_timeout(settings::lock_timeout_milliseconds(), || {
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

/// Removes what is left of a policy whose table is gone. True: it was.
pub(super) fn forget_orphan(
    transactions: &Transactions<'_>,
    error: &Error,
    job: &Job,
) -> Result<bool> {
    if !matches!(error, Error::NoSuchRelation { .. }) {
        return Ok(false);
    }
    transactions.own(|| partition::forget(job.target))?;
    Ok(true)
}
