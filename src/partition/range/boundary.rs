//! A boundary that somebody wrote down, as `start_at` and `origin`: read, and written out in full.

use super::catalog::Set;
use super::encoding::Encoding;
use super::key::{Axis, Key, KeyType};
use super::policy::{Invalid, Request, parsed};
use super::width::Width;
use crate::calendar::{Origin, Zone};
use crate::error::{Error, Result};
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
    let instant: i64 = crate::pg::settings::with_time_zone(&zone.name(), || {
        parsed("SELECT $1::pg_catalog.timestamptz", text, |row| {
            Ok(row.required::<pgrx::datum::TimestampWithTimeZone>(1)?.into_inner())
        })
    })
    .map_err(|_| bad("a time", "2025-01-01"))?;
    if instant == i64::MIN || instant == i64::MAX {
        return Err(bad("a finite time", "2025-01-01"));
    }
    Ok(if key.axis() == Axis::Wall { zone.wall(instant.into()) } else { instant.into() })
}

impl Request {
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
        if let Ok(plain) = Key::new(KeyType::Timestamp, Encoding::Plain) {
            self.origin = plain.encode(&set.zone, wall).or(self.origin.take());
        }
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
