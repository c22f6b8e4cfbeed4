//! Takes the steps of retention and tiering, each in a transaction of its own.

use std::cell::Cell;

use super::catalog::ArchiveFunction;
use super::{catalog, references, steps};
use crate::error::{Error, Result};
use crate::jobs;
use crate::partition::apply as partition;
use crate::partition::range::RetentionAction;
use crate::partition::steps::{Action, Step, Work};
use crate::partition::table;
use crate::pg::locks::{self, TableLock};
use crate::pg::transaction::{self, Commit, Transactions};
use crate::pg::{Oid, clock, extension, guc, identity, trigger};
use crate::settings;

/// How much there is to copy: none yet, and of how many bytes; None: no step copies.
pub(crate) fn bytes(work: &Work) -> Option<(i64, i64)> {
    let sizes: Vec<i64> = work.steps.iter().filter_map(|step| step.copies).collect();
    (!sizes.is_empty()).then(|| (0, sizes.iter().sum()))
}

/// Whether nobody holds or waits for what a step copies, at this moment. In a transaction of its own,
/// whose end lets go.
pub(crate) fn is_free(step: &Step) -> Result<bool> {
    let Some(subject) = step.subject else { return Ok(true) };
    Ok(table::tree(subject)?.into_iter().all(locks::table_is_free))
}

/// Takes a step that is about `subject`.
pub(crate) fn take(
    transactions: &Transactions<'_>,
    work: &Work,
    step: &Step,
    subject: Oid,
) -> Result<()> {
    if let Some(blocked) = &step.blocked {
        if step.action == Action::Archive {
            note_failure(transactions, subject, blocked)?;
        }
        return Err(blocked.clone());
    }
    match step.action {
        Action::Detach if !step.references.is_empty() => {
            references::look(transactions, work, step)?;
            references::in_time(step, || {
                transactions.on_user_tables(|| detach_at_once(work, step, subject))
            })
        }
        Action::Detach if step.alone => detach(transactions, work, step, subject),
        Action::Detach => transactions.on_user_tables(|| detach_at_once(work, step, subject)),
        Action::Archive => archive(transactions, work, step, subject),
        Action::Drop => transactions.on_user_tables(|| drop_table(work, step, subject)),
        Action::Move if step.copies.is_none() => {
            transactions.on_user_tables(|| relocate(work, step, subject))
        }
        Action::Finalize | Action::Move | Action::Create => transactions.on_user_tables(|| {
            expect_name(step, subject)?;
            partition::take(work, step)
        }),
    }
}

/// Written down first that it is ours: whatever ends us, no table is left of which nobody knows. That
/// commit need not wait for the disk, for it gets there before the one that detaches does.
///
/// An attempt before this one that was broken off half way is finished: the server begins no DETACH …
/// CONCURRENTLY anew (tablecmds.c, MarkInheritDetached).
fn detach(transactions: &Transactions<'_>, work: &Work, step: &Step, subject: Oid) -> Result<()> {
    let is_pending = transactions.on_our_tables_without_waiting(|| {
        expect_name(step, subject)?;
        let is_pending = catalog::is_pending(work.parent, subject)?;
        if !is_pending {
            mark(work, subject)?;
        }
        Ok(is_pending)
    })?;
    if is_pending {
        return transactions.on_user_tables(|| {
            expect_name(step, subject)?;
            partition::take(work, &steps::finalizing(step))
        });
    }
    let lock_timeout = settings::lock_timeout_milliseconds();
    let outcome = transactions.alone(work.owner, &step.sql, lock_timeout, durability(work));
    if outcome.is_err() {
        // It may have stayed. Whoever detaches it later has reasons of their own, and it is theirs.
        transactions.on_our_tables(|| catalog::unmark(work.parent))?;
    }
    outcome
}

/// A detach gets to the disk with the archive's note or the drop that follows it: after a crash before
/// that the partition is in the set again, as it would be after one just before the detach. One that
/// is to be kept is on disk when it is said to have left.
fn durability(work: &Work) -> Commit {
    let retention = work.past.as_ref().and_then(|past| past.retention.as_ref());
    match retention.map(|policy| policy.fate) {
        Some(RetentionAction::Drop) => Commit::Later,
        Some(RetentionAction::Detach) | None => Commit::Now,
    }
}

/// Both in one transaction.
fn detach_at_once(work: &Work, step: &Step, subject: Oid) -> Result<()> {
    // All that the statement locks, the set first, but for tables that point to it; only then what is ours.
    let default = table::default_partition(work.parent)?;
    let tables: Vec<Oid> = [work.parent].into_iter().chain(default).chain([subject]).collect();
    let lock_timeout = match step.references.is_empty() {
        true => settings::lock_timeout_milliseconds(),
        false => references::patience(),
    };
    guc::with_lock_timeout(lock_timeout, || {
        references::lock(step);
        tables.iter().for_each(|table| locks::hold_table(*table, TableLock::AccessExclusive));
        extension::hold_now()?;
        expect_name(step, subject)?;
        mark(work, subject)?;
        partition::take(work, step)
    })
}

/// Writes down what a partition leaves for, and takes back what an earlier run, that was ended by
/// force, had written of others which have stayed.
fn mark(work: &Work, subject: Oid) -> Result<()> {
    catalog::unmark(work.parent)?;
    let Some(past) = &work.past else { return Ok(()) };
    let period = past.periods.iter().find(|period| period.oid == subject);
    let (Some(period), Some(policy)) = (period, &past.retention) else { return Ok(()) };
    let is_moved = |step: &Step| step.subject == Some(subject) && step.action == Action::Move;
    let settled = policy.fate == RetentionAction::Detach && !work.steps.iter().any(is_moved);
    catalog::mark(work.parent, period, policy, settled)
}

/// The step's SQL goes by name; somebody may have given that to another table meanwhile.
fn expect_name(step: &Step, subject: Oid) -> Result<bool> {
    let state = transaction::with_latest_snapshot(|| catalog::state(subject))?;
    match state {
        Some((name, is_partition)) if name == step.partition => Ok(is_partition),
        _ => Err(Error::PartitionChanged { partition: step.partition.to_string() }),
    }
}

/// Locked by what it is, then looked at again, then dropped by its name.
///
/// That a table is dropped is noted in our tables by a trigger: the extension stays in place meanwhile.
fn drop_table(work: &Work, step: &Step, subject: Oid) -> Result<()> {
    under_lock(subject, TableLock::AccessExclusive, || {
        extension::hold_now()?;
        if transaction::with_latest_snapshot(|| catalog::state(subject))?.is_none() {
            return Ok(()); // the archive function, or somebody, was faster
        }
        let changed = || Error::PartitionChanged { partition: step.partition.to_string() };
        if expect_name(step, subject)? {
            return Err(changed());
        }
        partition::take(work, step)?;
        // Its schema may have been renamed in between: then it was another one.
        match transaction::with_latest_snapshot(|| catalog::state(subject))? {
            None => Ok(()),
            Some(_) => Err(changed()),
        }
    })
}

fn relocate(work: &Work, step: &Step, subject: Oid) -> Result<()> {
    under_lock(subject, TableLock::AccessExclusive, || {
        expect_name(step, subject)?;
        for (role, sql) in &step.as_others {
            identity::as_owner(*role, |scope| scope.run(sql))?;
        }
        partition::take(work, step)?;
        extension::hold_now()?;
        catalog::done(subject)
    })
}

/// Nobody writes into the table between the function's look at it and its end, nor is it archived by
/// two. That it said true is noted in the same transaction: what it archived in this database and the
/// note are there together, or not at all.
fn archive(transactions: &Transactions<'_>, work: &Work, step: &Step, subject: Oid) -> Result<()> {
    if transactions.on_our_tables_without_waiting(|| catalog::is_archived(subject))? {
        return Ok(());
    }
    // Crash first: what takes this process down with it is a failure, too.
    if transactions.on_our_tables_without_waiting(|| catalog::ask(subject))? {
        let error = Error::NoAnswer { partition: step.partition.to_string() };
        note_failure(transactions, subject, &error)?;
        transactions.on_our_tables_without_waiting(|| catalog::ask(subject))?;
    }
    let asked = Cell::new(false);
    let outcome = transactions.on_user_tables(|| {
        // pg_advisory_unlock_all() gives back the run's lock too, but not this one, which is the
        // transaction's (lock.c, LockReleaseSession).
        identity::as_steward(|| jobs::keep_runs_away(work.parent))?;
        let tree = transaction::with_latest_snapshot(|| table::tree(subject))?;
        under_locks(&tree, TableLock::ShareRowExclusive, || match expect_name(step, subject)? {
            true => Err(Error::PartitionChanged { partition: step.partition.to_string() }),
            false => Ok(()),
        })?;
        // From here on nothing of ours is locked, however long it takes.
        let function = archive_function(work)?;
        asked.set(true);
        let answer = identity::as_owner(work.owner, |scope| {
            guc::refusing_hidden_rows(|| scope.asks(function.oid, subject, &step.sql))
        })?;
        identity::as_steward(|| jobs::renew_lock(work.parent))?;
        if answer != Some(true) {
            return Err(Error::NotArchived { partition: step.partition.to_string(), answer });
        }
        extension::hold_now()?;
        seal(work, subject)?;
        catalog::note_archived(subject)
    });
    match &outcome {
        // Of ours, before it was called; what the function raises is its own.
        Err(error) if error.is_lock_trouble() && !asked.get() => {
            transactions.on_our_tables_without_waiting(|| catalog::not_asked(subject))?;
        }
        Err(error) => note_failure(transactions, subject, error)?,
        Ok(()) => {}
    }
    outcome
}

/// From its archive's end to its drop a table stays as it is: what is written into it would be in
/// neither. Whoever waits for the function to end would be the first to.
///
/// The function may have dropped the table, or attached it to another one.
fn seal(work: &Work, subject: Oid) -> Result<()> {
    match transaction::with_latest_snapshot(|| catalog::state(subject))? {
        Some((_, false)) => {
            let function = trigger::refuse_write()?;
            identity::as_owner(work.owner, |scope| {
                trigger::before_each_row(scope, subject, steps::SEAL, function)
            })?;
            extension::take_along(subject, steps::SEAL)
        }
        _ => Ok(()),
    }
}

/// Writes down that the archive function has failed, and when it is asked again.
fn note_failure(transactions: &Transactions<'_>, subject: Oid, error: &Error) -> Result<()> {
    transactions.on_our_tables(|| {
        let failures = catalog::failures(subject)?.saturating_add(1);
        let pause = jobs::backoff(failures, clock::random());
        catalog::note_failure(subject, error, clock::now().saturating_add(pause))
    })
}

/// The function as it is now: the plan may be hours old, and somebody else's may go by that name.
fn archive_function(work: &Work) -> Result<ArchiveFunction> {
    let retention = work.past.as_ref().and_then(|past| past.retention.as_ref());
    let signature = retention.and_then(|policy| policy.archive_function.as_deref());
    transaction::with_latest_snapshot(|| {
        let set = table::name(work.parent)?.map(|name| name.to_string()).unwrap_or_default();
        catalog::archive_function(&set, signature.unwrap_or_default(), work.owner)
    })
}

fn under_lock<T>(subject: Oid, lock: TableLock, work: impl FnOnce() -> Result<T>) -> Result<T> {
    under_locks(&[subject], lock, work)
}

fn under_locks<T>(
    subjects: &[Oid],
    lock: TableLock,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    guc::with_lock_timeout(settings::lock_timeout_milliseconds(), || {
        subjects.iter().for_each(|subject| locks::hold_table(*subject, lock));
        work()
    })
}
