//! Run something, and if it fails take back all of it and keep the SQLSTATE.
//!
//! SPI does not return SQL errors, it unwinds; catching one without a subtransaction would commit
//! the rows that the failed statement had already written (src/backend/access/transam/README,
//! "Subtransaction handling").

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, PgTryBuilder, pg_sys};

use crate::error::{Error, Result};

/// An SQL error that was caught: what a client would have been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlError {
    /// The SQLSTATE as the server's own enum.
    pub(crate) code: PgSqlErrorCode,
    /// Primary message.
    pub(crate) message: String,
    /// DETAIL as the server wrote it, never a backtrace.
    pub(crate) detail: Option<String>,
    /// HINT.
    pub(crate) hint: Option<String>,
}

/// Runs `work` in a subtransaction: released when it returns Ok, rolled back when it returns Err or
/// when an SQL error unwinds out of it. Locks taken inside a rolled-back one are released.
///
/// A cancel or statement timeout (class 57) is not swallowed: the caller is told as
/// [`Error::Sql`] like any other and decides.
pub(crate) fn run<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: plain reads of backend-local globals; restored below on both ways out.
    let (context, owner) = unsafe { (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner) };
    // SAFETY: we are inside a transaction, as every caller of the pg room is; a NULL name is
    // allowed (xact.c, BeginInternalSubTransaction).
    unsafe {
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
    }
    let outcome = caught(work);
    // SAFETY: exactly one of release and rollback ends the subtransaction begun above; the memory
    // context and resource owner that were current before it are put back (as plpgsql does in
    // pl_exec.c, exec_stmt_block).
    unsafe {
        if outcome.is_ok() {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
    }
    outcome
}

/// Turns an unwinding SQL error into [`Error::Sql`]. The caller must roll back what was done.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    PgTryBuilder::new(AssertUnwindSafe(work))
        .catch_others(|cause| Err(Error::Sql(sql_error(cause))))
        .execute()
}

fn sql_error(cause: CaughtError) -> SqlError {
    let report = match cause {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
        CaughtError::RustPanic { ereport, .. } => ereport,
    };
    SqlError {
        code: report.sql_error_code(),
        message: report.message().to_owned(),
        // A debug build puts a Rust backtrace behind the detail's first lines.
        detail: report.detail().map(|text| text.lines().take(4).collect::<Vec<_>>().join("\n")),
        hint: report.hint().map(str::to_owned),
    }
}
