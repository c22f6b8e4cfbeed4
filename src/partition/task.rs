//! One run on a set: looked at, planned, carried out.

use serde_json::Value;

use super::apply::{Outcome, naming};
use super::detail::Detail;
use super::range::{self, Drained};
use super::steps::Work;
use super::{prepare, retention, run};
use crate::error::Result;
use crate::jobs::{Ended, Look, Next, Planned, Task};
use crate::pg::transaction::Transactions;
use crate::pg::{Oid, clock, guc, subtransaction};
use crate::settings;

/// How long a look waits for a lock on a user's table while it has ours, in milliseconds.
const BRIEFLY_MILLISECONDS: i32 = 100;

/// Looks at a set, in a transaction on our tables. A lock that is not had in time is an error: it is better waited
/// for elsewhere.
pub(crate) fn plan(set: Oid, look: &Look) -> Result<Planned> {
    let work = look_at(set, look)?;
    Ok(match work.is_idle() {
        true => Planned::Nothing(ended(&work, &Outcome::default())),
        false => Planned::Task(Box::new(Maintenance { set, look: *look, work })),
    })
}

fn look_at(set: Oid, look: &Look) -> Result<Work> {
    let work =
        guc::with_lock_timeout(BRIEFLY_MILLISECONDS, || prepare(set, look.at, look.retry_at))?;
    range::note_seen(&work)?;
    if work.past.as_ref().is_some_and(|past| past.retention.is_some()) {
        forget_what_is_back(set)?;
    }
    Ok(work)
}

/// What retention has noted of tables that are partitions again, or gone; unless somebody holds that
/// locked, whom nothing else waits for.
fn forget_what_is_back(set: Oid) -> Result<()> {
    let forgotten = subtransaction::run(|| {
        guc::with_lock_timeout(settings::lock_timeout_milliseconds(), || retention::unmark(set))
    });
    match forgotten {
        Err(error) if error.is_lock_trouble() => Ok(()),
        outcome => outcome,
    }
}

/// What a set lacks is made, what is too old leaves or moves.
struct Maintenance {
    set: Oid,
    look: Look,
    work: Work,
}

impl Task for Maintenance {
    fn needs_worker(&self) -> bool {
        self.work.needs_worker()
    }

    fn run(
        &self,
        transactions: &Transactions<'_>,
        progress: &dyn Fn(Value) -> Result<()>,
    ) -> Result<Ended> {
        let progress = |so_far: &Outcome| progress(Detail::of(so_far).json());
        let outcome = run::carry_out(transactions, &self.work, progress)?;
        if !outcome.finalized() {
            return Ok(ended(&self.work, &outcome));
        }
        // A detach that somebody has broken off stood in the place of a period that may be wanted.
        let work = transactions
            .on_our_tables_without_waiting(|| look_at(self.set, &self.look))
            .map_err(|error| naming(transactions, self.set, error))?;
        let rest = run::carry_out(transactions, &work, progress)?;
        Ok(ended(&work, &outcome.followed_by(rest)))
    }
}

fn ended(work: &Work, outcome: &Outcome) -> Ended {
    let error = outcome.result().err();
    let more_at = outcome.more_at.unwrap_or(work.due_again_at).min(work.due_again_at);
    let next = match &error {
        None => Next::At(more_at),
        // What is looked at every so often waits as long as it has failed for: each look at what
        // is locked costs a worker lock_timeout.
        Some(error) if error.is_lock_trouble() && !work.has_clock() => {
            Next::Retry { at_the_latest: None }
        }
        // What failed does not keep the rest waiting that went well so far.
        Some(_) if !outcome.done.is_empty() => Next::Retry { at_the_latest: Some(more_at) },
        Some(_) => Next::Retry { at_the_latest: Some(work.due_again_at) },
    };
    let deferred = outcome.deferred.clone().filter(|_| error.is_none() && outcome.done.is_empty());
    Ended {
        deferred: deferred.is_some(),
        error: error.or(deferred),
        next,
        detail: Detail::of(outcome).json(),
    }
}

/// `drain_default()` of a set.
pub(crate) fn drain(set: Oid) -> Box<dyn Task> {
    Box::new(Drain { set })
}

struct Drain {
    set: Oid,
}

impl Task for Drain {
    fn run(
        &self,
        transactions: &Transactions<'_>,
        _progress: &dyn Fn(Value) -> Result<()>,
    ) -> Result<Ended> {
        let mut drained = Drained::default();
        let outcome = range::drain(transactions, self.set, &mut drained);
        let error = outcome.and_then(|()| drained.outcome.result()).err();
        Ok(Ended {
            error,
            deferred: false,
            // The rows may have stood in the way of the set's own job, which waits after its failures.
            next: match drained.outcome.done.is_empty() {
                true => Next::Unchanged,
                false => Next::At(clock::now()),
            },
            detail: Detail::of_drain(&drained).json(),
        })
    }
}
