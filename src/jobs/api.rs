//! The SQL face of jobs: `pause_job`, `resume_job`, and what `alter_job` does.

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::catalog::{self, Job};
use super::runs;
use super::task::Kind;
use crate::error::{Error, Result};
use crate::pg::guc::Pinned;
use crate::pg::locks::{self, TableLock, TargetLock};
use crate::pg::{Oid, called, extension, identity, signals, transaction, wakeup};
use crate::settings;

const DAY_MICROSECONDS: i64 = 86_400_000_000;
/// What the server's own timeouts can hold (timeout.h: milliseconds in 32 bits); steward.job has it, too.
const LONGEST_RUNTIME_DAYS: i64 = 24;

/// A job, after making sure that the caller may steer it.
fn owned(job_id: i64, action: &'static str) -> Result<Job> {
    transaction::must_be_writable(action)?;
    extension::hold()?;
    let find = || identity::as_steward(|| catalog::find(job_id));
    let job = find()?;
    check_owner(&job)?;
    // Until we commit the target stays its owner's, as for a change of its policy.
    let name = catalog::target_owner(job.target)?.map(|(_, name)| name).unwrap_or_default();
    locks::in_time(&name, settings::lock_timeout_milliseconds(), || {
        locks::hold_table(job.target, TableLock::AccessShare);
        Ok(())
    })?;
    transaction::with_latest_snapshot(|| {
        let job = find()?;
        check_owner(&job)?;
        Ok(job)
    })
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
    called(|| {
        let _pinned = Pinned::begin();
        let job = owned(job_id, "pause_job()")?;
        identity::as_steward(|| {
            catalog::set_enabled(job.job_id, false)?;
            // Whoever holds the lock is running it; a row that says so without it was left by a crash,
            // and its pid may be anybody's by now.
            if cancel_running && TargetLock::try_take(catalog::registry()?, job.target).is_none() {
                for pid in runs::running_pids(job.job_id)? {
                    signals::cancel(pid)?;
                }
            }
            Ok(())
        })?;
        wakeup::at_commit();
        Ok(())
    })
}

#[pg_extern(sql = false)]
fn resume_job(job_id: i64) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let _pinned = Pinned::begin();
        let job = owned(job_id, "resume_job()")?;
        identity::as_steward(|| catalog::set_enabled(job.job_id, true))?;
        wakeup::at_commit();
        Ok(())
    })
}

/// What is to be changed of a job; None leaves a thing as it is.
pub(crate) struct Changes<'a> {
    pub(crate) schedule: Option<&'a str>,
    pub(crate) time_zone: Option<&'a str>,
    pub(crate) priority: Option<i32>,
    pub(crate) max_runtime: Option<Interval>,
    pub(crate) enabled: Option<bool>,
}

/// `has_clock` says whether the work on a target has one; the kind of work knows.
pub(crate) fn alter_job(
    job_id: Option<i64>,
    changes: Changes<'_>,
    has_clock: impl FnOnce(Kind, Oid) -> Result<bool>,
) -> Result<()> {
    let Changes { schedule, time_zone, priority, max_runtime, enabled } = changes;
    let job_id = job_id.ok_or(Error::NullArgument { argument: "job_id" })?;
    let job = owned(job_id, "alter_job()")?;
    let invalid = |argument, problem: String, hint: &str| Error::InvalidArgument {
        relation: format!("job {job_id}"),
        argument,
        problem,
        hint: hint.to_owned(),
    };
    let schedule = schedule.map(str::trim);
    let own_clock = schedule.is_some() && has_clock(Kind::parse(&job.kind)?, job.target)?;
    for (argument, given) in
        [("schedule", schedule.filter(|_| own_clock)), ("time_zone", time_zone)]
    {
        if let Some(text) = given {
            return Err(invalid(
                argument,
                format!("'{text}': the work itself says when this job is due"),
                "A partition set is looked at when its next period begins; see alter_range().",
            ));
        }
    }
    let schedule = match schedule {
        Some(text) => Some((
            text,
            identity::as_steward(|| catalog::every(text))?.ok_or_else(|| {
                invalid(
                    "schedule",
                    format!("'{text}' is no interval from 1 second to 1 day"),
                    "Say how often the set is looked at, for example '10 seconds'.",
                )
            })?,
        )),
        None => None,
    };
    if let Some(priority) = priority.filter(|priority| !(0..=100).contains(priority)) {
        return Err(invalid(
            "priority",
            format!("{priority} is not between 0 and 100"),
            "Of jobs that are due the highest runs first; 5 is the usual one.",
        ));
    }
    let microseconds = max_runtime.map(|time| {
        let days = i64::from(time.months()) * 30 + i64::from(time.days());
        days.saturating_mul(DAY_MICROSECONDS).saturating_add(time.micros())
    });
    let beyond = |time: &i64| !(0..=LONGEST_RUNTIME_DAYS * DAY_MICROSECONDS).contains(time);
    if microseconds.as_ref().is_some_and(beyond) {
        return Err(invalid(
            "max_runtime",
            format!("it is not between 0 and {LONGEST_RUNTIME_DAYS} days"),
            "For example '2 hours'; '0' means no limit.",
        ));
    }
    identity::as_steward(|| {
        catalog::alter(job.job_id, schedule, priority, microseconds)?;
        match enabled {
            Some(enabled) => catalog::set_enabled(job.job_id, enabled),
            None => Ok(()),
        }
    })?;
    wakeup::at_commit();
    Ok(())
}

/// For the trigger on steward.job.
#[pg_extern(sql = false)]
fn jobs_arrived() -> std::result::Result<(), ErrorReport> {
    called(|| {
        catalog::arrived()?;
        wakeup::at_commit();
        Ok(())
    })
}
