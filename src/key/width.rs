//! How wide the ranges of a set are, and where on the axis they begin.

use crate::calendar::{Origin, Period, Zone};

/// How wide the ranges of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Width {
    /// A period of the calendar.
    Time(Period),
    /// So many integers; ranges lie on the multiples.
    Number(i128),
    /// A period that is counted from an origin of the set's own.
    TimeFrom(Period, Origin),
    /// So many integers, counted from an origin of the set's own.
    NumberFrom {
        /// How many.
        width: i128,
        /// One of the boundaries.
        origin: i128,
    },
}

impl Width {
    /// The last boundary at or before a position.
    #[must_use]
    pub(crate) fn floor(&self, zone: &dyn Zone, position: i128) -> i128 {
        match self {
            Self::Time(period) => period.floor(zone, position),
            Self::Number(width) => floor_to(position, *width),
            Self::TimeFrom(period, origin) => period.floor_from(*origin, zone, position),
            Self::NumberFrom { width, origin } => floor_to(position - origin, *width) + origin,
        }
    }

    /// The first boundary strictly after a position.
    #[must_use]
    pub(crate) fn next(&self, zone: &dyn Zone, position: i128) -> i128 {
        match self {
            Self::Time(period) => period.next(zone, position),
            Self::TimeFrom(period, origin) => period.next_from(*origin, zone, position),
            Self::Number(width) | Self::NumberFrom { width, .. } => {
                self.floor(zone, position) + width.max(&1)
            }
        }
    }

    /// The period of the calendar; None for integers.
    #[must_use]
    pub(crate) fn period(&self) -> Option<Period> {
        match self {
            Self::Time(period) | Self::TimeFrom(period, _) => Some(*period),
            Self::Number(_) | Self::NumberFrom { .. } => None,
        }
    }
}

/// The last multiple of a width at or before a position.
fn floor_to(position: i128, width: i128) -> i128 {
    position.div_euclid(width.max(1)) * width.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Utc;

    #[test]
    fn ranges_of_numbers_can_be_counted_from_an_origin() {
        for origin in [7, -993, 1_000_000_007] {
            let width = Width::NumberFrom { width: 1_000, origin };
            assert_eq!(width.floor(&Utc, 6), -993);
            assert_eq!(width.floor(&Utc, 7), 7);
            assert_eq!(width.next(&Utc, 7), 1_007);
            assert_eq!(width.next(&Utc, -994), -993);
        }
    }
}
