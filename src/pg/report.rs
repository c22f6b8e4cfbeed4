//! Telling people: a NOTICE to whoever waits, a line in the server log from workers.

use pgrx::{PgLogLevel, ereport};

use super::identity;
use crate::error::Error;

/// A thing was done. Attended: a NOTICE; else a LOG line.
pub(crate) fn step(attended: bool, message: &str) {
    let level = if attended { PgLogLevel::NOTICE } else { PgLogLevel::LOG };
    ereport!(
        level,
        pgrx::PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        prefixed(attended, message)
    );
}

/// The end of a worker's work for somebody who waits: the error that they are told.
pub(crate) fn fail(error: Error) {
    pgrx::pg_sys::panic::ErrorReport::from(error).report(PgLogLevel::ERROR);
}

/// A thing could not be done, and the rest goes on: a WARNING with the error's own SQLSTATE.
pub(crate) fn failure(object: &str, error: &Error) {
    let message = format!("pg_steward: {object}: {error}");
    let report = pgrx::pg_sys::panic::ErrorReport::new(error.code(), message, "pg_steward");
    let report = match error.detail() {
        Some(detail) => report.set_detail(detail),
        None => report,
    };
    let report = match error.hint() {
        Some(hint) => report.set_hint(hint),
        None => report,
    };
    report.report(PgLogLevel::WARNING);
}

/// What became of a dump: a WARNING, in the log of a worker or to who restores. To a caller it is a NOTICE, or
/// a line in the log where it is not theirs to see.
pub(crate) fn about_dump(attended: bool, message: &str) {
    let level = match attended {
        false => PgLogLevel::WARNING,
        true if identity::caller_monitors() => PgLogLevel::NOTICE,
        true => PgLogLevel::LOG,
    };
    ereport!(
        level,
        pgrx::PgSqlErrorCode::ERRCODE_WARNING,
        prefixed(level == PgLogLevel::NOTICE, message)
    );
}

/// What must not be gone on with: ends this process.
pub(crate) fn fatal(message: &str) {
    ereport!(
        PgLogLevel::FATAL,
        pgrx::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        prefixed(false, message)
    );
}

/// Something the administrator should know, once.
pub(crate) fn log(message: &str) {
    step(false, message);
}

fn prefixed(attended: bool, message: &str) -> String {
    if attended { message.to_owned() } else { format!("pg_steward: {message}") }
}
