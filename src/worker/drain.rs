//! One run of `drain_default()`: logged like any other run of the set's job, crash first.

use pgrx::JsonB;

use super::detail::Detail;
use super::run;
use crate::error::{Error, Result};
use crate::jobs::{self, Job};
use crate::partition::{self, Drained};
use crate::pg::locks::TargetLock;
use crate::pg::transaction::{Procedure, Transactions};
use crate::pg::{clock, identity};

/// Moves what waits in the default partition of the job's set, while no other run works on it.
pub(super) fn drain(procedure: &Procedure, job: &Job) -> Result<()> {
    let transactions = Transactions::Procedure(procedure);
    let registry = identity::as_steward(jobs::registry)?;
    let _lock = TargetLock::wait(registry, job.target);
    // A snapshot from before the wait would not show what the other run did.
    procedure.commit();
    let run_id =
        transactions.own(|| identity::as_steward(|| jobs::start_run(job, None, clock::now())))?;
    let mut drained = Drained::default();
    let outcome = partition::drain(&transactions, job.target, &mut drained)
        .and_then(|()| drained.outcome.result());
    finish(&transactions, job, run_id, &drained, outcome.as_ref().err())?;
    outcome
}

fn finish(
    transactions: &Transactions<'_>,
    job: &Job,
    run_id: i64,
    drained: &Drained,
    error: Option<&Error>,
) -> Result<()> {
    let status = match error {
        None => "succeeded",
        Some(error) if error.is_cancel() => "cancelled",
        Some(_) => "failed",
    };
    transactions.own(|| {
        identity::as_steward(|| {
            let detail = JsonB(Detail::of_drain(drained).json());
            jobs::finish_run(run_id, clock::now(), status, error, detail)
        })?;
        // The rows may have stood in the way of the set's own job, which waits after its failures.
        match drained.outcome.done.is_empty() {
            true => Ok(()),
            false => run::note_next(transactions, job, clock::now(), 0),
        }
    })
}
