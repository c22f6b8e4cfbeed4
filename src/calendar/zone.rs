//! Time zones, seen as PostgreSQL sees them.

use super::{DAY, Micros, SECOND};

/// A time zone. The server's own `pg_tz` is wrapped behind it elsewhere, so that a boundary made here
/// and one that PostgreSQL computes can never come from different time zone data.
///
/// Implementations must answer for every `utc`; outside of what they know the nearest known offset holds.
pub(crate) trait Zone {
    /// The offset from UTC in force at the instant `utc`, in microseconds, positive east of Greenwich.
    /// Always whole seconds and less than a day.
    fn offset_at(&self, utc: Micros) -> Micros;

    /// The first transition strictly after the instant `utc`; `None` if there is none.
    ///
    /// A transition at which the offset happens to stay the same (only the abbreviation changes) may be
    /// reported or not; `pg_next_dst_boundary` reports it.
    fn next_change(&self, utc: Micros) -> Option<Micros>;

    /// The wall time at the instant `utc`: microseconds since 2000-01-01 00:00 local time.
    fn wall(&self, utc: Micros) -> Micros {
        utc + self.offset_at(utc)
    }

    /// The instant that PostgreSQL means by a wall time: `DetermineTimeZoneOffsetInternal` in
    /// `src/backend/utils/adt/datetime.c`, step by step. A wall time that a forward jump leaves out is
    /// read with the offset before the jump, one that a backward jump repeats with the offset after it.
    fn instant(&self, wall: Micros) -> Micros {
        // PostgreSQL decides on whole seconds and adds the fraction afterwards.
        let fraction = wall.rem_euclid(SECOND);
        let wall = wall - fraction;
        // Offsets are below a day and transitions at least two days apart, so the first transition
        // after the day before is the only one that can matter. PostgreSQL assumes the same.
        let previous = wall - DAY;
        let before = wall - self.offset_at(previous);
        let Some(change) = self.next_change(previous) else {
            return before + fraction;
        };
        let after = wall - self.offset_at(change);
        let utc = if before < change && after < change {
            before
        } else if before > change && after >= change {
            after
        } else {
            // Left out (before > after) or repeated (before < after): both times the later instant.
            before.max(after)
        };
        utc + fraction
    }
}

/// UTC: also the calendar of keys that already are wall times (`timestamp`, `date`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Utc;

impl Zone for Utc {
    fn offset_at(&self, _utc: Micros) -> Micros {
        0
    }

    fn next_change(&self, _utc: Micros) -> Option<Micros> {
        None
    }
}

/// Whether the wall time shown at the instant `utc` is shown at another instant too.
#[must_use]
pub(crate) fn is_repeated(zone: &dyn Zone, utc: Micros) -> bool {
    let wall = zone.wall(utc);
    // Another instant with the same wall time is less than two days away, since offsets are below a day.
    let mut at = utc - 2 * DAY;
    loop {
        let other = wall - zone.offset_at(at);
        if other != utc && zone.wall(other) == wall {
            return true;
        }
        match zone.next_change(at) {
            Some(change) if change <= utc + 2 * DAY => at = change,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
