//! What is told once the transaction has committed, and only then: lines for the server log, and
//! notifications.
//!
//! These go to the server just before the commit. One that it had been given before would keep the
//! transaction, which may be anybody's, from being prepared (async.c, AtPrepare_Notify).

use std::cell::RefCell;

use pgrx::{
    IntoDatum, PgSubXactCallbackEvent, PgXactCallbackEvent, pg_sys, register_subxact_callback,
    register_xact_callback,
};

use super::{encoding, report};

enum Message {
    Line(String),
    /// To whom and what, in the encoding of the database.
    Notification(Vec<u8>, Vec<u8>),
}

/// A message, and the subtransaction that it goes away with.
struct Pending {
    level: pg_sys::SubTransactionId,
    message: Message,
}

thread_local! {
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
}

/// Writes a line when the current transaction commits; never, if that or the current subtransaction is
/// rolled back, or if it is prepared. In the encoding of the database, as the log is.
pub(crate) fn log(text: &[u8]) {
    tell(Message::Line(encoding::decode(text)));
}

/// Tells whoever listens on a channel, in the same way. The payload has to be shorter than 8000 bytes.
pub(crate) fn notify(channel: &[u8], payload: &[u8]) {
    tell(Message::Notification(channel.to_owned(), payload.to_owned()));
}

fn tell(message: Message) {
    // SAFETY: reads the transaction state of this backend, which is inside a transaction.
    let level = unsafe { pg_sys::GetCurrentSubTransactionId() };
    let is_first = PENDING.with_borrow_mut(|pending| {
        pending.push(Pending { level, message });
        pending.len() == 1
    });
    if is_first {
        follow();
    }
}

/// Follows the transaction to its end; the server's callbacks are gone with it.
fn follow() {
    register_xact_callback(PgXactCallbackEvent::PreCommit, || {
        for each in PENDING.take() {
            match each.message {
                Message::Line(_) => PENDING.with_borrow_mut(|pending| pending.push(each)),
                Message::Notification(channel, payload) => send(channel, payload),
            }
        }
    });
    register_xact_callback(PgXactCallbackEvent::Commit, || {
        for each in PENDING.take() {
            if let Message::Line(text) = each.message {
                report::log(&text);
            }
        }
    });
    register_xact_callback(PgXactCallbackEvent::Abort, || drop(PENDING.take()));
    // A prepared transaction commits elsewhere, or never.
    register_xact_callback(PgXactCallbackEvent::Prepare, || drop(PENDING.take()));
    register_subxact_callback(PgSubXactCallbackEvent::AbortSub, |ended, _| {
        PENDING.with_borrow_mut(|pending| pending.retain(|each| each.level != ended));
    });
    register_subxact_callback(PgSubXactCallbackEvent::CommitSub, |ended, parent| {
        PENDING.with_borrow_mut(|pending| {
            for each in pending.iter_mut().filter(|each| each.level == ended) {
                each.level = parent;
            }
        });
    });
}

/// Gives it to the server, which sends it after these callbacks (xact.c, CommitTransaction).
fn send(channel: Vec<u8>, payload: Vec<u8>) {
    let text = |bytes: Vec<u8>| bytes.into_datum().unwrap_or_else(pg_sys::Datum::null);
    // SAFETY: pg_notify() takes two texts, which are laid out as bytea is.
    unsafe {
        pg_sys::OidFunctionCall2Coll(
            pg_sys::Oid::from(pg_sys::F_PG_NOTIFY),
            pg_sys::InvalidOid,
            text(channel),
            text(payload),
        );
    }
}
