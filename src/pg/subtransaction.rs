//! Run something, and if it fails take back all of it and keep the SQLSTATE.
//!
//! SPI does not return SQL errors, it unwinds; catching one without a subtransaction would commit
//! the rows that the failed statement had already written (src/backend/access/transam/README,
//! "Subtransaction handling").

use std::cell::Cell;
use std::ffi::CStr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI32, Ordering};

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, PgTryBuilder, pg_sys};

use super::encoding;
use super::version::server;
use crate::error::{Error, Result};

/// An SQL error that was caught: what a client would have been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlError {
    /// The SQLSTATE, where it is one of the server's own; else `P0001`, as of what a function raises without one.
    pub(crate) code: PgSqlErrorCode,
    /// The SQLSTATE whatever it is, packed as by MAKE_SQLSTATE (src/include/utils/elog.h).
    pub(crate) packed_sqlstate: i32,
    /// Primary message.
    pub(crate) message: String,
    /// DETAIL as the server wrote it, never a backtrace.
    pub(crate) detail: Option<String>,
    /// HINT.
    pub(crate) hint: Option<String>,
}

impl SqlError {
    /// Whether the server has refused it for want of a privilege (42501).
    pub(crate) fn lacks_privilege(&self) -> bool {
        self.code == PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
    }

    /// Whether it has not found what a name stands for.
    pub(crate) fn misses_object(&self) -> bool {
        use PgSqlErrorCode as Code;
        matches!(
            self.code,
            Code::ERRCODE_UNDEFINED_TABLE
                | Code::ERRCODE_UNDEFINED_FUNCTION
                | Code::ERRCODE_UNDEFINED_OBJECT
                | Code::ERRCODE_INVALID_SCHEMA_NAME
        )
    }
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
    let outcome = caught(|| {
        let value = work()?;
        // SAFETY: ends the subtransaction begun above. It may raise (a cancel that comes while it tells of
        // itself under client_min_messages = debug5): an error that left the subtransaction behind would
        // end the session at its next ROLLBACK (xact.c, UserAbortTransactionBlock).
        unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        Ok(value)
    });
    // SAFETY: what was not released is rolled back; the memory context and resource owner that were current
    // before are put back (as plpgsql does in pl_exec.c, exec_stmt_block).
    unsafe {
        if outcome.is_err() {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
    }
    outcome
}

/// Turns an unwinding SQL error into [`Error::Sql`]. The caller must roll back what was done.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: a backend-local global; put back below, on both ways out.
    let previous = unsafe { pg_sys::error_context_stack };
    let mut listener = pg_sys::ErrorContextCallback {
        previous,
        callback: Some(note_raised),
        arg: std::ptr::null_mut(),
    };
    // SAFETY: the listener lives in this frame until it is taken off the stack again.
    unsafe { pg_sys::error_context_stack = &raw mut listener };
    let outcome = PgTryBuilder::new(AssertUnwindSafe(work))
        .catch_others(|cause| Err(Error::Sql(sql_error(cause))))
        .execute();
    // SAFETY: as above.
    unsafe { pg_sys::error_context_stack = previous };
    outcome
}

/// What the server raised last. pgrx's error type knows only the server's own codes, and what a
/// function of a user's raises may be of their own making; only while an error is being raised can
/// one ask for it (elog.c, errfinish and geterrcode).
static RAISED: AtomicI32 = AtomicI32::new(0);

unsafe extern "C-unwind" fn note_raised(_argument: *mut std::ffi::c_void) {
    // SAFETY: called by errfinish, as an error context callback.
    RAISED.store(unsafe { pg_sys::geterrcode() }, Ordering::Relaxed);
    if !encoding::is_utf8() {
        // SAFETY: as above.
        unsafe { note_texts() };
    }
}

/// Message, detail and hint of what the server raised last, in its encoding: pgrx's error type has them as
/// UTF-8, and where they are not, has lost them.
#[derive(Default)]
struct Texts {
    message: Vec<u8>,
    detail: Option<Vec<u8>>,
    hint: Option<Vec<u8>>,
}

thread_local! {
    static TEXTS: Cell<Option<Texts>> = const { Cell::new(None) };
}

/// # Safety
/// Within an error context callback.
unsafe fn note_texts() {
    // SAFETY: as CopyErrorData wants it, in another memory context than the one that reports are made in; what
    // it raises, for want of memory, takes the place of the report.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        let report = server::CopyErrorData();
        let text = |text: *mut std::ffi::c_char| {
            (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes().to_owned())
        };
        if (*report).elevel >= pg_sys::PGERROR as i32 {
            TEXTS.set(Some(Texts {
                message: text((*report).message).unwrap_or_default(),
                detail: text((*report).detail),
                hint: text((*report).hint),
            }));
        }
        server::FreeErrorData(report);
        pg_sys::CurrentMemoryContext = context;
    }
}

fn sql_error(cause: CaughtError) -> SqlError {
    let raised = RAISED.swap(0, Ordering::Relaxed);
    let (report, from_server) = match cause {
        CaughtError::PostgresError(report) => (report, true),
        CaughtError::ErrorReport(report) => (report, false),
        CaughtError::RustPanic { ereport, .. } => (ereport, false),
    };
    let code = report.sql_error_code();
    if let Some(code) = meanwhile(report.message()).filter(|_| from_server) {
        return SqlError {
            code,
            packed_sqlstate: code as i32,
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            hint: Some("Somebody has dropped or changed it meanwhile: try again.".into()),
        };
    }
    let unknown = from_server && raised != 0 && code == PgSqlErrorCode::ERRCODE_INTERNAL_ERROR;
    let packed_sqlstate = if unknown { raised } else { code as i32 };
    let code = if unknown { PgSqlErrorCode::ERRCODE_RAISE_EXCEPTION } else { code };
    // Unless it is another one, which has been dealt with.
    let texts = TEXTS
        .take()
        .filter(|texts| from_server && String::from_utf8_lossy(&texts.message) == report.message());
    if let Some(Texts { message, detail, hint }) = texts {
        let decode = |text: Vec<u8>| encoding::decode(&text);
        let (detail, hint) = (detail.map(decode), hint.map(decode));
        return SqlError { code, packed_sqlstate, message: decode(message), detail, hint };
    }
    SqlError {
        code,
        packed_sqlstate,
        message: report.message().to_owned(),
        detail: report.detail().map(str::to_owned),
        hint: report.hint().map(str::to_owned),
    }
}

/// What the server calls an internal error (elog, never translated) where somebody has dropped or altered
/// something between our look at the catalog and our use of it: no error of the server's, nor of ours.
fn meanwhile(message: &str) -> Option<PgSqlErrorCode> {
    let gone = ["could not open relation with OID ", "cache lookup failed for "];
    if gone.iter().any(|start| message.starts_with(start)) {
        return Some(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT);
    }
    message
        .starts_with("tuple concurrently ")
        .then_some(PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_meanwhile_is_no_internal_error() {
        for (message, code) in [
            ("could not open relation with OID 38047", PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT),
            ("cache lookup failed for index 7", PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT),
            ("tuple concurrently deleted", PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE),
        ] {
            assert_eq!(meanwhile(message), Some(code), "{message}");
        }
        assert_eq!(meanwhile("could not read block 0"), None);
    }
}
