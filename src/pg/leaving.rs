//! Partitions that leave their table by anybody's command: what kept a set ready may be gone with one.
//!
//! The server tells it from inside DROP and DETACH (src/include/catalog/objectaccess.h), each time for one
//! object; nobody's command is wrapped, and what others have hooked in is called as if we were not there.
//! Not told: a DETACH … CONCURRENTLY before its second transaction.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pgrx::pg_sys::ObjectAccessType::{OAT_DROP, OAT_POST_ALTER, Type};
use pgrx::{pg_guard, pg_sys};

use super::version::server;
use super::wakeup;

/// src/include/catalog/pg_inherits.h; 2611 in all majors.
const INHERITS_RELATION: u32 = 2611;

static NEXT: OnceLock<pg_sys::object_access_hook_type> = OnceLock::new();

thread_local! {
    static OURS: Cell<u32> = const { Cell::new(0) };
}

/// While it lives partitions leave a set because its own job says so.
pub(crate) struct Ours(u32);

impl Ours {
    pub(crate) fn begin(set: pg_sys::Oid) -> Self {
        Self(OURS.replace(set.to_u32()))
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        OURS.set(self.0);
    }
}

/// Asks the server to tell. From the postmaster, for every process that it forks.
pub(crate) fn watch() {
    // SAFETY: one thread, and nobody else sets it meanwhile.
    unsafe {
        NEXT.get_or_init(|| pg_sys::object_access_hook);
        pg_sys::object_access_hook = Some(told);
    }
}

/// Without a guard: what the next one raises passes as it is, over a frame that has nothing to drop.
unsafe extern "C-unwind" fn told(
    access: Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: c_int,
    argument: *mut c_void,
) {
    // SAFETY: as the server calls us.
    unsafe {
        if let Some(Some(next)) = NEXT.get() {
            next(access, class, object, part, argument);
        }
        if access == OAT_DROP && class == pg_sys::RelationRelationId && part == 0 {
            is_dropped(object);
        } else if access == OAT_POST_ALTER && class.to_u32() == INHERITS_RELATION {
            is_parted(object, (*argument.cast::<pg_sys::ObjectAccessPostAlter>()).auxiliary_id);
        }
    }
}

/// A relation is about to be dropped; the catalogs have it still.
#[pg_guard]
unsafe extern "C-unwind" fn is_dropped(relation: pg_sys::Oid) {
    // SAFETY: in a transaction, in which the catalogs can be read; NIL is NULL, another list holds as many cells
    // as its length says, of OIDs (src/include/nodes/pg_list.h).
    let above: Vec<u32> = unsafe {
        if !pg_sys::get_rel_relispartition(relation) {
            return;
        }
        let Some(list) = server::get_partition_ancestors(relation).as_ref() else { return };
        let cells = std::slice::from_raw_parts(list.elements, list.length.unsigned_abs() as usize);
        cells.iter().map(|cell| cell.oid_value.to_u32()).collect()
    };
    leaves(&above);
}

/// A relation has been made another one's child, or is none any more. One that is just being attached is no
/// partition yet.
#[pg_guard]
unsafe extern "C-unwind" fn is_parted(relation: pg_sys::Oid, parent: pg_sys::Oid) {
    // SAFETY: as above.
    if unsafe { pg_sys::get_rel_relispartition(relation) } {
        leaves(&[parent.to_u32()]);
    }
}

fn leaves(above: &[u32]) {
    if !above.contains(&OURS.get()) {
        wakeup::at_commit_for(above);
    }
}
