//! Policies of either kind: put in force, found, forgotten.

use super::access::{check_owner, in_time};
use super::steps::{Step, Work, lowest};
use super::table::{Strategy, Table};
use super::{apply, range, refusal};
use crate::error::Result;
use crate::jobs::{self, Job, Kind};
use crate::pg::{Oid, identity, query, report, subtransaction, wakeup};

/// Puts the policy of an [`owned_table`] in force: `store` keeps it, `plan` plans it, and the steps are
/// taken in the caller's transaction.
pub(super) fn put_in_force(
    table: &Table,
    store: impl FnOnce() -> Result<()>,
    plan: impl FnOnce() -> Result<Work>,
) -> Result<Vec<Step>> {
    subtransaction::run(|| {
        identity::as_steward(|| match jobs::find_by_target(table.oid)? {
            Some(_) => jobs::make_due(table.oid),
            None => jobs::create(Kind::Partition, table.oid),
        })?;
        store()
    })?;
    let taken = in_time(&table.display(), || {
        let work = plan()?;
        range::note_seen(&work)?;
        match work.refused {
            Some(refused) => Err(refused),
            None => take_all(&work),
        }
    })
    .map_err(|error| apply::explaining(error, table.owner))?;
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

/// Removes jobs of ours without a policy, and policies without a job: somebody else has written into our tables.
pub(super) fn forget_strays() -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "WITH range AS (
                 DELETE FROM steward.range_policy p
                  WHERE NOT EXISTS (SELECT FROM steward.job j WHERE j.target = p.parent)),
             hash AS (
                 DELETE FROM steward.hash_policy p
                  WHERE NOT EXISTS (SELECT FROM steward.job j WHERE j.target = p.parent))
             DELETE FROM steward.retired_partition p
              WHERE NOT EXISTS (SELECT FROM steward.job j WHERE j.target = p.parent)",
            &[],
        )?;
        let strays = query::rows(
            "SELECT j.target FROM steward.job j
              WHERE j.kind = 'partition'
                AND NOT EXISTS (SELECT FROM steward.range_policy p WHERE p.parent = j.target)
                AND NOT EXISTS (SELECT FROM steward.hash_policy p WHERE p.parent = j.target)",
            &[],
            |row| row.required::<Oid>(1),
        )?;
        for target in strays {
            let name = jobs::target_name(target)?;
            jobs::forget(target)?;
            report::log(&format!("a job of {name} without a policy is removed"));
        }
        Ok(())
    })
}

/// The job of a set that the caller owns.
pub(crate) fn owned_job(parent: Oid) -> Result<Job> {
    let table = Table::read(parent)?;
    check_owner(&table.display(), table.owner)?;
    identity::as_steward(|| jobs::find_by_target(table.oid))?.ok_or_else(|| refusal(table))
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
