//! A trigger of ours on a table of a user's: made by what the table is, not by what it is called, and
//! with the rights of its owner, for making one on a partitioned table reads that table's key.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::identity::AsOwner;
use super::query;
use crate::error::Result;

/// Makes a trigger BEFORE INSERT OR UPDATE of each row that calls a function of ours, also for what a
/// subscription applies (ENABLE ALWAYS), or makes it anew. Takes SHARE ROW EXCLUSIVE on the table, and
/// on what lies below it. The owner needs EXECUTE on the function, and nothing on its schema.
pub(crate) fn before_each_row(
    scope: &AsOwner,
    table: pg_sys::Oid,
    name: &CStr,
    function: pg_sys::Oid,
) -> Result<()> {
    scope.check()?;
    // SAFETY: inside a transaction; the statement is what the grammar would make of CREATE OR REPLACE
    // TRIGGER (gram.y, CreateTrigStmt), all of it in the current memory context. Relation and function
    // are given by OID, so no name is looked up (trigger.c, CreateTriggerFiringOn).
    unsafe {
        let statement = pg_sys::palloc0(size_of::<pg_sys::CreateTrigStmt>());
        let statement = statement.cast::<pg_sys::CreateTrigStmt>();
        (*statement).type_ = pg_sys::NodeTag::T_CreateTrigStmt;
        (*statement).replace = true;
        (*statement).trigname = pg_sys::pstrdup(name.as_ptr());
        (*statement).row = true;
        (*statement).timing = pg_sys::TRIGGER_TYPE_BEFORE as i16;
        (*statement).events = (pg_sys::TRIGGER_TYPE_INSERT | pg_sys::TRIGGER_TYPE_UPDATE) as i16;
        let none = pg_sys::InvalidOid;
        pg_sys::CreateTriggerFiringOn(
            statement,
            std::ptr::null(),
            table,
            none,
            none,
            none,
            function,
            none,
            std::ptr::null_mut(),
            false,
            false,
            pg_sys::TRIGGER_FIRES_ALWAYS as std::ffi::c_char,
        );
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// The function that refuses writes.
pub(crate) fn refuse_write() -> Result<pg_sys::Oid> {
    query::one(
        "SELECT p.oid FROM pg_catalog.pg_proc p
           JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
          WHERE n.nspname = 'steward' AND p.proname = 'refuse_write'",
        &[],
        |row| row.required(1),
    )
}
