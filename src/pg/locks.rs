//! The lock that keeps a set from being worked on by two, and locks on users' tables.
//!
//! The first is a heavyweight lock on (our job table, target) that no SQL command can take, unlike an
//! advisory lock, so nobody can stall maintenance by guessing a number. It is held by the session
//! across the transactions of a run and goes with the process: a `running` row whose lock is free was
//! left by a crash. Visible in pg_locks as locktype `object`.

use pgrx::pg_sys;

use super::{guc, subtransaction};
use crate::error::Result;

/// Held until dropped.
pub(crate) struct TargetLock(pg_sys::LOCKTAG);

impl TargetLock {
    /// Takes the lock on `target`, waiting for a run in progress: interruptible, and under the
    /// session's own lock_timeout.
    pub(crate) fn wait(registry: pg_sys::Oid, target: pg_sys::Oid) -> Self {
        let tag = tag(registry, target);
        acquire(&tag, true, false);
        Self(tag)
    }

    /// Keeps runs of `target` away until the current transaction ends, waiting for one in progress
    /// under the lock_timeout in force.
    pub(crate) fn hold_in_transaction(registry: pg_sys::Oid, target: pg_sys::Oid) {
        acquire(&tag(registry, target), false, false);
    }

    /// Takes the lock if nobody has it.
    pub(crate) fn try_take(registry: pg_sys::Oid, target: pg_sys::Oid) -> Option<Self> {
        let tag = tag(registry, target);
        acquire(&tag, true, true).then(|| Self(tag))
    }
}

impl Drop for TargetLock {
    fn drop(&mut self) {
        // SAFETY: releases the one reference that this value stands for, while unwinding too;
        // LockRelease raises nothing but a WARNING.
        unsafe {
            pg_sys::LockRelease(&self.0, MODE, true);
        }
    }
}

/// How strongly a user's table is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableLock {
    /// Keeps it as it is: who changes its owner, or drops it, waits.
    AccessShare,
    /// Keeps writers out.
    Share,
    /// Keeps writers out, and others who do.
    ShareRowExclusive,
    /// Keeps everybody out.
    AccessExclusive,
}

/// Locks a table, by what it is and not by what it is called, until the current transaction ends, under the
/// lock_timeout in force. Asks for no
/// privilege: for locks that a statement of the same transaction is going to take anyway.
pub(crate) fn hold_table(table: pg_sys::Oid, lock: TableLock) {
    let mode = match lock {
        TableLock::AccessShare => pg_sys::AccessShareLock,
        TableLock::Share => pg_sys::ShareLock,
        TableLock::ShareRowExclusive => pg_sys::ShareRowExclusiveLock,
        TableLock::AccessExclusive => pg_sys::AccessExclusiveLock,
    };
    // SAFETY: locks an OID, whether or not it is a relation (still).
    unsafe { pg_sys::LockRelationOid(table, mode as pg_sys::LOCKMODE) }
}

/// How long a process waits for a lock before it looks for a deadlock.
pub(crate) fn deadlock_timeout_milliseconds() -> i32 {
    // SAFETY: a setting of this process.
    unsafe { pg_sys::DeadlockTimeout }
}

/// Does `work`, waiting for each lock at most so many milliseconds. The error says whose lock was not
/// had.
pub(crate) fn in_time<T>(
    relation: &str,
    milliseconds: i32,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    guc::with_lock_timeout(milliseconds, || subtransaction::run(work))
        .map_err(|error| error.naming_lock(relation, milliseconds))
}

/// Takes a [`TargetLock`]'s lock anew, which somebody's function may have given back with all advisory
/// locks. Where it has, the server says so in a WARNING. The current transaction has the lock too, so
/// nobody can have it in between.
pub(crate) fn renew(registry: pg_sys::Oid, target: pg_sys::Oid) {
    let tag = tag(registry, target);
    // SAFETY: as in Drop above.
    unsafe { pg_sys::LockRelease(&tag, MODE, true) };
    acquire(&tag, true, false);
}

const MODE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;

/// Whether somebody wants this database for themselves: DROP, RENAME and SET TABLESPACE hold ACCESS
/// EXCLUSIVE on it, CREATE DATABASE … TEMPLATE of it SHARE, while they wait up to 5 s for everybody
/// else to leave (src/backend/storage/ipc/procarray.c, CountOtherDBBackends). In a transaction, whose
/// end gives back what this takes.
///
/// No hook into these commands: wrapping other people's statements in pgrx's error handling would
/// cost their errors the CONTEXT.
pub(crate) fn database_is_wanted() -> bool {
    // SAFETY: a backend-local variable, constant once connected.
    let database = unsafe { pg_sys::MyDatabaseId };
    let tag = object_tag(pg_sys::InvalidOid, pg_sys::DatabaseRelationId, database);
    !acquire_as(&tag, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE, false, true)
}

/// Locks an object of this database until the transaction ends, if that is to be had without waiting. As
/// ConditionalLockDatabaseObject does (lmgr.c), which came with a minor release: 16.2 has none.
pub(super) fn try_hold_object(
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    mode: pg_sys::LOCKMODE,
) -> bool {
    // SAFETY: a backend-local variable, constant once connected.
    let database = unsafe { pg_sys::MyDatabaseId };
    let is_held = acquire_as(&object_tag(database, class, object), mode, false, true);
    if is_held {
        // SAFETY: what others have changed meanwhile is looked up anew; inside a transaction.
        unsafe { pg_sys::AcceptInvalidationMessages() };
    }
    is_held
}

/// Keeps the workers out of this database until this session ends, or discards what it has.
pub(crate) fn keep_workers_out(registry: pg_sys::Oid) {
    let mode = pg_sys::ShareLock as pg_sys::LOCKMODE;
    acquire_as(&tag(registry, pg_sys::InvalidOid), mode, true, false);
}

/// Whether a session does. In a transaction, whose end gives back what this takes; whoever else looks
/// is not in its way.
pub(crate) fn workers_are_kept_out(registry: pg_sys::Oid) -> bool {
    let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
    !acquire_as(&tag(registry, pg_sys::InvalidOid), mode, false, true)
}

/// Whether ACCESS EXCLUSIVE on a table can be had without waiting; then it is held until the
/// transaction ends.
pub(crate) fn table_is_free(table: pg_sys::Oid) -> bool {
    let mode = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: as above.
    unsafe { pg_sys::ConditionalLockRelationOid(table, mode) }
}

fn acquire(tag: &pg_sys::LOCKTAG, for_session: bool, only_try: bool) -> bool {
    acquire_as(tag, MODE, for_session, only_try)
}

fn acquire_as(
    tag: &pg_sys::LOCKTAG,
    mode: pg_sys::LOCKMODE,
    for_session: bool,
    only_try: bool,
) -> bool {
    // SAFETY: the tag lives through the call; a session lock needs no resource owner, another one
    // belongs to the current transaction's.
    let outcome = unsafe { pg_sys::LockAcquire(tag, mode, for_session, only_try) };
    outcome != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// Of a target's run: under the lock method of advisory locks, for an abort releases the session locks of the
/// default one (proc.c, ProcReleaseLocks), and a step that fails must not end the run's lock.
fn tag(registry: pg_sys::Oid, target: pg_sys::Oid) -> pg_sys::LOCKTAG {
    // SAFETY: a backend-local variable, constant once connected.
    let database = unsafe { pg_sys::MyDatabaseId };
    pg_sys::LOCKTAG {
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
        ..object_tag(database, registry, target)
    }
}

/// SET_LOCKTAG_OBJECT of src/include/storage/lock.h. An object of no database is a shared one.
fn object_tag(database: pg_sys::Oid, class: pg_sys::Oid, object: pg_sys::Oid) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: database.to_u32(),
        locktag_field2: class.to_u32(),
        locktag_field3: object.to_u32(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}
