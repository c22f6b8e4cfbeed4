//! Telling people: a NOTICE to whoever waits, a line in the server log from workers. In the server's encoding:
//! pgrx's own macros hand it Rust's text as it is.

use std::ffi::CString;
use std::panic::Location;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys};

use super::{encoding, identity, raise};
use crate::error::Error;

/// Says something that is no error, or ends this process.
#[track_caller]
fn say(
    level: PgLogLevel,
    code: PgSqlErrorCode,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) {
    let place = Location::caller();
    let file = CString::new(place.file()).unwrap_or_default();
    let text = |text: &CString| text.as_ptr().cast_mut();
    let message = encoding::encode_name(message);
    let (detail, hint) = (detail.map(encoding::encode_name), hint.map(encoding::encode_name));
    // SAFETY: a report of which all else is 0 or NULL, as in elog.c; all it points to lives through the call,
    // which copies the texts.
    unsafe {
        let mut report: pg_sys::ErrorData = std::mem::zeroed();
        report.elevel = level as i32;
        report.sqlerrcode = code as i32;
        report.message = text(&message);
        report.detail = detail.as_ref().map_or(std::ptr::null_mut(), text);
        report.hint = hint.as_ref().map_or(std::ptr::null_mut(), text);
        report.filename = file.as_ptr();
        report.lineno = i32::try_from(place.line()).unwrap_or_default();
        report.funcname = c"pg_steward".as_ptr();
        pg_sys::ThrowErrorData(&raw mut report);
    }
}

/// A thing was done. Attended: a NOTICE; else a LOG line.
pub(crate) fn step(attended: bool, message: &str) {
    let level = if attended { PgLogLevel::NOTICE } else { PgLogLevel::LOG };
    let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
    say(level, code, &prefixed(attended, message), None, None);
}

/// The end of a worker's work for somebody who waits: the error that they are told.
pub(crate) fn fail(error: Error) {
    raise::in_server_encoding(ErrorReport::from(error)).report(PgLogLevel::ERROR);
}

/// A thing could not be done, and the rest goes on: a WARNING with the error's own SQLSTATE.
pub(crate) fn failure(object: &str, error: &Error) {
    let message = format!("pg_steward: {object}: {error}");
    let (detail, hint) = (error.detail(), error.hint());
    say(PgLogLevel::WARNING, error.code(), &message, detail.as_deref(), hint.as_deref());
}

/// What became of a dump: a WARNING, in the log of a worker or to who restores. To a caller it is a NOTICE, or
/// a line in the log where it is not theirs to see.
pub(crate) fn about_dump(attended: bool, message: &str) {
    let level = match attended {
        false => PgLogLevel::WARNING,
        true if identity::caller_monitors() => PgLogLevel::NOTICE,
        true => PgLogLevel::LOG,
    };
    let message = prefixed(level == PgLogLevel::NOTICE, message);
    say(level, PgSqlErrorCode::ERRCODE_WARNING, &message, None, None);
}

/// What must not be gone on with: ends this process.
pub(crate) fn fatal(message: &str) {
    let code = PgSqlErrorCode::ERRCODE_INTERNAL_ERROR;
    say(PgLogLevel::FATAL, code, &prefixed(false, message), None, None);
}

/// Something the administrator should know, once.
pub(crate) fn log(message: &str) {
    step(false, message);
}

fn prefixed(attended: bool, message: &str) -> String {
    if attended { message.to_owned() } else { format!("pg_steward: {message}") }
}
