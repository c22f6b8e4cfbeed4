//! The calendar: civil dates, time zones, period boundaries and the names of periods.
//!
//! Pure: no Postgres, no clock, no I/O. An instant is always an argument, and what the server knows of
//! time zones comes in through [`Zone`], so that boundaries cannot disagree with the server's own.

pub(crate) mod civil;
pub(crate) mod label;
pub(crate) mod period;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod zone;

pub(crate) use civil::{Date, WallClock};
pub(crate) use label::{Name, NameFormat};
pub(crate) use period::{Origin, Period};
pub(crate) use zone::{Utc, Zone};

/// Microseconds since 2000-01-01 00:00, PostgreSQL's epoch (`POSTGRES_EPOCH_JDATE` in
/// `src/include/datatype/timestamp.h`): of UTC for an instant, of the local clock for a wall time.
///
/// 128 bits, so that nothing computed from any value of any PostgreSQL type can overflow.
pub(crate) type Micros = i128;

/// A second in [`Micros`].
pub(crate) const SECOND: Micros = 1_000_000;
/// A minute in [`Micros`].
pub(crate) const MINUTE: Micros = 60 * SECOND;
/// An hour in [`Micros`].
pub(crate) const HOUR: Micros = 60 * MINUTE;
/// A civil day in [`Micros`].
pub(crate) const DAY: Micros = 24 * HOUR;
