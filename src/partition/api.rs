//! The SQL face: `manage_range`, `alter_range`, `unmanage`, `plan`. Thin: validate, plan, apply.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::apply;
use super::catalog::{self, Parent};
use super::policy::{self, Request};
use super::steps::{self, Step, Work};
use crate::error::{Error, Result};
use crate::jobs::{self, Job};
use crate::pg::{
    Oid, clock, ident, identity, query, report, settings as pg_settings, subtransaction, wakeup,
    workers,
};
use crate::settings;

/// A row of `steward.step`.
type StepRow = (i32, Oid, &'static str, String, String, String, String);

#[pg_extern(sql = false)]
#[expect(clippy::too_many_arguments, reason = "the contract's signature")]
fn manage_range(
    parent: Option<Oid>,
    partition_interval: Option<&str>,
    premake: Option<i32>,
    time_zone: Option<&str>,
    start_at: Option<&str>,
    key_encoding: Option<&str>,
    name_format: Option<&str>,
    default_partition: Option<bool>,
    template: Option<Oid>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(ordinal, i32),
            name!(parent, Oid),
            name!(action, &'static str),
            name!(partition, String),
            name!(sql, String),
            name!(lock, String),
            name!(reason, String),
        ),
    >,
    ErrorReport,
> {
    let parent = owned_parent(needed(parent, "parent")?, "manage_range()")?;
    if policy::stored(parent.oid)?.is_some() {
        return Err(Error::AlreadyManaged { relation: parent.display() }.into());
    }
    let request = Request {
        partition_interval: needed(partition_interval, "partition_interval")?.trim().to_owned(),
        premake: needed(premake, "premake")?,
        time_zone: match time_zone {
            Some(name) => name.to_owned(),
            None => session_time_zone()?,
        },
        start_at: start_at.map(str::to_owned),
        key_encoding: key_encoding.map(str::to_owned),
        name_format: name_format.map(str::to_owned),
        default_partition: needed(default_partition, "default_partition")?,
        template: chosen_template(&parent, template)?,
    };
    Ok(rows(adopt(parent, request, Start::Given)?))
}

#[pg_extern(sql = false)]
#[expect(clippy::too_many_arguments, reason = "the contract's signature")]
fn alter_range(
    parent: Option<Oid>,
    partition_interval: Option<&str>,
    premake: Option<i32>,
    time_zone: Option<&str>,
    start_at: Option<&str>,
    key_encoding: Option<&str>,
    name_format: Option<&str>,
    default_partition: Option<bool>,
    template: Option<Oid>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(ordinal, i32),
            name!(parent, Oid),
            name!(action, &'static str),
            name!(partition, String),
            name!(sql, String),
            name!(lock, String),
            name!(reason, String),
        ),
    >,
    ErrorReport,
> {
    let parent = owned_parent(needed(parent, "parent")?, "alter_range()")?;
    let not_managed = || Error::NotManaged { relation: parent.display() };
    let (kept, unfinished) = policy::stored(parent.oid)?.ok_or_else(not_managed)?;
    let or = |given: Option<&str>, kept: Option<String>| match given {
        Some("") => None,
        Some(text) => Some(text.to_owned()),
        None => kept,
    };
    let request = Request {
        partition_interval: partition_interval
            .map_or(kept.partition_interval, |text| text.trim().to_owned()),
        premake: premake.unwrap_or(kept.premake),
        time_zone: time_zone.map_or(kept.time_zone, str::to_owned),
        start_at: or(start_at, kept.start_at),
        key_encoding: or(key_encoding, kept.key_encoding),
        name_format: or(name_format, kept.name_format),
        default_partition: default_partition.unwrap_or(kept.default_partition),
        template: match template {
            Some(_) => chosen_template(&parent, template)?,
            None => kept.template,
        },
    };
    let start = match start_at {
        Some(_) => Start::Given,
        None => Start::Kept { unfinished: unfinished.filter(|_| key_encoding.is_none()) },
    };
    Ok(rows(adopt(parent, request, start)?))
}

#[pg_extern(sql = false)]
fn unmanage(relation: Oid) -> std::result::Result<(), ErrorReport> {
    if workers::in_recovery() {
        return Err(Error::OnStandby { action: "unmanage()" }.into());
    }
    // Any relation that has a policy, also one that is no partitioned table any more.
    let name = catalog::name(relation)?
        .ok_or(Error::NoSuchRelation { oid: crate::pg::ident::oid_number(relation) })?;
    let owner = query::one(
        "SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = $1",
        &[relation.into()],
        |row| row.required(1),
    )?;
    check_owner(&name.to_string(), owner)?;
    in_time(&name.to_string(), || jobs::keep_runs_away(relation))?;
    if !forget(relation)? {
        return Err(Error::NotManaged { relation: name.to_string() }.into());
    }
    wakeup::at_commit();
    Ok(())
}

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
            name!(partition, String),
            name!(sql, String),
            name!(lock, String),
            name!(reason, String),
        ),
    >,
    ErrorReport,
> {
    let at = needed(at, "at")?.into_inner();
    let mut planned = Vec::new();
    match parent {
        Some(parent) => {
            let parent = catalog::parent(parent)?;
            check_owner(&parent.display(), parent.owner)?;
            planned.extend(in_time(&parent.display(), || steps::prepare(parent.oid, at))?.steps);
        }
        None => {
            for oid in policy::managed()? {
                let Ok(parent) = catalog::parent(oid) else { continue };
                if !identity::caller_is(parent.owner) {
                    continue;
                }
                match in_time(&parent.display(), || steps::prepare(oid, at)) {
                    Ok(work) => planned.extend(work.steps),
                    Err(error) => report::failure(&parent.display(), &error),
                }
            }
        }
    }
    Ok(rows(planned))
}

/// The template that was named, checked. `'-'::regclass`, which is OID 0, names none.
fn chosen_template(parent: &Parent, template: Option<Oid>) -> Result<Option<Oid>> {
    let chosen = template.filter(|oid| ident::oid_number(*oid) != 0);
    if let Some(template) = chosen {
        policy::check_template(parent, template)?;
    }
    Ok(chosen)
}

/// From where on holes are filled when a policy is put in force.
enum Start {
    /// `start_at` was given: what was asked for from there on is nobody's choice to leave out.
    Given,
    /// It was not; a make-up of missed periods may be under way.
    Kept { unfinished: Option<i128> },
}

/// Puts a policy in force: stores it, and takes its steps in the caller's transaction.
fn adopt(parent: Parent, mut request: Request, start: Start) -> Result<Vec<Step>> {
    let oid = parent.oid;
    let mut set = policy::interpret(parent, &request)?;
    request.settle_start(&set);
    request.time_zone = set.zone.name();
    set.policy.make_up_from = match start {
        Start::Given => set.policy.start,
        Start::Kept { unfinished } => unfinished,
    };
    // No run of this set until we commit: it would plan what we are about to make.
    in_time(&set.parent.display(), || jobs::keep_runs_away(oid))?;
    policy::store(oid, &request)?;
    identity::as_steward(|| match jobs::find_by_target(oid)? {
        Some(_) => jobs::make_due(oid),
        None => jobs::create("partition", oid).map(|_| ()),
    })?;
    let taken = in_time(&set.parent.display(), || {
        let work = steps::plan(&set, clock::now())?;
        match work.refused {
            Some(refused) => Err(refused),
            None => take_all(&work),
        }
    })?;
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
                left_from = apply::lowest(left_from, step.begins);
            }
            None => apply::take(work, step)?,
        }
    }
    policy::remember_make_up(work.parent, left_from)?;
    Ok(work.steps.clone())
}

/// Forgets a policy and its job. False: there was none.
pub(crate) fn forget(parent: Oid) -> Result<bool> {
    let known = policy::forget(parent)?;
    identity::as_steward(|| jobs::delete(parent))?;
    Ok(known)
}

/// The job of a set that the caller owns.
pub(crate) fn owned_job(parent: Oid) -> Result<Job> {
    let parent = catalog::parent(parent)?;
    check_owner(&parent.display(), parent.owner)?;
    identity::as_steward(|| jobs::find_by_target(parent.oid))?
        .ok_or_else(|| Error::NotManaged { relation: parent.display() })
}

fn owned_parent(parent: Oid, action: &'static str) -> Result<Parent> {
    if workers::in_recovery() {
        return Err(Error::OnStandby { action });
    }
    let parent = catalog::parent(parent)?;
    check_owner(&parent.display(), parent.owner)?;
    Ok(parent)
}

fn check_owner(relation: &str, owner: Oid) -> Result<()> {
    if identity::caller_is(owner) {
        return Ok(());
    }
    Err(Error::NotOwner { relation: relation.to_owned(), owner: identity::role_name(owner)? })
}

/// An argument that has to be there: the functions are not STRICT, for others may be NULL.
fn needed<T>(value: Option<T>, argument: &'static str) -> Result<T> {
    value.ok_or(Error::NullArgument { argument })
}

/// Reading a set takes ACCESS SHARE on it, as any query does; also that is not waited for in vain.
fn in_time<T>(relation: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let milliseconds = settings::lock_timeout_milliseconds();
    pg_settings::with_lock_timeout(milliseconds, || subtransaction::run(work))
        .map_err(|error| error.naming_lock(relation, milliseconds))
}

fn session_time_zone() -> Result<String> {
    query::one("SELECT pg_catalog.current_setting('TimeZone')", &[], |row| row.required(1))
}

fn rows(steps: Vec<Step>) -> TableIterator<'static, StepRow> {
    let rows: Vec<StepRow> = steps
        .into_iter()
        .zip(1..)
        .map(|(step, ordinal)| {
            let partition = step.partition.to_string();
            (ordinal, step.parent, step.action, partition, step.sql, step.lock, step.reason)
        })
        .collect();
    TableIterator::new(rows)
}
