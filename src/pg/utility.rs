//! One statement by itself, as psql would send it: for those that commit on their own account and
//! refuse a transaction block (DETACH PARTITION … CONCURRENTLY).

use std::ffi::CString;

use pgrx::{PgMemoryContexts, pg_sys};

use super::transaction::Commit;
use super::user_sql::{Shown, statement};
use super::{guc, identity, report, subtransaction, transaction, version, workers};
use crate::error::Result;

/// Runs a utility statement in a worker, outside of any transaction, with the rights of `owner`.
pub(super) fn alone(
    owner: pg_sys::Oid,
    sql: &str,
    lock_timeout_milliseconds: i32,
    commit: Commit,
) -> Result<()> {
    let text = statement(sql)?;
    guc::session("lock_timeout", &lock_timeout_milliseconds.to_string());
    if commit == Commit::Later {
        guc::session("synchronous_commit", "off");
    }
    let shown = workers::shown_as();
    // The statement outlives the transactions that it goes through.
    let mut memory = PgMemoryContexts::new("pg_steward statement");
    // SAFETY: the context lives until the end of this function, and nothing unwinds out of it.
    let outcome = unsafe {
        let _shown = Shown::new(sql);
        memory.switch_to(|_| as_owner(owner, &text))
    };
    // Code of the owner's may have run (a CHECK that the server evaluates) and changed settings in
    // a transaction that the statement has committed.
    // SAFETY: outside any transaction, as a worker's start is.
    unsafe { pg_sys::ResetAllOptions() };
    workers::settle();
    // What the statement has committed on its way has kept the session the owner's.
    let ours = transaction::run(|| {
        identity::begin_worker_session();
        Ok(())
    });
    if ours.is_err() || !identity::is_worker_session() {
        report::fatal("the session's user could not be restored");
    }
    guc::session("application_name", &shown);
    outcome
}

/// # Safety
/// Outside any transaction, in a memory context that stays.
unsafe fn as_owner(owner: pg_sys::Oid, text: &CString) -> Result<()> {
    let (mut before, mut context_before) = (pg_sys::InvalidOid, 0);
    // SAFETY: out-parameters are valid for the call.
    unsafe { pg_sys::GetUserIdAndSecContext(&mut before, &mut context_before) };
    // SAFETY: reads a backend-local variable.
    let memory = unsafe { pg_sys::CurrentMemoryContext };
    let outcome = subtransaction::caught(|| {
        // SAFETY: the order of exec_simple_query (src/backend/tcop/postgres.c). What the statement commits on
        // its way puts neither user nor context back (xact.c, CommitTransaction): it stays the owner's to
        // its end. In a portal, for event triggers run queries after that commit, and need what the portal
        // makes anew for them (pquery.c, EnsurePortalSnapshotExists).
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            identity::begin_session_of(owner);
            pg_sys::SetUserIdAndSecContext(owner, identity::OWNER_CONTEXT);
            pg_sys::MemoryContextSwitchTo(memory);
            let raw = (*(*pg_sys::pg_parse_query(text.as_ptr())).elements).ptr_value;
            let raw = raw.cast::<pg_sys::RawStmt>();
            let planned =
                pg_sys::palloc0(size_of::<pg_sys::PlannedStmt>()).cast::<pg_sys::PlannedStmt>();
            (*planned).type_ = pg_sys::NodeTag::T_PlannedStmt;
            (*planned).commandType = pg_sys::CmdType::CMD_UTILITY;
            (*planned).canSetTag = true;
            (*planned).utilityStmt = (*raw).stmt;
            (*planned).stmt_location = (*raw).stmt_location;
            (*planned).stmt_len = (*raw).stmt_len;
            let portal = pg_sys::CreatePortal(c"".as_ptr(), true, true);
            (*portal).visible = false;
            pg_sys::PortalDefineQuery(
                portal,
                std::ptr::null(),
                text.as_ptr(),
                pg_sys::CreateCommandTag((*planned).utilityStmt),
                pg_sys::lappend(std::ptr::null_mut(), planned.cast()),
                std::ptr::null_mut(),
            );
            pg_sys::PortalStart(portal, std::ptr::null_mut(), 0, std::ptr::null_mut());
            version::run_portal(portal, pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone));
            pg_sys::PortalDrop(portal, false);
            pg_sys::SetUserIdAndSecContext(before, context_before);
            pg_sys::CommitTransactionCommand();
        }
        Ok(())
    });
    if outcome.is_err() {
        // SAFETY: brings the backend back to idle whatever state the error left. An abort puts back
        // the user that its transaction began with (xact.c, AbortTransaction), which after a commit
        // on the way is the owner.
        unsafe {
            pg_sys::AbortCurrentTransaction();
            pg_sys::SetUserIdAndSecContext(before, context_before);
        }
    }
    // SAFETY: as it was found.
    unsafe { pg_sys::MemoryContextSwitchTo(memory) };
    outcome
}
