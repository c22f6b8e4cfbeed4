//! The SQL face of jobs: `pause_job`, `resume_job`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::catalog::{self, Job};
use crate::error::{Error, Result};
use crate::pg::locks::TargetLock;
use crate::pg::{extension, identity, signals, wakeup, workers};

/// A job, after making sure that the caller may steer it.
fn owned(job_id: i64, action: &'static str) -> Result<Job> {
    if workers::in_recovery() {
        return Err(Error::OnStandby { action });
    }
    extension::hold()?;
    let job = identity::as_steward(|| catalog::find(job_id))?;
    check_owner(&job)?;
    Ok(job)
}

/// Errors: the caller does not own the job's target (42501).
pub(crate) fn check_owner(job: &Job) -> Result<()> {
    match catalog::target_owner(job.target)? {
        Some((owner, relation)) if !identity::caller_is(owner) => {
            Err(Error::NotOwner { relation, owner: identity::role_name(owner)? })
        }
        _ => Ok(()),
    }
}

#[pg_extern(sql = false)]
fn pause_job(job_id: i64, cancel_running: bool) -> std::result::Result<(), ErrorReport> {
    let job = owned(job_id, "pause_job()")?;
    identity::as_steward(|| {
        catalog::set_enabled(job.job_id, false)?;
        // Whoever holds the lock is running it; a row that says so without it was left by a crash,
        // and its pid may be anybody's by now.
        if cancel_running && TargetLock::try_take(catalog::registry()?, job.target).is_none() {
            for pid in catalog::running_pids(job.job_id)? {
                signals::cancel(pid)?;
            }
        }
        Ok(())
    })?;
    wakeup::at_commit();
    Ok(())
}

#[pg_extern(sql = false)]
fn resume_job(job_id: i64) -> std::result::Result<(), ErrorReport> {
    let job = owned(job_id, "resume_job()")?;
    identity::as_steward(|| catalog::set_enabled(job.job_id, true))?;
    wakeup::at_commit();
    Ok(())
}
