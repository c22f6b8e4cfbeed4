//! What the views show of a hash set, read from its bounds: `steward.hash_partitions` and
//! `steward.hash_holes`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::plan;
use super::steps;
use crate::error::Result;
use crate::partition::table::{Strategy, Table};
use crate::pg::bounds::{self, RawHash};
use crate::pg::guc::Pinned;
use crate::pg::{Oid, Text, called, identity};

/// The partitions of a hash set; None when it is gone, not the caller's to see, or locked by somebody.
fn open(parent: Oid) -> Result<Option<Vec<RawHash>>> {
    let Ok(table) = Table::read(parent) else { return Ok(None) };
    let visible = identity::caller_is(table.owner) || identity::caller_monitors();
    // An expression in the key is its owner's code, which no look at a view calls.
    if table.must_be(Strategy::Hash).is_err() || !visible || !bounds::can_open_now(table.oid) {
        return Ok(None);
    }
    steps::partitions(&table).map(Some)
}

#[pg_extern(sql = false)]
fn hash_partitions(
    parent: Oid,
) -> std::result::Result<
    TableIterator<'static, (name!(partition, Oid), name!(modulus, i32), name!(remainder, i32))>,
    ErrorReport,
> {
    called(|| {
        let _pinned = Pinned::begin();
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let found = open(parent)?.unwrap_or_default();
        Ok(TableIterator::new(
            found.into_iter().map(move |raw| (raw.oid, number(raw.modulus), number(raw.remainder))),
        ))
    })
}

#[pg_extern(sql = false)]
fn hash_holes(parent: Oid, partitions: i32) -> std::result::Result<Option<Vec<Text>>, ErrorReport> {
    called(|| {
        let _pinned = Pinned::begin();
        let Some(existing) = open(parent)? else { return Ok(None) };
        let classes: Vec<_> = existing.iter().map(steps::class).collect();
        let wanted = u32::try_from(partitions).unwrap_or(0);
        let modulus = plan::completed_with(plan::greatest_modulus(&classes), wanted);
        if modulus > plan::MOST_PARTITIONS {
            return Ok(Some(vec![format!("modulus {modulus}: too many to list").into()]));
        }
        let missing = plan::missing(&classes, modulus);
        Ok(Some(missing.iter().map(|class| class.to_string().into()).collect()))
    })
}
