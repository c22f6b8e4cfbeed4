//! Acting as an object's owner, and never more; and as ourselves on our own tables.

use pgrx::pg_sys;

use super::{extension, query, settings};
use crate::error::Result;

/// `SECURITY_LOCAL_USERID_CHANGE` and `SECURITY_RESTRICTED_OPERATION` of src/include/miscadmin.h:
/// the first forbids SET ROLE and SET SESSION AUTHORIZATION, the second everything that could run
/// later with the rights we come back to (deferred triggers, cursors WITH HOLD, LISTEN, temporary
/// objects). VACUUM, REINDEX and REFRESH MATERIALIZED VIEW use the pair for the same reason.
pub(super) const OWNER_CONTEXT: i32 =
    (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION) as i32;

/// Runs `work` with the rights of `owner`. Every setting that `work`, or code it calls, changes is
/// taken back afterwards, so a hostile function cannot leave a search_path behind for us.
pub(crate) fn as_owner<T>(owner: pg_sys::Oid, work: impl FnOnce() -> Result<T>) -> Result<T> {
    switched(owner, OWNER_CONTEXT, work)
}

/// Runs `work` with the rights of the extension's owner: for steward's own tables, on which nobody
/// else has any privilege. `work` must call nothing that a user could have defined.
pub(crate) fn as_steward<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    switched(extension::find()?.owner, pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32, work)
}

/// Runs `work` with the rights that workers have, for a statement of ours on a table of somebody's: one that
/// names something in our schema, which they may have no USAGE on, or looks past row security. `work` must
/// call nothing that a user could have defined. The extension's owner may be no superuser any more.
pub(crate) fn as_server<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    const SUPERUSER: pg_sys::Oid = pg_sys::Oid::from_u32(pg_sys::BOOTSTRAP_SUPERUSERID);
    switched(SUPERUSER, pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32, work)
}

/// The role whose rights are in force.
pub(crate) fn caller() -> pg_sys::Oid {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::GetUserId() }
}

/// Whether the calling role owns what `owner` owns: it is that role, a member of it, or a superuser
/// (`has_privs_of_role`, src/backend/utils/adt/acl.c).
pub(crate) fn caller_is(owner: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups on two OIDs; an unknown role is answered with false.
    unsafe { pg_sys::has_privs_of_role(caller(), owner) }
}

/// Whether the calling role may look at everybody's: a member of pg_monitor, or a superuser.
pub(crate) fn caller_monitors() -> bool {
    caller_is(pg_sys::Oid::from(pg_sys::ROLE_PG_MONITOR))
}

/// A role's name, for messages.
pub(crate) fn role_name(role: pg_sys::Oid) -> Result<String> {
    query::one("SELECT pg_catalog.pg_get_userbyid($1)::pg_catalog.text", &[role.into()], |row| {
        row.required(1)
    })
}

fn switched<T>(user: pg_sys::Oid, context: i32, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (mut before, mut context_before) = (pg_sys::InvalidOid, 0);
    // SAFETY: out-parameters are valid for the call. When `work` unwinds with an SQL error the
    // enclosing (sub)transaction's abort restores user, context and settings (xact.c,
    // AbortSubTransaction), so nothing is needed on that way out.
    let level = unsafe {
        pg_sys::GetUserIdAndSecContext(&mut before, &mut context_before);
        let level = pg_sys::NewGUCNestLevel();
        settings::pin();
        pg_sys::SetUserIdAndSecContext(user, context_before | context);
        level
    };
    let outcome = work();
    // SAFETY: the pair of the calls above, in reverse order.
    unsafe {
        pg_sys::AtEOXact_GUC(false, level);
        pg_sys::SetUserIdAndSecContext(before, context_before);
    }
    outcome
}
