//! On behalf of a session: one job that a worker runs while that waits, for what cannot be done inside of
//! that session's CALL.

use std::time::{Duration, Instant};

use super::run;
use crate::error::{Error, Result};
use crate::jobs::{self, Job};
use crate::pg::locks::TargetLock;
use crate::pg::transaction::{self, Transactions};
use crate::pg::worker_queue::{self, Line, Request};
use crate::pg::{Oid, databases, guc, places, report, signals, workers};
use crate::settings;

/// What the postmaster calls.
const ENTRY_POINT: &str = "pg_steward_on_behalf_main";

/// How often a session that waits for a place looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

workers::entry_point!(pg_steward_on_behalf_main, main);

/// Has a worker run a job; what it says is said here, what it fails with is the error.
pub(super) fn send(database: Oid, job: &Job) -> Result<()> {
    let _place = Place::take(job.owner)?;
    let name = databases::name(database).unwrap_or_default();
    worker_queue::send(
        "pg_steward executor",
        &format!("pg_steward executor: {name} job {}", job.job_id),
        ENTRY_POINT,
        Request {
            database: database.to_u32(),
            lock_timeout_milliseconds: settings::lock_timeout_milliseconds(),
            job_id: job.job_id,
            place: places::mine(),
        },
    )
}

/// A place among all that work, given back when this goes.
struct Place;

impl Place {
    /// Waits for one as for a lock. Errors: there is none (53400).
    fn take(owner: Oid) -> Result<Self> {
        let patience =
            Duration::from_millis(settings::lock_timeout_milliseconds().unsigned_abs().into());
        let until = Instant::now() + patience;
        while !places::take_on_behalf(owner, settings::limits()) {
            if Instant::now() >= until {
                return Err(Error::NoFreePlace);
            }
            signals::wait(LOOK_AGAIN);
        }
        Ok(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        places::leave();
    }
}

fn main(argument: workers::Argument) {
    let Some((line, database)) = Line::take_up(argument) else { return };
    let job_id = line.request.job_id;
    workers::show_as(&format!("pg_steward executor: {database} job {job_id}"));
    workers::report(Some(&format!("job {job_id}")));
    let timeout = line.request.lock_timeout_milliseconds.to_string();
    guc::session("pg_steward.lock_timeout", &timeout);
    places::work_in(line.request.place);
    let outcome = work(job_id);
    line.end();
    if let Err(error) = outcome {
        report::fail(error);
    }
}

fn work(job_id: i64) -> Result<()> {
    let (job, registry) =
        transaction::with_extension(|| Ok((jobs::find(job_id)?, jobs::registry()?)))?;
    // A run that came in between is waited for, as by whoever sent us.
    let lock = transaction::run(|| {
        Ok(guc::with_lock_timeout(0, || TargetLock::wait(registry, job.target)))
    })?;
    run::run(&Transactions::OnBehalf, &job, None, &lock)
}
