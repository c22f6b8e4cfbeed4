//! Carries steps out, one transaction each: the same for a person who waits and for a worker.

use super::steps::{Step, Work};
use super::{range, table};
use crate::error::{Error, Result};
use crate::pg::transaction::Transactions;
use crate::pg::{Oid, clock, identity, query, report, settings as pg_settings, signals};
use crate::settings;

/// Attempts at one step, when a lock is not to be had or a deadlock is broken at our cost.
pub(super) const ATTEMPTS: u32 = 3;
/// Between two attempts: from half of this to all of it, in milliseconds, doubling.
pub(super) const PAUSE_MILLISECONDS: u64 = 200;

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Partitions made, qualified.
    pub(crate) done: Vec<String>,
    /// The partitions that failed, and why.
    pub(crate) failed: Vec<(String, Error)>,
    /// Where the lowest of those begins.
    left_from: Option<i128>,
}

impl Outcome {
    /// Ok, or the error that a caller is told: the only one, or the first of several.
    pub(crate) fn result(&self) -> Result<()> {
        match self.failed.as_slice() {
            [] => Ok(()),
            [(_, only)] if self.done.is_empty() => Err(only.clone()),
            [(_, first), ..] => Err(Error::StepsFailed {
                failed: self.failed.len(),
                steps: self.failed.len() + self.done.len(),
                first: Box::new(first.clone()),
            }),
        }
    }
}

/// Takes every step, each in its own transaction; one that fails stops no other. Err: cancelled.
pub(crate) fn carry_out(transactions: &Transactions<'_>, work: &Work) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    // Written down before the first step: see `remember_make_up`.
    if work.remembered != work.make_up_from {
        transactions.own(|| range::remember_make_up(work.parent, work.make_up_from))?;
    }
    for step in &work.steps {
        let partition = step.partition.to_string();
        match attempt(transactions, work, step) {
            Ok(()) => {
                report::step(transactions.attended(), &format!("created partition {partition}"));
                outcome.done.push(partition);
            }
            Err(error) if error.is_cancel() => return Err(error),
            Err(error) => {
                report::failure(&partition, &error);
                outcome.failed.push((partition, error));
                outcome.left_from = lowest(outcome.left_from, step.begins);
            }
        }
    }
    if let Some(error) = &work.refused {
        report::failure("missed periods", error);
        outcome.failed.push(("missed periods".into(), error.clone()));
        outcome.left_from = lowest(outcome.left_from, work.make_up_from);
    }
    if outcome.left_from != work.make_up_from {
        transactions.own(|| range::remember_make_up(work.parent, outcome.left_from))?;
    }
    Ok(outcome)
}

/// The lower of two positions that may not be there.
pub(super) fn lowest(one: Option<i128>, other: Option<i128>) -> Option<i128> {
    one.into_iter().chain(other).min()
}

fn attempt(transactions: &Transactions<'_>, work: &Work, step: &Step) -> Result<()> {
    let mut tried = 0;
    loop {
        tried += 1;
        match transactions.step(|| take(work, step)) {
            Err(error) if error.is_lock_trouble() && tried < ATTEMPTS => {
                signals::pause(clock::jittered(PAUSE_MILLISECONDS << tried));
            }
            outcome => return outcome.map_err(|error| naming(transactions, work.parent, error)),
        }
    }
}

/// Says which set's lock was not had, where that is what went wrong.
pub(crate) fn naming(transactions: &Transactions<'_>, set: Oid, error: Error) -> Error {
    if !error.is_lock_trouble() {
        return error;
    }
    match transactions.own(|| table::name(set)) {
        Ok(Some(name)) => {
            error.naming_lock(&name.to_string(), settings::lock_timeout_milliseconds())
        }
        _ => error,
    }
}

/// Runs a step's statements as the set's owner, in the current transaction.
pub(super) fn take(work: &Work, step: &Step) -> Result<()> {
    if let Some(blocked) = &step.blocked {
        return Err(blocked.clone());
    }
    pg_settings::with_lock_timeout(settings::lock_timeout_milliseconds(), || {
        identity::as_owner(work.owner, || query::run(&step.sql))
    })
}
