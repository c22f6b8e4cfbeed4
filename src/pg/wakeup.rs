//! Telling the workers, at commit, that this database has something new.

use std::cell::RefCell;

use pgrx::{PgXactCallbackEvent, pg_sys, register_xact_callback};

use super::touched::Touched;
use super::{shared_memory, signals};

/// What the current transaction has to tell.
#[derive(Default)]
struct News {
    /// Policies are new, or others.
    of_policies: bool,
    /// Tables that have lost partitions.
    touched: Touched,
}

thread_local! {
    static NEWS: RefCell<Option<News>> = const { RefCell::new(None) };
}

/// When the current transaction commits, the launcher looks at this database at once; when it does
/// not, nothing happens. Calling it again in the same transaction adds nothing.
pub(crate) fn at_commit() {
    note(|news| news.of_policies = true);
}

/// The same where partitions have left these tables: the jobs of those that are sets are due then. It is told
/// also where a subtransaction is rolled back that took them away: a look too many.
pub(super) fn at_commit_for(tables: &[u32]) {
    note(|news| tables.iter().for_each(|table| news.touched.add(*table)));
}

fn note(change: impl FnOnce(&mut News)) {
    let is_first = NEWS.with_borrow_mut(|news| {
        let is_first = news.is_none();
        change(news.get_or_insert_default());
        is_first
    });
    if is_first {
        register_xact_callback(PgXactCallbackEvent::Commit, tell);
        register_xact_callback(PgXactCallbackEvent::Abort, || NEWS.set(None));
        // COMMIT PREPARED calls nobody back: look now, and see the rest at the next look.
        register_xact_callback(PgXactCallbackEvent::Prepare, tell);
    }
}

/// Asks for a look at this database now.
fn tell() {
    let Some(news) = NEWS.take() else { return };
    // SAFETY: a backend-local variable, constant once connected.
    let database = unsafe { pg_sys::MyDatabaseId };
    let scheduler = match news.of_policies {
        true => shared_memory::update(database, |slot| {
            slot.touched.add_all(&news.touched);
            Some(slot.ask())
        }),
        // A table that loses partitions is seldom ours, and most databases have no extension.
        false => shared_memory::update_known(database, |slot| {
            slot.may_have_extension().then(|| {
                slot.touched.add_all(&news.touched);
                slot.ask()
            })
        }),
    };
    if let Some(pid) = scheduler.flatten() {
        signals::wake(pid);
        signals::wake(shared_memory::launcher_pid());
    }
}
