//! The server's databases, read without being connected to any.
//!
//! SPI needs a database to resolve names in; the shared catalog pg_database can be scanned without
//! (src/backend/postmaster/autovacuum.c, get_database_list).

use std::ffi::CStr;

use pgrx::pg_sys;

use super::encoding;

/// Databases that a worker may connect to, with their names: no templates, none that refuses
/// connections, none that a broken DROP left invalid (datconnlimit = -2).
///
/// In a transaction with a snapshot.
pub(crate) fn connectable() -> Vec<(pg_sys::Oid, String)> {
    let mut found = Vec::new();
    // SAFETY: a catalog scan from open to close; each tuple's fixed part is a FormData_pg_database
    // and is read before the next one is fetched. When something raises, the abort closes both.
    unsafe {
        let relation = pg_sys::table_open(
            pg_sys::DatabaseRelationId,
            pg_sys::AccessShareLock as pg_sys::LOCKMODE,
        );
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let database: *const pg_sys::FormData_pg_database = pg_sys::GETSTRUCT(tuple).cast();
            let database = &*database;
            if database.datallowconn && !database.datistemplate && database.datconnlimit != -2 {
                let name = CStr::from_ptr(database.datname.data.as_ptr());
                found.push((database.oid, encoding::decode_name(name)));
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
    }
    found
}

/// The name of a database; None when it is gone. In a transaction.
pub(crate) fn name(database: pg_sys::Oid) -> Option<String> {
    // SAFETY: answers NULL or a C string of the current memory context.
    unsafe {
        let name = pg_sys::get_database_name(database);
        (!name.is_null()).then(|| encoding::decode_name(CStr::from_ptr(name)))
    }
}

/// The one that this process is connected to.
pub(crate) fn mine() -> pg_sys::Oid {
    // SAFETY: a backend-local variable, constant once connected.
    unsafe { pg_sys::MyDatabaseId }
}
