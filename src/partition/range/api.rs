//! The SQL face of range sets: `manage_range`, `alter_range`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::catalog::{self, Parent};
use super::policy::{self, Request};
use super::steps;
use super::zone;
use crate::error::{Error, Result};
use crate::partition::access::{needed, owned_table};
use crate::partition::api::rows;
use crate::partition::policy::put_in_force;
use crate::partition::steps::Step;
use crate::partition::template::chosen_template;
use crate::pg::guc::Pinned;
use crate::pg::{Oid, Text, called, clock, report, transaction};

#[pg_extern(sql = false)]
#[expect(clippy::too_many_arguments, reason = "the contract's signature")]
fn manage_range(
    parent: Option<Oid>,
    partition_interval: Option<Text>,
    premake: Option<i32>,
    time_zone: Option<Text>,
    start_at: Option<Text>,
    key_encoding: Option<Text>,
    name_format: Option<Text>,
    default_partition: Option<bool>,
    template: Option<Oid>,
    subpartition_by: Option<Text>,
    subpartitions: Option<i32>,
    origin: Option<Text>,
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
        let partition_interval = partition_interval.as_deref();
        let time_zone = time_zone.as_deref();
        let start_at = start_at.as_deref();
        let key_encoding = key_encoding.as_deref();
        let name_format = name_format.as_deref();
        let subpartition_by = subpartition_by.as_deref();
        let origin = origin.as_deref();
        let _pinned = Pinned::begin();
        let parent = catalog::parent(owned_table(needed(parent, "parent")?, "manage_range()")?)?;
        if stored(parent.table.oid)?.is_some() {
            return Err(
                Error::AlreadyManaged { relation: parent.display(), call: "alter_range" }.into()
            );
        }
        let invalid = |argument, problem, hint: &str| parent.invalid(argument, problem, hint);
        let request = Request {
            partition_interval: needed(partition_interval, "partition_interval")?.trim().to_owned(),
            premake: needed(premake, "premake")?,
            time_zone: zone::chosen(time_zone, &invalid)?,
            start_at: start_at.map(str::to_owned),
            key_encoding: key_encoding.map(str::to_owned),
            name_format: name_format.map(str::to_owned),
            default_partition: needed(default_partition, "default_partition")?,
            template: chosen_template(&parent.table, template)?,
            subpartition_by: chosen_column(subpartition_by),
            subpartitions,
            retention: None,
            tiering: None,
            origin: origin.map(str::to_owned),
        };
        Ok(rows(adopt(parent, request, Start::Given, Grid::of(origin, true))?))
    })
}

#[pg_extern(sql = false)]
#[expect(clippy::too_many_arguments, reason = "the contract's signature")]
fn alter_range(
    parent: Option<Oid>,
    partition_interval: Option<Text>,
    premake: Option<i32>,
    time_zone: Option<Text>,
    start_at: Option<Text>,
    key_encoding: Option<Text>,
    name_format: Option<Text>,
    default_partition: Option<bool>,
    template: Option<Oid>,
    subpartition_by: Option<Text>,
    subpartitions: Option<i32>,
    origin: Option<Text>,
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
        let partition_interval = partition_interval.as_deref();
        let time_zone = time_zone.as_deref();
        let start_at = start_at.as_deref();
        let key_encoding = key_encoding.as_deref();
        let name_format = name_format.as_deref();
        let subpartition_by = subpartition_by.as_deref();
        let origin = origin.as_deref();
        let _pinned = Pinned::begin();
        let parent = catalog::parent(owned_table(needed(parent, "parent")?, "alter_range()")?)?;
        let not_managed = || parent.table.not_managed();
        let (kept, unfinished) = stored(parent.table.oid)?.ok_or_else(not_managed)?;
        let or = |given: Option<&str>, kept: Option<String>| match given {
            Some("") => None,
            Some(text) => Some(text.to_owned()),
            None => kept,
        };
        // Weeks from a Wednesday on say nothing about where months should begin.
        let same_interval =
            partition_interval.is_none_or(|text| text.trim() == kept.partition_interval);
        let kept_origin = kept.origin.filter(|_| same_interval);
        let invalid = |argument, problem, hint: &str| parent.invalid(argument, problem, hint);
        let request = Request {
            partition_interval: partition_interval
                .map_or(kept.partition_interval, |text| text.trim().to_owned()),
            premake: premake.unwrap_or(kept.premake),
            time_zone: match time_zone {
                Some(_) => zone::chosen(time_zone, &invalid)?,
                None => kept.time_zone,
            },
            start_at: or(start_at, kept.start_at),
            key_encoding: or(key_encoding, kept.key_encoding),
            name_format: or(name_format, kept.name_format),
            default_partition: default_partition.unwrap_or(kept.default_partition),
            template: match template {
                Some(_) => chosen_template(&parent.table, template)?,
                None => kept.template,
            },
            subpartition_by: match subpartition_by {
                Some(_) => chosen_column(subpartition_by),
                None => kept.subpartition_by,
            },
            subpartitions: match subpartition_by {
                Some("") => subpartitions,
                _ => subpartitions.or(kept.subpartitions),
            },
            retention: kept.retention,
            tiering: kept.tiering,
            origin: or(origin, kept_origin),
        };
        let start = match start_at {
            Some(_) => Start::Given,
            None => Start::Kept { unfinished: unfinished.filter(|_| key_encoding.is_none()) },
        };
        Ok(rows(adopt(parent, request, start, Grid::of(origin, !same_interval))?))
    })
}

/// What is stored as of now, when the set's lock was had.
fn stored(parent: Oid) -> Result<Option<(Request, Option<i128>)>> {
    transaction::with_latest_snapshot(|| policy::stored(parent))
}

/// The column that was named; '' names none.
fn chosen_column(column: Option<&str>) -> Option<String> {
    column.filter(|column| !column.is_empty()).map(str::to_owned)
}

/// From where on holes are filled when a policy is put in force.
enum Start {
    /// `start_at` was given: what was asked for from there on is nobody's choice to leave out.
    Given,
    /// It was not; a make-up of missed periods may be under way.
    Kept { unfinished: Option<i128> },
}

/// On which grid an interval lies.
#[derive(PartialEq)]
enum Grid {
    /// That of the partitions which are there, if they have one.
    AsItLies,
    /// That of the policy: the caller says so, or it has gone on so far.
    AsAsked,
}

impl Grid {
    fn of(origin: Option<&str>, is_new_interval: bool) -> Self {
        if origin.is_none() && is_new_interval { Self::AsItLies } else { Self::AsAsked }
    }
}

/// Says which periods are partitioned in turn by their owner's code, which nobody else's look calls.
fn tell_expressions(parent: Oid) -> Result<()> {
    for period in catalog::divided_by_expression(parent)? {
        let error = Error::ExpressionKey { relation: period.to_string() };
        report::failure("what lies below it is not looked at", &error);
    }
    Ok(())
}

/// Puts a policy in force, in the caller's transaction.
fn adopt(parent: Parent, mut request: Request, start: Start, grid: Grid) -> Result<Vec<Step>> {
    let oid = parent.table.oid;
    tell_expressions(oid)?;
    if let Some(column) = &request.subpartition_by {
        policy::check_subpartition_by(&parent, request.template, column)?;
    }
    let mut set = policy::interpret(parent, &request)?;
    if grid == Grid::AsItLies {
        request.continue_grid(&mut set)?;
    }
    request.settle_start(&set);
    request.settle_origin(&set)?;
    request.time_zone = set.zone.name();
    set.policy.make_up_from = match start {
        Start::Given => set.policy.start,
        Start::Kept { unfinished } => unfinished,
    };
    put_in_force(
        &set.parent.table,
        || policy::store(oid, &request),
        || steps::plan(&set, clock::now()),
    )
}
