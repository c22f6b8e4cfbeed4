//! The SQL face that every kind of set shares: `unmanage`. Thin: validate, plan, apply.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::steps::{Step, Work, lowest};
use super::table::{self, Strategy, Table};
use super::{apply, range, refusal};
use crate::dump;
use crate::error::{Error, Result};
use crate::jobs::{self, Job};
use crate::pg::locks::{self, TableLock};
use crate::pg::settings::Pinned;
use crate::pg::{Oid, extension, identity, query, report, subtransaction, transaction, wakeup};
use crate::settings;

/// A row of `steward.step`. Each function spells its columns out once more: an alias of the whole
/// return type compiles, but pgrx's schema generator cannot read it.
pub(crate) type StepRow = (i32, Oid, &'static str, String, String, String, String);

#[pg_extern(sql = false)]
fn unmanage(relation: Oid) -> std::result::Result<(), ErrorReport> {
    let _pinned = Pinned::begin();
    transaction::must_be_writable("unmanage()")?;
    extension::hold()?;
    dump::take_over_for_caller()?;
    // Any relation that has a policy, also one that is no partitioned table any more.
    let gone = || Error::NoSuchRelation { oid: crate::pg::ident::oid_number(relation) };
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
    if !forget(relation)? {
        let table = Table::read(relation)
            .map_err(|_| Error::NotManaged { relation: name.to_string(), call: "manage_range" })?;
        return Err(table.not_managed().into());
    }
    wakeup::at_commit();
    Ok(())
}

/// Puts the policy of an [`owned_table`] in force: `store` keeps it, `plan` plans it, and the steps are
/// taken in the caller's transaction.
pub(super) fn put_in_force(
    table: &Table,
    store: impl FnOnce() -> Result<()>,
    plan: impl FnOnce() -> Result<Work>,
) -> Result<Vec<Step>> {
    subtransaction::run(|| {
        store()?;
        identity::as_steward(|| match jobs::find_by_target(table.oid)? {
            Some(_) => jobs::make_due(table.oid),
            None => jobs::create("partition", table.oid),
        })
    })?;
    let owner = identity::role_name(table.owner)?;
    let taken = in_time(&table.display(), || {
        let work = plan()?;
        range::note_seen(&work)?;
        match work.refused {
            Some(refused) => Err(refused),
            None => take_all(&work),
        }
    })
    .map_err(|error| apply::naming_owner(error, &owner))?;
    wakeup::at_commit();
    Ok(taken)
}

/// Takes every step now. One that rows in the default partition block is left, with a WARNING, and
/// remembered: the job tries it again, also when it has become a hole behind. Any other failure
/// takes back the whole call.
fn take_all(work: &Work) -> Result<Vec<Step>> {
    let mut left_from = None;
    for step in &work.steps {
        match &step.blocked {
            Some(error) => {
                report::failure(&step.partition.to_string(), error);
                left_from = lowest(left_from, step.begins);
            }
            None => apply::take(work, step)?,
        }
    }
    range::remember_make_up(work.parent, left_from)?;
    Ok(work.steps.clone())
}

/// Forgets a policy and its job. False: there was none.
pub(crate) fn forget(parent: Oid) -> Result<bool> {
    let known = identity::as_steward(|| {
        let gone = query::changed_rows(
            "WITH range AS (DELETE FROM steward.range_policy WHERE parent = $1 RETURNING parent),
                  hash AS (DELETE FROM steward.hash_policy WHERE parent = $1 RETURNING parent),
                  retired AS (DELETE FROM steward.retired_partition WHERE parent = $1)
             SELECT r.parent::pg_catalog.oid FROM range r
             UNION ALL SELECT h.parent::pg_catalog.oid FROM hash h",
            &[parent.into()],
            |row| row.required::<Oid>(1),
        )?;
        Ok(!gone.is_empty())
    })?;
    identity::as_steward(|| jobs::delete(parent))?;
    Ok(known)
}

/// Forgets the policies of tables that are gone without a word: no event trigger fires where
/// session_replication_role is replica. Their next run would, but that can be months away, and a dump
/// names them by OIDs that stand for anything where it is restored.
pub(crate) fn forget_gone() -> Result<()> {
    let gone = identity::as_steward(|| {
        query::rows(
            "SELECT k.target::pg_catalog.oid
               FROM (SELECT j.target FROM steward.job j
                     UNION SELECT r.parent FROM steward.range_policy r
                     UNION SELECT h.parent FROM steward.hash_policy h) AS k (target)
              WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = k.target)",
            &[],
            |row| row.required::<Oid>(1),
        )
    })?;
    gone.into_iter().try_for_each(|parent| forget(parent).map(|_| ()))
}

/// Gives policies without a job one, and removes jobs without a policy: our tables have been written by
/// somebody else, a dump made before they were dumped together, or a superuser.
pub(crate) fn pair_jobs() -> Result<()> {
    identity::as_steward(|| {
        let unmatched = query::rows(
            "SELECT coalesce(p.parent, j.target)::pg_catalog.oid, p.parent IS NULL
               FROM (SELECT r.parent FROM steward.range_policy r
                     UNION ALL SELECT h.parent FROM steward.hash_policy h) p
               FULL JOIN steward.job j ON j.target::pg_catalog.oid = p.parent::pg_catalog.oid
              WHERE p.parent IS NULL OR j.target IS NULL",
            &[],
            |row| Ok((row.required::<Oid>(1)?, row.required::<bool>(2)?)),
        )?;
        for (target, is_job) in unmatched {
            let name = table::name(target)?.map(|name| name.to_string()).unwrap_or_default();
            match is_job {
                true => jobs::delete(target)?,
                false => jobs::create("partition", target)?,
            }
            report::log(&match is_job {
                true => format!("a job of {name} without a policy is removed"),
                false => format!("the policy of {name} had no job: it has one now"),
            });
        }
        Ok(())
    })
}

/// The job of a set that the caller owns.
pub(crate) fn owned_job(parent: Oid) -> Result<Job> {
    let table = Table::read(parent)?;
    check_owner(&table.display(), table.owner)?;
    let find = || identity::as_steward(|| jobs::find_by_target(table.oid));
    match find()? {
        Some(job) => Ok(job),
        None => {
            pair_jobs()?;
            find()?.ok_or_else(|| refusal(table))
        }
    }
}

/// The job of a range set that the caller owns and whose rows can be moved.
pub(crate) fn drainable(parent: Oid) -> Result<Job> {
    let table = Table::read(parent)?;
    check_owner(&table.display(), table.owner)?;
    table.must_be(Strategy::Range)?;
    let job = owned_job(parent)?;
    range::refuse_referenced(&table)?;
    Ok(job)
}

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
fn hold_still(relation: Oid) -> Result<()> {
    jobs::keep_runs_away(relation)?;
    locks::hold_table(relation, TableLock::AccessShare);
    Ok(())
}

/// The managed sets, in the order in which they are looked at.
pub(crate) fn managed() -> Result<Vec<Oid>> {
    identity::as_steward(|| {
        query::rows(
            "SELECT p.parent FROM (SELECT r.parent::pg_catalog.oid FROM steward.range_policy r
                                   UNION ALL
                                   SELECT h.parent::pg_catalog.oid FROM steward.hash_policy h) p
               JOIN pg_catalog.pg_class c ON c.oid = p.parent ORDER BY p.parent",
            &[],
            |row| row.required(1),
        )
    })
}

pub(crate) fn check_owner(relation: &str, owner: Oid) -> Result<()> {
    if identity::caller_is(owner) {
        return Ok(());
    }
    Err(Error::NotOwner { relation: relation.to_owned(), owner: identity::role_name(owner)? })
}

/// An argument that has to be there: the functions are not STRICT, for others may be NULL.
pub(crate) fn needed<T>(value: Option<T>, argument: &'static str) -> Result<T> {
    value.ok_or(Error::NullArgument { argument })
}

/// Reading a set takes ACCESS SHARE on it, as any query does; also that is not waited for in vain.
pub(crate) fn in_time<T>(relation: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    locks::in_time(relation, settings::lock_timeout_milliseconds(), work)
}

pub(crate) fn rows(steps: Vec<Step>) -> TableIterator<'static, StepRow> {
    let rows: Vec<StepRow> = steps
        .into_iter()
        .zip(1..)
        .map(|(step, ordinal)| {
            let (partition, sql) = (step.partition.to_string(), step.whole_sql());
            (ordinal, step.parent, step.action.as_str(), partition, sql, step.lock, step.reason)
        })
        .collect();
    TableIterator::new(rows)
}

/// The template that was named, checked. `'-'::regclass`, which is OID 0, names none.
pub(super) fn chosen_template(table: &Table, template: Option<Oid>) -> Result<Option<Oid>> {
    let chosen = template.filter(|oid| crate::pg::ident::oid_number(*oid) != 0);
    if let Some(template) = chosen {
        check_template(table, template)?;
    }
    Ok(chosen)
}

/// Whether a table may be `parent`'s template.
fn check_template(parent: &Table, template: Oid) -> Result<()> {
    let facts = query::optional(
        "SELECT c.relkind::pg_catalog.text, c.relowner,
                pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text,
                pg_catalog.pg_get_userbyid($2)::pg_catalog.text
           FROM pg_catalog.pg_class c WHERE c.oid = $1",
        &[template.into(), parent.owner.into()],
        |row| {
            Ok((
                row.required::<String>(1)?,
                row.required::<Oid>(2)?,
                row.required::<String>(3)?,
                row.required::<String>(4)?,
            ))
        },
    )?;
    let missing = || Error::NoSuchRelation { oid: crate::pg::ident::oid_number(template) };
    let (kind, template_owner, template_owner_name, owner) = facts.ok_or_else(missing)?;
    let template = table::name(template)?.ok_or_else(missing)?.to_string();
    if kind != "r" {
        return Err(Error::TemplateKind { template });
    }
    // What the template's owner writes into its indexes runs with the rights of the set's owner.
    if template_owner != parent.owner {
        return Err(Error::TemplateOwner {
            relation: parent.display(),
            template,
            template_owner: template_owner_name,
            owner,
        });
    }
    Ok(())
}
