//! Takes a step, and what came of it: the same for a person who waits and for a worker.

use super::steps::{Action, Step, Work};
use super::table;
use crate::error::{Error, Result};
use crate::pg::transaction::Transactions;
use crate::pg::{Oid, clock, guc, ident, identity, query, signals};
use crate::settings;

/// Attempts at one step, when a lock is not to be had or a deadlock is broken at our cost.
const ATTEMPTS: u32 = 3;
/// Between two attempts: from half of this to all of it, in milliseconds, doubling.
const PAUSE_MILLISECONDS: u64 = 200;

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What was done, and to which partition, qualified.
    pub(crate) done: Vec<(Action, String)>,
    /// The partitions that failed, and why.
    pub(crate) failed: Vec<(String, Error)>,
    /// Of the steps that copy: bytes copied, and to copy.
    pub(crate) bytes: Option<(i64, i64)>,
    /// Somebody asked it to stop, or its time was up.
    pub(crate) cancelled: Option<Error>,
    /// Why a worker has not done what it was to do.
    pub(crate) deferred: Option<Error>,
    /// It found no place for what takes long, and comes back for it.
    pub(crate) waits_for_place: bool,
    /// A worker has left the rest to a run at this instant, in microseconds since 2000-01-01 UTC.
    pub(crate) more_at: Option<i64>,
    /// Where the lowest of those not made begins.
    pub(crate) left_from: Option<i128>,
}

impl Outcome {
    /// Whether a detach that was broken off has been finished, and nobody has asked to stop since.
    pub(crate) fn finalized(&self) -> bool {
        self.cancelled.is_none() && self.done.iter().any(|(action, _)| *action == Action::Finalize)
    }

    /// What came of two goes of one run.
    pub(crate) fn followed_by(mut self, rest: Self) -> Self {
        self.done.extend(rest.done);
        self.failed.extend(rest.failed);
        let sum = |one: (i64, i64), other: (i64, i64)| (one.0 + other.0, one.1 + other.1);
        self.bytes = match (self.bytes, rest.bytes) {
            (Some(one), Some(other)) => Some(sum(one, other)),
            (one, other) => one.or(other),
        };
        Self {
            cancelled: rest.cancelled,
            deferred: rest.deferred,
            waits_for_place: rest.waits_for_place,
            more_at: rest.more_at,
            left_from: rest.left_from,
            ..self
        }
    }

    /// Ok, or the error that a caller is told: the only one, or the first of several.
    pub(crate) fn result(&self) -> Result<()> {
        if let Some(cancelled) = &self.cancelled {
            return Err(cancelled.clone());
        }
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

/// Tries again where a lock was not had, or a deadlock was broken at our cost.
pub(crate) fn retried<T>(
    transactions: &Transactions<'_>,
    set: Oid,
    mut work: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut tried = 0;
    loop {
        tried += 1;
        match work() {
            Err(error) if error.is_lock_trouble() && tried < ATTEMPTS => {
                signals::try_pause(clock::jittered(PAUSE_MILLISECONDS << tried))?;
            }
            outcome => return outcome.map_err(|error| naming(transactions, set, error)),
        }
    }
}

/// Says which set's lock was not had, where that is what went wrong.
pub(crate) fn naming(transactions: &Transactions<'_>, set: Oid, error: Error) -> Error {
    if !error.is_lock_trouble() {
        return error;
    }
    match transactions.on_our_tables(|| table::name(set)) {
        Ok(Some(name)) => {
            error.naming_lock(&name.to_string(), settings::lock_timeout_milliseconds())
        }
        _ => error,
    }
}

/// Runs a step's statements as the set's owner, in the current transaction.
pub(crate) fn take(work: &Work, step: &Step) -> Result<()> {
    if let Some(blocked) = &step.blocked {
        return Err(blocked.clone());
    }
    guc::with_lock_timeout(settings::lock_timeout_milliseconds(), || {
        identity::as_owner(work.owner, |scope| scope.run(&step.sql))
    })
}

/// Says what may have gone wrong in a step of this owner's, where the server's own error does not. In a transaction.
pub(crate) fn explaining(error: Error, owner: Oid) -> Error {
    let Error::Sql(mut sql) = error else { return error };
    if sql.hint.is_none() && sql.lacks_privilege() {
        sql.hint = lacking(owner).ok();
    } else if sql.hint.is_none() && sql.misses_object() {
        sql.hint = Some(
            "If a function of an event trigger or a CHECK misses it: they run under search_path = pg_catalog, \
             pg_temp. Write names in full there, or add SET search_path to the function."
                .into(),
        );
    }
    Error::Sql(sql)
}

/// Whose rights were lacking, and what may have taken them away.
fn lacking(owner: Oid) -> Result<String> {
    let mut hint = format!(
        "Steps run as the owner of the set: GRANT what was denied TO {}, for example CREATE on the schema.",
        ident::name(&identity::role_name(owner)?)
    );
    let triggers = query::rows(
        "SELECT e.evtname::pg_catalog.text FROM pg_catalog.pg_event_trigger e
          WHERE e.evtevent = 'ddl_command_end' AND e.evtenabled <> 'D'
            AND (e.evttags IS NULL OR 'CREATE TABLE' = ANY (e.evttags)) ORDER BY 1",
        &[],
        |row| row.required::<String>(1),
    )?;
    if !triggers.is_empty() {
        let names: Vec<String> = triggers.iter().map(|name| ident::name(name)).collect();
        hint.push_str(&format!(
            " Look at event trigger {}: one that gives new tables another owner takes them from the step that makes \
             them.",
            names.join(", ")
        ));
    }
    Ok(hint)
}
