//! Periods: how long a partition's range is, and where on the calendar the ranges begin.

use thiserror::Error;

use super::{DAY, Date, Micros, SECOND, Zone};

/// The length of a period, always positive, in exactly one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Period {
    /// Calendar months, counted from January 2000; each begins at the local midnight of the 1st.
    Months(u32),
    /// Calendar days, counted from 2000-01-01; multiples of 7 are weeks, counted from Monday 2000-01-03.
    Days(u32),
    /// Microseconds of the wall clock, whole seconds, counted from 2000-01-01 00:00 local time.
    Micros(u64),
}

/// Why an interval is no period. [`PeriodError::hint`] has the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum PeriodError {
    /// More than one of months, days and time.
    #[error("a partition interval cannot mix {0}")]
    Mixed(&'static str),
    /// Zero or negative.
    #[error("a partition interval must be greater than zero")]
    NotPositive,
    /// Shorter than a second.
    #[error("a partition interval must be at least one second")]
    TooShort,
    /// Not a whole number of seconds.
    #[error("a partition interval must be a whole number of seconds")]
    FractionalSeconds,
    /// An [`Origin`] on a day that not every month has.
    #[error("periods of months cannot begin on day {0}, which not every month has")]
    NotInEveryMonth(u8),
    /// An [`Origin`] between two seconds.
    #[error("periods cannot begin on a fraction of a second")]
    FractionalOrigin,
}

/// What the periods of a set are counted from, where it is not the calendar's own beginning: one of
/// its boundaries, as the wall clock shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// Months since January 2000; 0 unless the period is one of months.
    months: i128,
    /// How long after the boundaries of the calendar, so counted, those of the set are.
    delay: Micros,
}

impl Origin {
    /// The origin of a set of such periods that has a boundary at the wall time `boundary`.
    ///
    /// # Errors
    /// [`PeriodError`]: a boundary that not every month has, or one between two seconds.
    pub(crate) fn new(period: Period, boundary: Micros) -> Result<Self, PeriodError> {
        if boundary.rem_euclid(SECOND) != 0 {
            return Err(PeriodError::FractionalOrigin);
        }
        let days = boundary.div_euclid(DAY);
        Ok(match period {
            Period::Months(_) => {
                let date = Date::from_days(days);
                if date.day > LAST_COMMON_DAY {
                    return Err(PeriodError::NotInEveryMonth(date.day));
                }
                let months = date.to_months();
                Self { months, delay: boundary - DAY * Date::from_months(months).to_days() }
            }
            Period::Days(count) => Self { months: 0, delay: boundary - DAY * first_day(count) },
            Period::Micros(_) => Self { months: 0, delay: boundary },
        })
    }

    /// Whether boundaries of days and months are midnights.
    #[must_use]
    pub(crate) fn is_midnight(self) -> bool {
        self.delay.rem_euclid(DAY) == 0
    }
}

/// The last day that every month has.
const LAST_COMMON_DAY: u8 = 28;

/// The day that so many days are counted from: for weeks Monday 2000-01-03.
fn first_day(count: u32) -> i128 {
    if count.is_multiple_of(7) { 2 } else { 0 }
}

/// A zone whose clocks and transitions are all later by a span, so that what lies that long after the
/// boundaries of the calendar in the one lies on them in the other.
struct Delayed<'a> {
    zone: &'a dyn Zone,
    by: Micros,
}

impl Zone for Delayed<'_> {
    fn offset_at(&self, utc: Micros) -> Micros {
        self.zone.offset_at(utc + self.by)
    }

    fn next_change(&self, utc: Micros) -> Option<Micros> {
        self.zone.next_change(utc + self.by).map(|change| change - self.by)
    }
}

impl PeriodError {
    /// A valid example to offer instead.
    #[must_use]
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Mixed(_) => "Use one unit, for example '1 month', '15 days' or '36 hours'.",
            Self::NotPositive => "Use a positive interval, for example '1 month'.",
            Self::TooShort => "Use an interval such as '1 second' or '15 minutes'.",
            Self::FractionalSeconds => "Use whole seconds, for example '90 seconds'.",
            Self::NotInEveryMonth(_) => "Use a day from 1 to 28.",
            Self::FractionalOrigin => "Use a whole second, for example '2025-01-01 06:00'.",
        }
    }
}

impl Period {
    /// A period from the three fields of a PostgreSQL interval (`Interval` in
    /// `src/include/datatype/timestamp.h`). `'1 year'` arrives as 12 months, `'1 week'` as 7 days.
    ///
    /// # Errors
    /// [`PeriodError`], unless exactly one field is set, positive, and (for time) whole seconds.
    pub(crate) fn from_interval(months: i32, days: i32, micros: i64) -> Result<Self, PeriodError> {
        let mixed = match (months != 0, days != 0, micros != 0) {
            (true, true, true) => Some("months, days and time"),
            (true, true, false) => Some("months and days"),
            (true, false, true) => Some("months and time"),
            (false, true, true) => Some("days and time"),
            _ => None,
        };
        if let Some(units) = mixed {
            return Err(PeriodError::Mixed(units));
        }
        // At most one of the three is set from here on, and the conversions fail for the negative only.
        match (u32::try_from(months), u32::try_from(days), u64::try_from(micros)) {
            (Ok(0), Ok(0), Ok(0)) | (Err(_), _, _) | (_, Err(_), _) | (_, _, Err(_)) => {
                Err(PeriodError::NotPositive)
            }
            (Ok(0), Ok(0), Ok(..1_000_000)) => Err(PeriodError::TooShort),
            (Ok(0), Ok(0), Ok(micros)) if !micros.is_multiple_of(1_000_000) => {
                Err(PeriodError::FractionalSeconds)
            }
            (Ok(0), Ok(0), Ok(micros)) => Ok(Self::Micros(micros)),
            (Ok(0), Ok(days), _) => Ok(Self::Days(days)),
            (Ok(months), _, _) => Ok(Self::Months(months)),
        }
    }

    /// About how long it is: that of an average month, where it is one.
    #[must_use]
    pub(crate) fn length(&self) -> Micros {
        // 400 years of the Gregorian calendar have 146,097 days.
        const MONTH: Micros = 146_097 * DAY / 4_800;
        match *self {
            Self::Months(n) => i128::from(n) * MONTH,
            Self::Days(n) => i128::from(n) * DAY,
            Self::Micros(n) => n.into(),
        }
    }

    /// The start of the period that holds the instant `t`: the last boundary at or before it.
    #[must_use]
    pub(crate) fn floor(&self, zone: &dyn Zone, t: Micros) -> Micros {
        self.floor_from(Origin::default(), zone, t)
    }

    /// The first boundary strictly after the instant `t`.
    #[must_use]
    pub(crate) fn next(&self, zone: &dyn Zone, t: Micros) -> Micros {
        self.next_from(Origin::default(), zone, t)
    }

    /// [`Period::floor`] where periods are counted from an origin.
    #[must_use]
    pub(crate) fn floor_from(&self, origin: Origin, zone: &dyn Zone, t: Micros) -> Micros {
        match origin.delay {
            0 => self.grid(origin).floor(zone, t),
            by => self.grid(origin).floor(&Delayed { zone, by }, t - by) + by,
        }
    }

    /// [`Period::next`] where periods are counted from an origin.
    #[must_use]
    pub(crate) fn next_from(&self, origin: Origin, zone: &dyn Zone, t: Micros) -> Micros {
        match origin.delay {
            0 => self.grid(origin).next(zone, t),
            by => self.grid(origin).next(&Delayed { zone, by }, t - by) + by,
        }
    }

    fn grid(&self, origin: Origin) -> Grid {
        // `max(1)`: the variants are public, and an empty period must not divide by zero.
        match *self {
            Self::Months(n) => Grid::Midnights(Midnights::Months {
                count: i128::from(n.max(1)),
                origin: origin.months,
            }),
            Self::Days(n) => Grid::Midnights(Midnights::Days {
                count: i128::from(n.max(1)),
                origin: first_day(n),
            }),
            Self::Micros(n) => Grid::Clock(i128::from(n).max(SECOND)),
        }
    }
}

/// Where boundaries lie.
enum Grid {
    /// At local midnights, each wherever PostgreSQL puts that wall time.
    Midnights(Midnights),
    /// Whenever the wall clock shows a multiple of so many microseconds.
    Clock(Micros),
}

impl Grid {
    fn floor(&self, zone: &dyn Zone, t: Micros) -> Micros {
        match self {
            Self::Midnights(grid) => {
                // Where midnight does not exist or exists twice, the wall clock at `t` can be in a period
                // whose start is still to come: hence from one further and downwards.
                let mut index = grid.index(zone.wall(t)) + 1;
                loop {
                    let start = zone.instant(grid.midnight(index));
                    if start <= t {
                        return start;
                    }
                    index -= 1;
                }
            }
            Self::Clock(step) => clock_floor(*step, zone, t),
        }
    }

    fn next(&self, zone: &dyn Zone, t: Micros) -> Micros {
        match self {
            Self::Midnights(grid) => {
                let mut index = grid.index(zone.wall(t)) - 1;
                loop {
                    let start = zone.instant(grid.midnight(index));
                    if start > t {
                        return start;
                    }
                    index += 1;
                }
            }
            Self::Clock(step) => clock_next(*step, zone, t),
        }
    }
}

/// Numbered midnights; number 0 is the one that counting starts from.
enum Midnights {
    Months { count: i128, origin: i128 },
    Days { count: i128, origin: i128 },
}

impl Midnights {
    /// The number of the last midnight at or before a wall time.
    fn index(&self, wall: Micros) -> i128 {
        let days = wall.div_euclid(DAY);
        match *self {
            Self::Months { count, origin } => {
                (Date::from_days(days).to_months() - origin).div_euclid(count)
            }
            Self::Days { count, origin } => (days - origin).div_euclid(count),
        }
    }

    /// The wall time of a midnight.
    fn midnight(&self, index: i128) -> Micros {
        DAY * match *self {
            Self::Months { count, origin } => Date::from_months(index * count + origin).to_days(),
            Self::Days { count, origin } => index * count + origin,
        }
    }
}

/// How far from its UTC reading a wall time can be, with a day to spare.
const REACH: Micros = 2 * DAY;

// The wall clock runs evenly but for its jumps. It therefore shows, or jumps over, every multiple of the
// step between any two instants that it separates: the multiple at or below the wall time of `t` for the
// last time at or before `t`, or else (after a backward jump) a later multiple. All such moments lie within
// REACH of the multiple itself, so only that window has to be searched, however long the step.

/// The last moment at or before `t` at which the wall clock shows or leaps over a multiple of `step`.
fn clock_floor(step: Micros, zone: &dyn Zone, t: Micros) -> Micros {
    let multiple = floor_to(zone.wall(t), step);
    [multiple + step, multiple]
        .into_iter()
        .find_map(|near| last_mark(step, zone, near - REACH, t.min(near + REACH)))
        .unwrap_or(multiple)
}

/// The first moment after `t` at which the wall clock shows or leaps over a multiple of `step`.
fn clock_next(step: Micros, zone: &dyn Zone, t: Micros) -> Micros {
    let multiple = floor_to(zone.wall(t), step);
    [multiple, multiple + step]
        .into_iter()
        .find_map(|near| first_mark(step, zone, t.max(near - REACH), near + REACH))
        .unwrap_or(multiple + step)
}

/// The last mark in `(after, until]`.
fn last_mark(step: Micros, zone: &dyn Zone, after: Micros, until: Micros) -> Option<Micros> {
    segments(zone, after, until).filter_map(|segment| segment.last_mark(step)).last()
}

/// The first mark in `(after, until]`.
fn first_mark(step: Micros, zone: &dyn Zone, after: Micros, until: Micros) -> Option<Micros> {
    segments(zone, after, until).find_map(|segment| segment.first_mark(step))
}

/// Instants from `first` to `last`, both included, in which the offset stays the same.
struct Segment {
    first: Micros,
    last: Micros,
    offset: Micros,
    /// The wall time that would have been shown at `first` but for the jump there.
    wall_before: Micros,
}

impl Segment {
    fn first_mark(&self, step: Micros) -> Option<Micros> {
        let wall = self.first + self.offset;
        if floor_to(wall, step) >= self.wall_before.min(wall) {
            return Some(self.first).filter(|mark| *mark <= self.last);
        }
        let mark = floor_to(wall, step) + step - self.offset;
        Some(mark).filter(|mark| *mark <= self.last)
    }

    fn last_mark(&self, step: Micros) -> Option<Micros> {
        let first = self.first_mark(step)?;
        // The jump's own mark need not be a multiple, so the last multiple may lie before it.
        Some(first.max(floor_to(self.last + self.offset, step) - self.offset))
    }
}

/// The segments of `(after, until]`, in order.
fn segments(zone: &dyn Zone, after: Micros, until: Micros) -> impl Iterator<Item = Segment> {
    let mut first = after + 1;
    let mut offset_before = zone.offset_at(after);
    std::iter::from_fn(move || {
        if first > until {
            return None;
        }
        let offset = zone.offset_at(first);
        let change = zone.next_change(first);
        let last = change.map_or(until, |change| until.min(change - 1));
        let segment = Segment { first, last, offset, wall_before: first + offset_before };
        offset_before = offset;
        first = last + 1;
        Some(segment)
    })
}

/// The last multiple of `step` at or before `value`.
fn floor_to(value: i128, step: i128) -> i128 {
    value.div_euclid(step) * step
}

#[cfg(test)]
mod tests;
