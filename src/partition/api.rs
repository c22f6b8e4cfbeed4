//! The SQL face that every kind of set shares: `plan` and `unmanage`. Thin: validate, plan, apply.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::access::{check_owner, hold_still, in_time, needed};
use super::policy::managed;
use super::prepare;
use super::steps::{Action, Step};
use super::table::{self, Table};
use crate::error::Error;
use crate::pg::guc::Pinned;
use crate::pg::{
    Oid, Text, called, databases, extension, ident, identity, query, report, transaction, wakeup,
};
use crate::{dump, jobs};

/// A row of `steward.step`. Each function spells its columns out once more: an alias of the whole
/// return type compiles, but pgrx's schema generator cannot read it.
pub(super) type StepRow = (i32, Oid, &'static str, Text, Text, Text, Text);

#[pg_extern(sql = false)]
fn plan(
    parent: Option<Oid>,
    at: Option<TimestampWithTimeZone>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(ordinal, i32),
            name!(parent, Oid),
            name!(action, &'static str),
            name!(partition, Text),
            name!(sql, Text),
            name!(lock, Text),
            name!(reason, Text),
        ),
    >,
    ErrorReport,
> {
    called(|| {
        let _pinned = Pinned::begin();
        extension::hold()?;
        let at = needed(at, "at")?.into_inner();
        let mut planned = Vec::new();
        match parent {
            Some(parent) => {
                let table = Table::read(parent)?;
                check_owner(&table.display(), table.owner)?;
                planned.extend(in_time(&table.display(), || prepare(table.oid, at, at))?.steps);
            }
            None => {
                for oid in managed()? {
                    let Ok(table) = Table::read(oid) else { continue };
                    if !identity::caller_is(table.owner) {
                        continue;
                    }
                    match in_time(&table.display(), || prepare(oid, at, at)) {
                        Ok(work) => planned.extend(work.steps),
                        Err(error) => report::failure(&table.display(), &error),
                    }
                }
            }
        }
        if databases::is_read_only_by_default()? {
            let leaves = |step: &&mut Step| step.action != Action::Create;
            planned.iter_mut().filter(leaves).for_each(|step| {
                step.reason.push_str(
                    "; deferred by the workers while default_transaction_read_only is on here",
                );
            });
        }
        Ok(rows(planned))
    })
}

#[pg_extern(sql = false)]
fn unmanage(relation: Oid) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let _pinned = Pinned::begin();
        transaction::must_be_writable("unmanage()")?;
        extension::hold()?;
        dump::take_over_for_caller()?;
        // Any relation that has a policy, also one that is no partitioned table any more.
        let gone = || Error::NoSuchRelation { oid: ident::oid_number(relation) };
        let name = table::name(relation)?.ok_or_else(gone)?;
        let owner = || {
            query::optional(
                "SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = $1",
                &[relation.into()],
                |row| row.required(1),
            )?
            .ok_or_else(gone)
        };
        check_owner(&name.to_string(), owner()?)?;
        in_time(&name.to_string(), || hold_still(relation))?;
        // As it is now, when the lock was had.
        check_owner(&name.to_string(), transaction::with_latest_snapshot(owner)?)?;
        if !identity::as_steward(|| jobs::forget(relation))? {
            let table = Table::read(relation).map_err(|_| Error::NotManaged {
                relation: name.to_string(),
                call: "manage_range",
            })?;
            return Err(table.not_managed().into());
        }
        wakeup::at_commit();
        Ok(())
    })
}

/// Steps as SQL shows them.
pub(super) fn rows(steps: Vec<Step>) -> TableIterator<'static, StepRow> {
    let rows: Vec<StepRow> = steps
        .into_iter()
        .zip(1..)
        .map(|(step, ordinal)| {
            let (partition, sql) = (step.partition.to_string().into(), step.whole_sql().into());
            let (lock, reason) = (step.lock.into(), step.reason.into());
            (ordinal, step.parent, step.action.as_str(), partition, sql, lock, reason)
        })
        .collect();
    TableIterator::new(rows)
}
