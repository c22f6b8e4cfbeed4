//! What the views show of a hash set, read from its bounds: `steward.hash_partitions` and
//! `steward.hash_holes`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::plan;
use super::steps;
use crate::error::Result;
use crate::partition::table::{Strategy, Table};
use crate::pg::bounds::{self, RawHash};
use crate::pg::{Oid, identity};

/// The partitions of a hash set; none when it is gone, not the caller's to see, or locked by somebody.
fn open(parent: Oid) -> Result<Vec<RawHash>> {
    let Ok(table) = Table::read(parent) else { return Ok(Vec::new()) };
    let visible = identity::caller_is(table.owner) || identity::caller_monitors();
    if table.strategy != Strategy::Hash || !visible || !bounds::can_open_now(table.oid) {
        return Ok(Vec::new());
    }
    steps::partitions(&table)
}

#[pg_extern(sql = false)]
fn hash_partitions(
    parent: Oid,
) -> std::result::Result<
    TableIterator<'static, (name!(partition, Oid), name!(modulus, i32), name!(remainder, i32))>,
    ErrorReport,
> {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let found = open(parent)?;
    Ok(TableIterator::new(
        found.into_iter().map(move |raw| (raw.oid, number(raw.modulus), number(raw.remainder))),
    ))
}

#[pg_extern(sql = false)]
fn hash_holes(parent: Oid) -> std::result::Result<Vec<String>, ErrorReport> {
    let classes: Vec<_> = open(parent)?.iter().map(steps::class).collect();
    let missing = plan::greatest_modulus(&classes)
        .map_or_else(Vec::new, |modulus| plan::missing(&classes, modulus));
    Ok(missing.iter().map(ToString::to_string).collect())
}
