//! The server's databases, read without being connected to any; and what is set for our own.
//!
//! SPI needs a database to resolve names in; the shared catalog pg_database can be scanned without
//! (src/backend/postmaster/autovacuum.c, get_database_list).

use std::ffi::CStr;

use pgrx::pg_sys;

use super::{encoding, query};
use crate::error::Result;

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

/// Whether transactions of this database are to be read only unless they say otherwise, for whom nothing else is
/// set: what the workers find.
pub(crate) fn is_read_only_by_default() -> Result<bool> {
    query::one(
        "SELECT coalesce(
             (SELECT pg_catalog.split_part(c.c, '=', 2)::pg_catalog.bool
                FROM pg_catalog.pg_db_role_setting s
                JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase,
                     pg_catalog.unnest(s.setconfig) c (c)
               WHERE d.datname = pg_catalog.current_database() AND s.setrole = 0
                 AND c.c LIKE 'default_transaction_read_only=%'),
             (SELECT g.reset_val::pg_catalog.bool FROM pg_catalog.pg_settings g
               WHERE g.name = 'default_transaction_read_only'
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s,
                                             pg_catalog.unnest(s.setconfig) c (c)
                                  WHERE s.setrole <> 0 AND c.c LIKE 'default_transaction_read_only=%')),
             false)",
        &[],
        |row| row.required(1),
    )
}
