//! The procedures that do an executor's work while somebody waits: `maintain`, `run_job`,
//! `drain_default`; and `alter_job`, for only the work itself knows whether it has a clock.

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{kinds, on_behalf, run};
use crate::error::{Error, Result};
use crate::jobs::{self, Changes, Job, Kind};
use crate::pg::guc::Pinned;
use crate::pg::locks::TargetLock;
use crate::pg::transaction::{self, Procedure, Transactions, argument};
use crate::pg::{Oid, Text, called, databases, guc, identity, report};
use crate::{dump, partition};

#[pg_extern(sql = false)]
fn maintain(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let procedure = enter(fcinfo, "CALL steward.maintain()")?;
        let jobs = guc::pinned(|| match argument::<Oid>(fcinfo, 0) {
            Some(parent) => partition::owned_job(parent).map(|job| vec![job]),
            None => owned_jobs(),
        })?;
        Ok(run_all(&procedure, &jobs)?)
    })
}

#[pg_extern(sql = false)]
fn run_job(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let procedure = enter(fcinfo, "CALL steward.run_job()")?;
        let job_id =
            argument::<i64>(fcinfo, 0).ok_or(Error::NullArgument { argument: "job_id" })?;
        let job = guc::pinned(|| -> Result<Job> {
            let job = identity::as_steward(|| jobs::find(job_id))?;
            jobs::check_owner(&job)?;
            Ok(job)
        })?;
        Ok(run_all(&procedure, &[job])?)
    })
}

#[pg_extern(sql = false)]
fn drain_default(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let procedure = enter(fcinfo, "CALL steward.drain_default()")?;
        let parent =
            argument::<Oid>(fcinfo, 0).ok_or(Error::NullArgument { argument: "parent" })?;
        let job = guc::pinned(|| partition::drainable(parent))?;
        let registry = identity::as_steward(jobs::registry)?;
        let lock = TargetLock::wait(registry, job.target);
        // A snapshot from before the wait would not show what the other run did.
        procedure.commit();
        let transactions = Transactions::Procedure(&procedure);
        Ok(run::run_task(&transactions, &job, partition::drain(job.target), &lock)?)
    })
}

#[pg_extern(sql = false)]
fn alter_job(
    job_id: Option<i64>,
    schedule: Option<Text>,
    time_zone: Option<Text>,
    priority: Option<i32>,
    max_runtime: Option<Interval>,
    enabled: Option<bool>,
) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let schedule = schedule.as_deref();
        let time_zone = time_zone.as_deref();
        let _pinned = Pinned::begin();
        let changes = Changes { schedule, time_zone, priority, max_runtime, enabled };
        Ok(jobs::alter_job(job_id, changes, kinds::has_clock)?)
    })
}

fn enter(fcinfo: pgrx::pg_sys::FunctionCallInfo, name: &'static str) -> Result<Procedure> {
    transaction::must_be_writable(name)?;
    let procedure = Procedure::enter(fcinfo, name)?;
    guc::pinned(dump::take_over_for_caller)?;
    Ok(procedure)
}

/// The partition jobs of what the caller owns.
fn owned_jobs() -> Result<Vec<Job>> {
    let caller = identity::caller();
    identity::as_steward(|| jobs::owned(Kind::Partition, caller))
}

/// Runs jobs one after the other; what fails stops no other and is an error at the end.
fn run_all(procedure: &Procedure, jobs: &[Job]) -> Result<()> {
    let transactions = Transactions::Procedure(procedure);
    let registry = identity::as_steward(jobs::registry)?;
    let mut failures = Vec::new();
    for job in jobs {
        // Waits for a run of the same set, then runs: what that one did is planned again.
        // A snapshot from before the wait would show neither that nor a policy changed meanwhile.
        let lock = TargetLock::wait(registry, job.target);
        procedure.commit();
        let mut outcome = run::run(&transactions, job, None, &lock);
        drop(lock);
        if let Err(Error::NeedsWorker) = outcome {
            // Nothing of ours may be in its way meanwhile.
            procedure.commit();
            outcome = on_behalf::send(databases::mine(), job);
        }
        if let Err(error) = outcome {
            if error.is_cancel() {
                return Err(error);
            }
            if run::forget_orphan(&transactions, &error, job)? {
                continue;
            }
            if jobs.len() > 1 {
                let name = guc::pinned(|| jobs::target_name(job.target))?;
                report::failure(&name, &error);
            }
            failures.push(error);
        }
    }
    match failures.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        [first, ..] => Err(Error::JobsFailed {
            failed: failures.len(),
            jobs: jobs.len(),
            first: Box::new(first.clone()),
        }),
    }
}
