//! What the views show of a set, read from its bounds: `steward.range_partitions` and
//! `steward.range_summary`.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::catalog::{self, Set};
use super::horizon::{self, text};
use super::policy;
use crate::error::Result;
use crate::key::Axis;
use crate::partition::table::Table;
use crate::pg::bounds::{self, RangeBounds, RawEdge};
use crate::pg::guc::Pinned;
use crate::pg::{Oid, Text, called, identity, subtransaction};

/// A managed set that can be shown.
struct Shown {
    set: Set,
    bounds: RangeBounds,
    /// Where "now" is on its axis.
    position: i128,
    /// What ends at or before it is too old.
    horizon: Option<i128>,
}

/// Lets `show` have a set. None: it is gone, not managed, or not the caller's to see. Err within: why it cannot
/// be read, in words, which takes no other set out of a view. Calls no code of its owner's: the bounds of a
/// set whose key is a column are read without any, and of keys without a clock the last run has noted where
/// they stand.
fn look<T>(
    parent: Oid,
    at: i64,
    show: impl FnOnce(&Shown) -> Result<T>,
) -> Result<Option<std::result::Result<T, String>>> {
    let Ok(table) = Table::read(parent) else { return Ok(None) };
    let visible = identity::caller_is(table.owner) || identity::caller_monitors();
    if !visible || policy::stored(table.oid)?.is_none() {
        return Ok(None);
    }
    // Not by waiting, so that one locked set does not hang a view over all of them.
    if !bounds::can_open_now(table.oid) {
        return Ok(Some(Err(format!("{} is locked by another session", table.display()))));
    }
    match subtransaction::run(|| open(table, at)?.map(|shown| show(&shown)).transpose()) {
        Ok(shown) => Ok(shown.map(Ok)),
        Err(error) if error.is_cancel() => Err(error),
        Err(error) => Ok(Some(Err(error.to_string()))),
    }
}

fn open(table: Table, at: i64) -> Result<Option<Shown>> {
    let parent = catalog::parent(table)?;
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
            (position, horizon::horizon(&set, &bounds, position, at)?)
        }
    };
    Ok(Some(Shown { set, bounds, position, horizon }))
}

/// How many holes are listed.
const MOST_HOLES: usize = 100;

type Partition = (Oid, Option<Text>, Option<Text>, bool, &'static str);

#[pg_extern(sql = false)]
fn range_partitions(
    parent: Oid,
    at: TimestampWithTimeZone,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(partition, Oid),
            name!(lower_bound, Option<Text>),
            name!(upper_bound, Option<Text>),
            name!(is_default, bool),
            name!(state, &'static str),
        ),
    >,
    ErrorReport,
> {
    called(|| {
        let _pinned = Pinned::begin();
        // Why one cannot be read is said in the row of the set.
        let found = look(parent, at.into_inner(), partitions)?.and_then(std::result::Result::ok);
        Ok(TableIterator::new(found.unwrap_or_default()))
    })
}

fn partitions(shown: &Shown) -> Result<Vec<Partition>> {
    let Shown { set, bounds, position, horizon } = shown;
    let (position, horizon) = (*position, *horizon);
    let last = (0..bounds.positions()).rev().find(|place| bounds.at(*place).is_some());
    let mut found = Vec::new();
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
        let (lower, upper) = (text(&raw.lower).into(), text(&raw.upper).into());
        found.push((raw.oid, Some(lower), Some(upper), false, state));
    }
    if let Some(default) = bounds.default_partition() {
        found.push((default, None, None, true, "default"));
    }
    Ok(found)
}

/// Of a set: how many partitions, from where to where, the default one, the holes between them; and why it
/// cannot be read.
type Summary =
    (Option<i64>, Option<Text>, Option<Text>, Option<Oid>, Option<Vec<Text>>, Option<Text>);

#[pg_extern(sql = false)]
#[expect(clippy::type_complexity, reason = "pgrx cannot read an alias of it")]
fn range_summary(
    parent: Oid,
    at: TimestampWithTimeZone,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(partitions, Option<i64>),
            name!(covered_from, Option<Text>),
            name!(covered_until, Option<Text>),
            name!(default_partition, Option<Oid>),
            name!(holes, Option<Vec<Text>>),
            name!(problem, Option<Text>),
        ),
    >,
    ErrorReport,
> {
    called(|| {
        let _pinned = Pinned::begin();
        let found = look(parent, at.into_inner(), summary)?;
        let row = found.map(|found| match found {
            Ok(summary) => summary,
            Err(problem) => (None, None, None, None, None, Some(problem.into())),
        });
        Ok(TableIterator::new(row))
    })
}

fn summary(shown: &Shown) -> Result<Summary> {
    let Shown { set, bounds, .. } = shown;
    let mut partitions = 0;
    let mut holes = Vec::new();
    let (mut from, mut until): (Option<Text>, Option<RawEdge>) = (None, None);
    let mut hole = false;
    for place in 0..bounds.positions() {
        let Some(raw) = bounds.at(place) else {
            hole = until.is_some();
            continue;
        };
        if raw.lower == RawEdge::Far || raw.upper == RawEdge::Far {
            set.range(&raw)?;
        }
        if let Some(until) = until.as_ref().filter(|_| std::mem::take(&mut hole)) {
            match holes.len() {
                MOST_HOLES => holes.push("...".into()),
                listed if listed > MOST_HOLES => {}
                _ => holes.push(format!("[{}, {})", text(until), text(&raw.lower)).into()),
            }
        }
        from.get_or_insert_with(|| text(&raw.lower).into());
        until = Some(raw.upper);
        partitions += 1;
    }
    // Bounds that mean nothing to the set's key: said here, where the set is shown.
    if let Some(raw) = (0..bounds.positions()).find_map(|place| bounds.at(place)) {
        set.range(&raw)?;
    }
    let until = until.as_ref().map(|edge| text(edge).into());
    Ok((Some(partitions), from, until, bounds.default_partition(), Some(holes), None))
}
