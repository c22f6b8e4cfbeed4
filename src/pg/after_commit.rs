//! Lines for the server log that are true only once the transaction has committed.

use std::cell::RefCell;

use pgrx::{
    PgSubXactCallbackEvent, PgXactCallbackEvent, pg_sys, register_subxact_callback,
    register_xact_callback,
};

use super::report;

/// A line, and the subtransaction that it goes away with.
struct Line {
    level: pg_sys::SubTransactionId,
    text: String,
}

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Writes it when the current transaction commits; never, if that or the current subtransaction is
/// rolled back.
pub(crate) fn log(text: &str) {
    // SAFETY: reads the transaction state of this backend, which is inside a transaction.
    let level = unsafe { pg_sys::GetCurrentSubTransactionId() };
    let is_first = LINES.with_borrow_mut(|lines| {
        lines.push(Line { level, text: text.to_owned() });
        lines.len() == 1
    });
    if is_first {
        follow();
    }
}

/// Follows the transaction to its end; the server's callbacks are gone with it.
fn follow() {
    register_xact_callback(PgXactCallbackEvent::Commit, || {
        for line in LINES.take() {
            report::log(&line.text);
        }
    });
    register_xact_callback(PgXactCallbackEvent::Abort, || drop(LINES.take()));
    // A prepared transaction commits elsewhere, or never.
    register_xact_callback(PgXactCallbackEvent::Prepare, || drop(LINES.take()));
    register_subxact_callback(PgSubXactCallbackEvent::AbortSub, |ended, _| {
        LINES.with_borrow_mut(|lines| lines.retain(|line| line.level != ended));
    });
    register_subxact_callback(PgSubXactCallbackEvent::CommitSub, |ended, parent| {
        LINES.with_borrow_mut(|lines| {
            for line in lines.iter_mut().filter(|line| line.level == ended) {
                line.level = parent;
            }
        });
    });
}
