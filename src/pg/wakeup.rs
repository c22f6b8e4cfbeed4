//! Telling the launcher, at commit, that this database has something new.

use std::cell::Cell;

use pgrx::{PgXactCallbackEvent, pg_sys, register_xact_callback};

use super::{shared_memory, signals};

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// When the current transaction commits, the launcher looks at this database at once; when it does
/// not, nothing happens. Calling it again in the same transaction adds nothing.
pub(crate) fn at_commit() {
    if REGISTERED.replace(true) {
        return;
    }
    register_xact_callback(PgXactCallbackEvent::Commit, || {
        REGISTERED.set(false);
        now();
    });
    register_xact_callback(PgXactCallbackEvent::Abort, || REGISTERED.set(false));
    // COMMIT PREPARED calls nobody back: look now, and see the rest at the next look.
    register_xact_callback(PgXactCallbackEvent::Prepare, || {
        REGISTERED.set(false);
        now();
    });
}

/// Asks for a look at this database now.
fn now() {
    // SAFETY: a backend-local variable, constant once connected.
    let database = unsafe { pg_sys::MyDatabaseId };
    let scheduler = shared_memory::update(database, |slot| {
        slot.next_due = shared_memory::LOOK_NOW;
        slot.requests = slot.requests.wrapping_add(1);
        slot.scheduler_pid
    });
    if let Some(pid) = scheduler {
        signals::wake(pid);
        signals::wake(shared_memory::launcher_pid());
    }
}
