//! Errors on their way out of a function of ours.
//!
//! pgrx keeps what an error says as Rust's text, its own and the server's, and hands that to the server as it
//! is. Where the server's encoding is another, the text is put right at the last moment: while the error is
//! being raised, a context callback may say anew what it says (src/backend/utils/error/elog.c, errfinish),
//! as those of PL/pgSQL and SQL functions do with its position.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CString, c_void};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use super::version::server;
use super::{encoding, subtransaction};
use crate::error::Result;

/// What a call gives back to SQL.
type Answer<T> = std::result::Result<T, ErrorReport>;

/// The whole of a function that SQL calls: what it fails with is said in the server's encoding.
pub(crate) fn called<T>(work: impl FnOnce() -> Answer<T>) -> Answer<T> {
    if encoding::is_utf8() {
        return work();
    }
    encoding::prepare();
    // Raised again by whoever called us: nothing of it remains.
    let outcome: Result<Answer<T>> = subtransaction::caught(|| Ok(work()));
    outcome.map_err(ErrorReport::from).flatten().map_err(in_server_encoding)
}

/// Message, detail and hint, as they are to be said.
struct Texts {
    message: CString,
    detail: Option<CString>,
    hint: Option<CString>,
}

/// A place on the server's stack of context callbacks that outlives the frames that unwind.
struct Place(UnsafeCell<pg_sys::ErrorContextCallback>);

// SAFETY: a server process has one thread.
unsafe impl Sync for Place {}

static PLACE: Place = Place(UnsafeCell::new(pg_sys::ErrorContextCallback {
    previous: std::ptr::null_mut(),
    callback: Some(say_anew),
    arg: std::ptr::null_mut(),
}));

thread_local! {
    static TEXTS: Cell<Option<Texts>> = const { Cell::new(None) };
}

/// Has the report, which is raised next, say what it says in the server's encoding.
pub(super) fn in_server_encoding(report: ErrorReport) -> ErrorReport {
    let texts = [Some(report.message()), report.detail(), report.hint()];
    if encoding::is_utf8() || texts.iter().flatten().all(|text| text.is_ascii()) {
        return report;
    }
    TEXTS.set(Some(Texts {
        message: encoding::encode_name(report.message()),
        detail: report.detail().map(encoding::encode_name),
        hint: report.hint().map(encoding::encode_name),
    }));
    let place = PLACE.0.get();
    // SAFETY: the place is static, and is on the stack once at most.
    unsafe {
        if pg_sys::error_context_stack != place {
            (*place).previous = pg_sys::error_context_stack;
            pg_sys::error_context_stack = place;
        }
    }
    report
}

unsafe extern "C-unwind" fn say_anew(_argument: *mut c_void) {
    const AS_IS: *const std::ffi::c_char = c"%s".as_ptr();
    // SAFETY: called by errfinish, for the report that is being raised, which copies the texts. Whoever goes
    // through the stack now still finds what was below.
    unsafe {
        if pg_sys::error_context_stack == PLACE.0.get() {
            pg_sys::error_context_stack = (*PLACE.0.get()).previous;
        }
        let Some(texts) = TEXTS.take() else { return };
        pg_sys::errmsg_internal(AS_IS, texts.message.as_ptr());
        if let Some(detail) = &texts.detail {
            pg_sys::errdetail_internal(AS_IS, detail.as_ptr());
        }
        if let Some(hint) = &texts.hint {
            server::errhint(AS_IS, hint.as_ptr());
        }
    }
}
