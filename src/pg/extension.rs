//! The extension itself, as this database has it.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::locks;
use crate::error::{Error, Result};

/// A row of `pg_extension`: ours.
pub(crate) struct Extension {
    oid: pg_sys::Oid,
    /// Whose rights steward's own tables are used with.
    pub(crate) owner: pg_sys::Oid,
}

/// Read without a query: every piece of work on our tables asks for it, and the answer must not
/// hang on the search_path that the session happens to have. Errors: this database has none.
pub(crate) fn find() -> Result<Extension> {
    const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    let mut found = None;
    // SAFETY: a catalog scan from open to close, as in get_extension_oid (src/backend/commands/
    // extension.c); a tuple's fixed part is a FormData_pg_extension and is read while the scan is
    // on it. When something raises, the abort closes both.
    unsafe {
        let relation = pg_sys::table_open(pg_sys::ExtensionRelationId, LOCK);
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        while found.is_none() {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let row = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_extension>();
            if CStr::from_ptr(row.extname.data.as_ptr()) == c"pg_steward" {
                found = Some(Extension { oid: row.oid, owner: row.extowner });
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, LOCK);
    }
    found.ok_or(Error::NoExtension)
}

/// Keeps the extension in place until the current transaction ends. DROP EXTENSION locks the
/// extension first and our tables after it, in an order of its own (src/backend/catalog/
/// dependency.c): without this lock a transaction that uses two of them could meet it in a deadlock.
/// Waits for a DROP EXTENSION in progress. Errors: this database has none (any more).
pub(crate) fn hold() -> Result<()> {
    let mut seen = find()?;
    loop {
        // SAFETY: a lock on an object that was there a moment ago; given back at the end of the
        // transaction. Without the catalog snapshot of the look nothing of ours grows old in the
        // queue (snapmgr.c).
        unsafe {
            pg_sys::InvalidateCatalogSnapshot();
            pg_sys::LockDatabaseObject(
                pg_sys::ExtensionRelationId,
                seen.oid,
                0,
                pg_sys::AccessShareLock as pg_sys::LOCKMODE,
            );
        }
        let now = find()?;
        if now.oid == seen.oid {
            return Ok(());
        }
        seen = now;
    }
}

/// The same without waiting, for who holds a user's table already: a DROP EXTENSION in progress may want that
/// next. Errors: somebody is about to drop or update it (55P03).
pub(crate) fn hold_now() -> Result<()> {
    let seen = find()?;
    let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    let is_held = locks::try_hold_object(pg_sys::ExtensionRelationId, seen.oid, mode);
    match is_held && find()?.oid == seen.oid {
        true => Ok(()),
        false => Err(Error::LockNotAvailable { relation: "pg_steward".into(), milliseconds: 0 }),
    }
}

/// Lets a trigger on somebody's table go with the extension, which it would otherwise keep from being
/// dropped. ALTER TRIGGER … DEPENDS ON EXTENSION would lock the extension with ACCESS EXCLUSIVE, and wait
/// for everybody who uses it (alter.c, ExecAlterObjectDependsStmt).
pub(crate) fn take_along(table: pg_sys::Oid, trigger: &CStr) -> Result<()> {
    let extension = find()?;
    // SAFETY: the name lives through the call; the addresses are those of a trigger that is there, or
    // the server raises, and of the extension.
    unsafe {
        pg_sys::CommandCounterIncrement();
        let address = |class, object| pg_sys::ObjectAddress {
            classId: class,
            objectId: object,
            objectSubId: 0,
        };
        let trigger = pg_sys::get_trigger_oid(table, trigger.as_ptr(), false);
        let (trigger, extension) = (
            address(pg_sys::TriggerRelationId, trigger),
            address(pg_sys::ExtensionRelationId, extension.oid),
        );
        const GOES_ALONG: pg_sys::DependencyType::Type =
            pg_sys::DependencyType::DEPENDENCY_AUTO_EXTENSION;
        // Once is enough: it may have been there from an earlier archive of the table.
        pg_sys::deleteDependencyRecordsForSpecific(
            trigger.classId,
            trigger.objectId,
            GOES_ALONG as std::ffi::c_char,
            extension.classId,
            extension.objectId,
        );
        pg_sys::recordDependencyOn(&trigger, &extension, GOES_ALONG);
    }
    Ok(())
}
