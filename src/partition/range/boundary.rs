//! A boundary that somebody wrote down, as `start_at` and `origin`: read, and written out in full.

use super::catalog::Set;
use super::grid;
use super::policy::{Invalid, Request, parsed};
use crate::calendar::{Origin, Zone};
use crate::error::{Error, Result};
use crate::key::Encoding;
use crate::key::Width;
use crate::key::{Axis, Key, KeyType};
use crate::pg::bounds::{RawEdge, RawRange};
use crate::pg::report;
use crate::pg::time_zone::ServerZone;

/// A width whose ranges are counted from an origin.
pub(super) fn counted_from(
    width: Width,
    key: &Key,
    zone: &ServerZone,
    text: &str,
    invalid: &Invalid<'_>,
) -> Result<Width> {
    const ARGUMENT: &str = "origin";
    let boundary = position(key, zone, ARGUMENT, text, invalid)?;
    match width {
        Width::Number(width) | Width::NumberFrom { width, .. } => {
            Ok(Width::NumberFrom { width, origin: boundary })
        }
        Width::Time(period) | Width::TimeFrom(period, _) => {
            let wall = key.calendar(zone).wall(boundary);
            let origin = Origin::new(period, wall)
                .map_err(|error| invalid(ARGUMENT, format!("\"{text}\": {error}"), error.hint()))?;
            Ok(Width::TimeFrom(period, origin))
        }
    }
}

/// `start_at` or `origin` as a position on the axis.
pub(super) fn position(
    key: &Key,
    zone: &ServerZone,
    argument: &'static str,
    text: &str,
    invalid: &Invalid<'_>,
) -> Result<i128> {
    let bad = |kind: &str, example: &str| {
        invalid(argument, format!("\"{text}\" is not {kind}"), &format!("For example '{example}'."))
    };
    if key.axis() == Axis::Number {
        return text.trim().parse().map_err(|_| bad("a whole number", "0"));
    }
    // Read in the set's zone unless it says an offset: the server's own parser knows which.
    let instant: i64 = crate::pg::guc::with_time_zone(&zone.name(), || {
        parsed("SELECT $1::pg_catalog.timestamptz", text, |row| {
            Ok(row.required::<pgrx::datum::TimestampWithTimeZone>(1)?.into_inner())
        })
    })
    .map_err(|error| error.about_value(|| bad("a time", "2025-01-01")))?;
    if instant == i64::MIN || instant == i64::MAX {
        return Err(bad("a finite time", "2025-01-01"));
    }
    Ok(if key.axis() == Axis::Wall { zone.wall(instant.into()) } else { instant.into() })
}

/// A boundary of periods as the wall clock shows it, in full.
fn written(set: &Set, wall: i128) -> Option<String> {
    Key::new(KeyType::Timestamp, Encoding::Plain).ok()?.encode(&set.zone, wall)
}

/// Whether a partition begins and ends at whole numbers, where the keys are some: tens from 5.5 lie on no
/// grid of theirs.
fn is_whole(set: &Set, raw: &RawRange) -> bool {
    let key = &set.policy.key;
    let whole = |edge: &RawEdge| match edge {
        RawEdge::At { raw: Some(raw), .. } => key.decode(raw) == key.decode_end(raw),
        _ => true,
    };
    key.axis() != Axis::Number || (whole(&raw.lower) && whole(&raw.upper))
}

/// Edges of what a set has; None: some cannot be read, or lie between two positions.
fn edges(set: &Set) -> Result<Option<Vec<(i128, i128)>>> {
    let Some(bounds) = set.bounds()? else { return Ok(None) };
    let mut found = Vec::new();
    for place in 0..bounds.positions() {
        let Some(raw) = bounds.at(place) else { continue };
        match set.range(&raw) {
            Ok(range) if is_whole(set, &raw) => {
                found.push((range.lower.position(), range.upper.position()));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(found))
}

impl Request {
    /// Goes on with the grid on which the set's partitions lie, where they are exactly as wide as the
    /// interval, and says so. It becomes the origin: without it the next one would be a short one.
    pub(super) fn continue_grid(&mut self, set: &mut Set) -> Result<()> {
        let key = set.policy.key;
        let Some(ranges) = edges(set)? else { return Ok(()) };
        let found = grid::inferred(set.policy.width, key.calendar(&set.zone), &ranges);
        let Some((width, boundary)) = found else { return Ok(()) };
        let text = match key.axis() {
            Axis::Number => Some(boundary.to_string()),
            Axis::Instant | Axis::Wall => written(set, key.calendar(&set.zone).wall(boundary)),
        };
        let Some(text) = text else { return Ok(()) };
        let relation = set.parent.display();
        report::step(
            true,
            &format!("{relation} goes on as its partitions lie: origin => '{text}'"),
        );
        set.policy.width = width;
        self.origin = Some(text);
        Ok(())
    }

    /// Writes `origin` out in full, as the wall clock shows it: in another zone it is that zone's wall
    /// clock that periods are counted on.
    pub(super) fn settle_origin(&mut self, set: &Set) -> Result<()> {
        let Some(text) = &self.origin else { return Ok(()) };
        let key = &set.policy.key;
        if key.axis() == Axis::Number {
            return Ok(());
        }
        let relation = set.parent.display();
        let invalid = |argument, problem: String, hint: &str| Error::InvalidArgument {
            relation: relation.clone(),
            argument,
            problem,
            hint: hint.to_owned(),
        };
        let boundary = position(key, &set.zone, "origin", text, &invalid)?;
        let wall = key.calendar(&set.zone).wall(boundary);
        self.origin = written(set, wall).or(self.origin.take());
        Ok(())
    }

    /// Writes `start_at` out in full, so that 'today' stays the day it was.
    pub(super) fn settle_start(&mut self, set: &Set) {
        let Some(position) = set.policy.start else { return };
        let key_type = match set.policy.key.axis() {
            Axis::Number => return,
            Axis::Wall => KeyType::Timestamp,
            Axis::Instant => KeyType::Timestamptz,
        };
        if let Ok(key) = Key::new(key_type, Encoding::Plain) {
            self.start_at = key.encode(&set.zone, position).or(self.start_at.take());
        }
    }
}
