//! The procedures that do an executor's work while somebody waits: `maintain`, `run_job`,
//! `drain_default`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{drain, errand, run};
use crate::dump;
use crate::error::{Error, Result};
use crate::jobs::{self, Job};
use crate::pg::locks::TargetLock;
use crate::pg::transaction::{self, Procedure, Transactions, argument};
use crate::pg::{Oid, called, databases, identity, query, report, settings};

#[pg_extern(sql = false)]
fn maintain(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let procedure = enter(fcinfo, "CALL steward.maintain()")?;
        let jobs = settings::pinned(|| match argument::<Oid>(fcinfo, 0) {
            Some(parent) => crate::partition::owned_job(parent).map(|job| vec![job]),
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
        let job = settings::pinned(|| -> Result<Job> {
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
        let job = settings::pinned(|| crate::partition::drainable(parent))?;
        Ok(drain::drain(&procedure, &job)?)
    })
}

fn enter(fcinfo: pgrx::pg_sys::FunctionCallInfo, name: &'static str) -> Result<Procedure> {
    transaction::must_be_writable(name)?;
    let procedure = Procedure::enter(fcinfo, name)?;
    settings::pinned(dump::take_over_for_caller)?;
    Ok(procedure)
}

/// The partition jobs of what the caller owns.
fn owned_jobs() -> Result<Vec<Job>> {
    let caller = identity::caller();
    identity::as_steward(|| jobs::owned("partition", caller))
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
            outcome = errand::send(databases::mine(), job);
        }
        if let Err(error) = outcome {
            if error.is_cancel() {
                return Err(error);
            }
            if run::forget_orphan(&transactions, &error, job)? {
                continue;
            }
            if jobs.len() > 1 {
                report::failure(&target_name(job.target)?, &error);
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

fn target_name(target: Oid) -> Result<String> {
    settings::pinned(|| {
        query::one("SELECT $1::pg_catalog.regclass::pg_catalog.text", &[target.into()], |row| {
            row.required(1)
        })
    })
}
