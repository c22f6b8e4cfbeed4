//! What the views show of a set, read from its bounds: `steward.range_partitions` and
//! `steward.range_summary`.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ageing::{self, text};
use super::catalog::{self, Set};
use super::key::Axis;
use super::policy;
use crate::error::Result;
use crate::partition::table::Table;
use crate::pg::bounds::{self, RangeBounds, RawEdge};
use crate::pg::settings::Pinned;
use crate::pg::{Oid, identity};

/// A managed set that can be shown.
struct Shown {
    set: Set,
    bounds: RangeBounds,
    /// Where "now" is on its axis.
    position: i128,
    /// What ends at or before it is too old.
    horizon: Option<i128>,
}

/// None when it is gone, not managed, not the caller's to see, or locked by somebody. Calls no code of its
/// owner's: the bounds of a set whose key is a column are read without any, and of keys without a clock
/// the last run has noted where they stand.
fn open(parent: Oid, at: i64) -> Result<Option<Shown>> {
    let Ok(table) = Table::read(parent) else { return Ok(None) };
    let Ok(parent) = catalog::parent(table) else { return Ok(None) };
    // Looking takes ACCESS SHARE on the table: not for strangers, and not by waiting, so that one
    // locked set does not hang a view over all of them.
    if !(identity::caller_is(parent.table.owner) || identity::caller_monitors())
        || !bounds::can_open_now(parent.table.oid)
    {
        return Ok(None);
    }
    let Some((request, _)) = policy::stored(parent.table.oid)? else { return Ok(None) };
    let set = policy::interpret(parent, &request)?;
    let Some(bounds) = set.bounds()? else { return Ok(None) };
    let (position, horizon) = match set.policy.key.axis() {
        Axis::Number => {
            let seen = policy::seen(set.parent.table.oid)?;
            (seen.position.or(set.policy.start).unwrap_or(0), seen.horizon)
        }
        Axis::Instant | Axis::Wall => {
            let position = set.position_of(at);
            (position, ageing::horizon(&set, &bounds, position, at)?)
        }
    };
    Ok(Some(Shown { set, bounds, position, horizon }))
}

#[pg_extern(sql = false)]
fn range_partitions(
    parent: Oid,
    at: TimestampWithTimeZone,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(partition, Oid),
            name!(lower_bound, Option<String>),
            name!(upper_bound, Option<String>),
            name!(is_default, bool),
            name!(state, &'static str),
        ),
    >,
    ErrorReport,
> {
    let _pinned = Pinned::begin();
    let mut found = Vec::new();
    if let Some(Shown { set, bounds, position, horizon }) = open(parent, at.into_inner())? {
        let last = (0..bounds.positions()).rev().find(|place| bounds.at(*place).is_some());
        for place in 0..bounds.positions() {
            let Some(raw) = bounds.at(place) else { continue };
            let range = set.range(&raw)?;
            let ends = set.ends(&raw)?;
            let expired = Some(ends) <= horizon && Some(place) != last;
            let state = if expired && ends <= position {
                "expired"
            } else if range.upper.position() <= position {
                "past"
            } else if range.lower.position() > position {
                "future"
            } else {
                "current"
            };
            found.push((raw.oid, Some(text(&raw.lower)), Some(text(&raw.upper)), false, state));
        }
        if let Some(default) = bounds.default_partition() {
            found.push((default, None, None, true, "default"));
        }
    }
    Ok(TableIterator::new(found))
}

#[pg_extern(sql = false)]
fn range_summary(
    parent: Oid,
    at: TimestampWithTimeZone,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(partitions, i64),
            name!(covered_from, Option<String>),
            name!(covered_until, Option<String>),
            name!(default_partition, Option<Oid>),
            name!(holes, Vec<String>),
        ),
    >,
    ErrorReport,
> {
    let _pinned = Pinned::begin();
    let mut found = Vec::new();
    if let Some(Shown { bounds, .. }) = open(parent, at.into_inner())? {
        let mut partitions = 0;
        let mut holes = Vec::new();
        let (mut from, mut until): (Option<String>, Option<RawEdge>) = (None, None);
        let mut hole = false;
        for place in 0..bounds.positions() {
            let Some(raw) = bounds.at(place) else {
                hole = until.is_some();
                continue;
            };
            if let Some(until) = until.as_ref().filter(|_| std::mem::take(&mut hole)) {
                holes.push(format!("[{}, {})", text(until), text(&raw.lower)));
            }
            from.get_or_insert_with(|| text(&raw.lower));
            until = Some(raw.upper);
            partitions += 1;
        }
        found.push((partitions, from, until.as_ref().map(text), bounds.default_partition(), holes));
    }
    Ok(TableIterator::new(found))
}
