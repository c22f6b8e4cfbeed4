//! Whose a set is, and that it stays so and as it is while a call works on it.

use super::table::Table;
use crate::error::{Error, Result};
use crate::pg::locks::{self, TableLock};
use crate::pg::{Oid, extension, identity, transaction};
use crate::{dump, jobs, settings};

/// The table that a call is about to change the policy of. No run of it, and no other such call, until
/// we commit: a run would plan what we are about to make. This lock is the first, as it is of a run.
pub(super) fn owned_table(parent: Oid, action: &'static str) -> Result<Table> {
    transaction::must_be_writable(action)?;
    extension::hold()?;
    dump::take_over_for_caller()?;
    let table = Table::read(parent)?;
    check_owner(&table.display(), table.owner)?;
    in_time(&table.display(), || hold_still(table.oid))?;
    // As it is now, when the lock was had.
    let table = transaction::with_latest_snapshot(|| Table::read(parent))?;
    check_owner(&table.display(), table.owner)?;
    Ok(table)
}

/// Keeps runs of a relation's job away, and its owner in office, until we commit: what is not committed
/// when somebody else gets the table must not come into force over their head.
pub(super) fn hold_still(relation: Oid) -> Result<()> {
    jobs::keep_runs_away(relation)?;
    locks::hold_table(relation, TableLock::AccessShare);
    Ok(())
}

/// Errors: the caller is not the owner (42501).
pub(super) fn check_owner(relation: &str, owner: Oid) -> Result<()> {
    if identity::caller_is(owner) {
        return Ok(());
    }
    Err(Error::NotOwner { relation: relation.to_owned(), owner: identity::role_name(owner)? })
}

/// An argument that has to be there: the functions are not STRICT, for others may be NULL.
pub(super) fn needed<T>(value: Option<T>, argument: &'static str) -> Result<T> {
    value.ok_or(Error::NullArgument { argument })
}

/// Reading a set takes ACCESS SHARE on it, as any query does; also that is not waited for in vain.
pub(super) fn in_time<T>(relation: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    locks::in_time(relation, settings::lock_timeout_milliseconds(), work)
}
