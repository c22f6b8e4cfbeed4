//! Transactions of our own: in workers, and inside procedures that commit.

use pgrx::{FromDatum, PgMemoryContexts, pg_sys};

use super::{Oid, extension, guc, subtransaction, utility, workers};
use crate::error::{Error, Result};

/// One transaction of a worker, with a snapshot. Committed when `work` returns Ok; when it returns
/// Err or an SQL error unwinds out of it, aborted, and the worker lives on.
pub(crate) fn run<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    run_after(|| Ok(()), work)
}

/// The same for work on our tables: the extension stays in place meanwhile. Errors: it is gone.
pub(crate) fn with_extension<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    run_after(extension::hold, work)
}

/// `lock` comes before the snapshot, which must not grow old in a queue.
fn run_after<T>(lock: impl FnOnce() -> Result<()>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: called from a worker's main loop, outside any transaction.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
    }
    let outcome = subtransaction::caught(|| {
        lock()?;
        // SAFETY: inside the transaction begun above.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
        let value = work()?;
        // SAFETY: pops the snapshot pushed above.
        unsafe { pg_sys::PopActiveSnapshot() };
        Ok(value)
    });
    let outcome = outcome.and_then(|value| {
        subtransaction::caught(|| {
            // SAFETY: ends the transaction begun above; a failing commit raises and is caught.
            unsafe { pg_sys::CommitTransactionCommand() };
            Ok(value)
        })
    });
    if outcome.is_ok() {
        // SAFETY: outside any transaction now. Without it autovacuum would not see what a worker
        // that stays for days writes into our tables.
        unsafe { pg_sys::pgstat_report_stat(false) };
    }
    if outcome.is_err() {
        // SAFETY: brings the backend back to idle whatever state the error left (xact.c).
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    outcome
}

/// Errors: nothing can be written here: on a standby (55000), or in a read-only transaction (25006). Said
/// before anything else, by the name of what was called.
pub(crate) fn must_be_writable(action: &'static str) -> Result<()> {
    if workers::in_recovery() {
        return Err(Error::OnStandby { action });
    }
    // SAFETY: reads a backend-local variable.
    match unsafe { pg_sys::XactReadOnly } {
        true => Err(Error::ReadOnly { action }),
        false => Ok(()),
    }
}

/// Runs `work` with a snapshot of this instant, which sees what others committed while the
/// transaction waited for a lock.
pub(crate) fn with_latest_snapshot<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: inside a transaction. When `work` unwinds, the abort pops the snapshot (xact.c,
    // AtSubAbort_Snapshot).
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let outcome = work();
    // SAFETY: pops the snapshot pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    outcome
}

/// Whether the current transaction does not see what others commit meanwhile: it is REPEATABLE READ or
/// SERIALIZABLE.
pub(crate) fn sees_the_past() -> bool {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// What a transaction sees of others, whatever the session's default is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Each statement sees what has been committed before it.
    ReadCommitted,
    /// All statements see the same; one that would change what somebody else has changed since, fails.
    RepeatableRead,
}

impl Isolation {
    /// As SET TRANSACTION does it; before the first snapshot, and until the transaction ends.
    fn set(self) {
        let level = match self {
            Self::ReadCommitted => pg_sys::XACT_READ_COMMITTED,
            Self::RepeatableRead => pg_sys::XACT_REPEATABLE_READ,
        };
        // SAFETY: the variable behind transaction_isolation, which StartTransaction resets
        // (src/backend/access/transam/xact.c).
        unsafe {
            debug_assert!(!pg_sys::FirstSnapshotSet, "too late to choose an isolation level");
            pg_sys::XactIsoLevel = level as i32;
        }
    }
}

/// When a commit is on disk, and where `synchronous_commit` asks for it, on standbys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// When it returns, as `synchronous_commit` has it.
    Now,
    /// With the next one that waits, or within three times `wal_writer_delay` (xact.c,
    /// RecordTransactionCommit): a crash before that may take it back.
    Later,
}

/// How a piece of work gets transactions of its own.
pub(crate) enum Transactions<'a> {
    /// In a worker: begin, work, commit.
    Worker,
    /// The same, on behalf of somebody who waits.
    OnBehalf,
    /// In a procedure: work in a subtransaction, then commit what the caller's transaction holds.
    Procedure(&'a Procedure),
}

impl Transactions<'_> {
    /// Runs `work` on our tables in a transaction of its own. Ok: committed. Err: nothing of it
    /// remains, and the next call starts afresh.
    pub(crate) fn on_our_tables<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        // A procedure has no SET clause of its own: without the pin, operators would be looked up in
        // the caller's search_path.
        self.begin(extension::hold, || guc::pinned(work))
    }

    /// The same for work that uses none of our tables, and so keeps no DROP EXTENSION waiting however
    /// long it takes.
    pub(crate) fn on_user_tables<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.begin(|| Ok(()), || guc::pinned(work))
    }

    /// The same at an isolation level of its own.
    pub(crate) fn isolated<T>(
        &self,
        isolation: Isolation,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let begin = || {
            isolation.set();
            Ok(())
        };
        self.begin(begin, || guc::pinned(work))
    }

    /// The same for what a crash may take back: the commit does not wait for the disk.
    pub(crate) fn on_our_tables_without_waiting<T>(
        &self,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.begin(extension::hold, || {
            // Outside the pinned level, which takes every setting back before the commit.
            guc::commit_without_waiting();
            guc::pinned(work)
        })
    }

    fn begin<T>(
        &self,
        lock: impl FnOnce() -> Result<()>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Worker | Self::OnBehalf => run_after(lock, work),
            Self::Procedure(procedure) => {
                // What one transaction allocates goes with it, however many there are in one CALL.
                let mut memory = PgMemoryContexts::new("pg_steward step");
                // SAFETY: the context lives through the call, and nothing that unwinds leaves it:
                // the subtransaction catches, and puts back the context it found.
                let outcome = unsafe {
                    memory.switch_to(|_| {
                        subtransaction::run(|| {
                            lock()?;
                            work()
                        })
                    })
                };
                procedure.commit();
                outcome
            }
        }
    }

    /// Whether they are a worker's, with nobody's transaction around them.
    pub(crate) fn in_worker(&self) -> bool {
        !matches!(self, Self::Procedure(_))
    }

    /// Whether a person waits for the outcome.
    pub(crate) fn attended(&self) -> bool {
        !matches!(self, Self::Worker)
    }

    /// Runs one statement with the rights of `owner`, by itself: such as commits on its own account
    /// (CONCURRENTLY). Each lock is waited for at most so many milliseconds. Err: what it had
    /// committed before stays. In a procedure there is no such place.
    pub(crate) fn alone(
        &self,
        owner: Oid,
        sql: &str,
        lock_timeout_milliseconds: i32,
        commit: Commit,
    ) -> Result<()> {
        match self {
            Self::Worker => utility::alone(owner, sql, lock_timeout_milliseconds, commit),
            Self::OnBehalf => {
                let outcome = utility::alone(owner, sql, lock_timeout_milliseconds, commit);
                // That of the session that waits.
                let timeout = lock_timeout_milliseconds.to_string();
                guc::session("pg_steward.lock_timeout", &timeout);
                outcome
            }
            Self::Procedure(_) => Err(Error::NeedsWorker),
        }
    }
}

/// A procedure that commits as it goes.
pub(crate) struct Procedure(());

impl Procedure {
    /// Enters a procedure. Errors: it was called inside a transaction block, where a commit is not
    /// its to make (25001).
    pub(crate) fn enter(fcinfo: pg_sys::FunctionCallInfo, name: &'static str) -> Result<Self> {
        // SAFETY: fcinfo is what the server called us with; for CALL its context is a CallContext
        // (src/backend/commands/functioncmds.c, ExecuteCallStmt).
        let atomic = unsafe {
            let context = (*fcinfo).context.cast::<pg_sys::CallContext>();
            context.is_null()
                || (*context).type_ != pg_sys::NodeTag::T_CallContext
                || (*context).atomic
        };
        if atomic {
            return Err(Error::InTransactionBlock { procedure: name });
        }
        // SAFETY: paired with SPI_finish in Drop; on an error AtEOXact_SPI cleans up.
        unsafe { pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32) };
        Ok(Self(()))
    }

    /// Commits and goes on in a new transaction.
    pub(crate) fn commit(&self) {
        // SAFETY: connected non-atomically; no nested SPI connection and no snapshot of ours is
        // open between two steps.
        unsafe { pg_sys::SPI_commit() };
    }
}

impl Drop for Procedure {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: paired with SPI_connect_ext.
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

/// An argument of the procedure that fcinfo calls; None when it is NULL.
pub(crate) fn argument<T: FromDatum>(fcinfo: pg_sys::FunctionCallInfo, index: usize) -> Option<T> {
    // SAFETY: fcinfo comes from the server and index is below the declared number of arguments.
    unsafe { pgrx::pg_getarg(fcinfo, index) }
}
