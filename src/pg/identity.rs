//! Acting as an object's owner, and never more; and as ourselves on our own tables.
//!
//! The server calls an owner's functions whenever somebody plans a query on a table (plancat.c: index
//! expressions and predicates, extended statistics; policies, domains) or reads a partition key
//! (partcache.c). So whatever opens a user's relation, or runs SQL that names one, asks for an
//! [`AsOwner`], which exists only while the owner's rights are in force.

use std::ffi::{CStr, CString};
use std::marker::PhantomData;

use pgrx::pg_sys;

use super::{extension, guc, query, report};
use crate::error::{Error, Result};

/// `SECURITY_LOCAL_USERID_CHANGE` and `SECURITY_RESTRICTED_OPERATION` of src/include/miscadmin.h:
/// the first forbids SET ROLE and SET SESSION AUTHORIZATION, the second everything that could run
/// later with the rights we come back to (deferred triggers, cursors WITH HOLD, LISTEN, temporary
/// objects). VACUUM, REINDEX and REFRESH MATERIALIZED VIEW use the pair for the same reason.
pub(super) const OWNER_CONTEXT: i32 =
    (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION) as i32;

/// Proof that the rights of a relation's owner are in force, and nobody else's: made by [`as_owner`]
/// alone, and gone when it returns.
pub(crate) struct AsOwner {
    owner: pg_sys::Oid,
    /// Of this process only.
    here: PhantomData<*mut ()>,
}

impl AsOwner {
    /// Makes sure that nothing has been put on top: the proof does not hold inside of [`as_steward`].
    pub(super) fn check(&self) -> Result<()> {
        let (user, context) = user_and_context();
        match user == self.owner && context & OWNER_CONTEXT == OWNER_CONTEXT {
            true => Ok(()),
            false => Err(Error::Query { message: "the owner's rights are not in force".into() }),
        }
    }
}

/// Runs `work` with the rights of `owner`. Every setting that `work`, or code it calls, changes is
/// taken back afterwards, so a hostile function cannot leave a search_path behind for us.
///
/// Where the session is a superuser's, as a worker's is, `session_user` is the owner, too: policies and
/// defaults of others may go by that, and the owner's code must not be taken for the superuser.
pub(crate) fn as_owner<T>(
    owner: pg_sys::Oid,
    work: impl FnOnce(&AsOwner) -> Result<T>,
) -> Result<T> {
    as_session_of(owner, || {
        switched(owner, OWNER_CONTEXT, || work(&AsOwner { owner, here: PhantomData }))
    })
}

/// Runs `work` with the rights of the extension's owner: for steward's own tables, on which nobody
/// else has any privilege. `work` must call nothing that a user could have defined.
pub(crate) fn as_steward<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    switched(extension::find()?.owner, pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32, || {
        guc::fire_own_triggers(false);
        work()
    })
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

fn user_and_context() -> (pg_sys::Oid, i32) {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: out-parameters are valid for the call.
    unsafe { pg_sys::GetUserIdAndSecContext(&mut user, &mut context) };
    (user, context)
}

fn switched<T>(user: pg_sys::Oid, context: i32, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (before, context_before) = user_and_context();
    // SAFETY: when `work` unwinds with an SQL error the enclosing (sub)transaction's abort restores
    // user, context and settings (xact.c, AbortSubTransaction), so nothing is needed on that way out.
    let level = unsafe {
        let level = pg_sys::NewGUCNestLevel();
        guc::pin();
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

/// Runs `work` in a session that is `owner`'s, where a superuser's own session is at hand; as it is
/// elsewhere. By the setting, so that an abort puts it back (guc.c, AtEOXact_GUC).
fn as_session_of<T>(owner: pg_sys::Oid, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (before, context) = user_and_context();
    // SAFETY: reads backend-local variables, and the catalog of roles.
    let (session, is_superuser) =
        unsafe { (pg_sys::GetSessionUserId(), pg_sys::superuser_arg(before)) };
    // Inside of a function with rights of its own, or under SET ROLE, the setting cannot be changed, or
    // not be put back as it was.
    if context != 0 || before != session || owner == session || !is_superuser {
        return work();
    }
    // SAFETY: opens a level; closed below, or by the abort when something raises.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    guc::session_user(&name_of(owner), false);
    let outcome = work();
    // SAFETY: closes the level opened above; reads a backend-local variable.
    let restored = unsafe {
        pg_sys::AtEOXact_GUC(false, level);
        pg_sys::SetUserIdAndSecContext(before, context);
        pg_sys::GetSessionUserId()
    };
    if restored != session {
        report::fatal("the session's user could not be restored");
    }
    outcome
}

/// The server's own name of a role; empty for one that is gone.
fn name_of(role: pg_sys::Oid) -> CString {
    // SAFETY: answers NULL or a C string of the current memory context.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() { CString::default() } else { CStr::from_ptr(name).to_owned() }
    }
}

/// Makes a worker's session `role`'s until it is made another's. In a transaction, whose abort takes it
/// back.
pub(super) fn begin_session_of(role: pg_sys::Oid) {
    guc::session_user(&name_of(role), true);
}

/// Makes a worker's session the bootstrap superuser's, as it was connected, also at its start: the server
/// leaves the setting NULL then, and could not come back to that (variable.c, assign_session_authorization).
pub(super) fn begin_worker_session() {
    begin_session_of(SUPERUSER);
}

/// Whether a worker's session is the bootstrap superuser's.
pub(super) fn is_worker_session() -> bool {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::GetSessionUserId() == SUPERUSER }
}

const SUPERUSER: pg_sys::Oid = pg_sys::Oid::from_u32(pg_sys::BOOTSTRAP_SUPERUSERID);
