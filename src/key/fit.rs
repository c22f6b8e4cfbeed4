//! Which widths and ages a key has room for.

use super::{Axis, FOREVER, Key, KeyError, KeyType, Width};
use crate::calendar::Period;

/// The widest range of numbers: a thousandth of the axis, so that a boundary can never leave it by far.
const MAX_NUMBER_WIDTH: i128 = FOREVER / 1_000;

impl Key {
    /// Checks that ranges of this width can be made of this key.
    ///
    /// # Errors
    /// [`KeyError`]: a `date` needs whole days or months, a plain integer a whole number from 1, all others
    /// a period; none can be wider than what the type holds.
    pub(crate) fn check_width(&self, width: &Width) -> Result<(), KeyError> {
        use Width::{Number, NumberFrom, Time, TimeFrom};
        let is_date = self.key_type == KeyType::Date;
        match (self.axis(), width) {
            (Axis::Number, Time(_) | TimeFrom(..)) => Err(KeyError::NumberNeeded(self.key_type)),
            (Axis::Number, Number(width) | NumberFrom { width, .. }) => {
                let widest = self.limits().1.min(MAX_NUMBER_WIDTH);
                match (1..=widest).contains(width) {
                    true => Ok(()),
                    false => Err(KeyError::NumberOutOfRange { key_type: self.key_type, widest }),
                }
            }
            (_, Number(_) | NumberFrom { .. }) => Err(KeyError::TimeNeeded),
            (_, Time(Period::Micros(_)) | TimeFrom(Period::Micros(_), _)) if is_date => {
                Err(KeyError::WholeDaysNeeded)
            }
            (_, TimeFrom(_, origin)) if is_date && !origin.is_midnight() => {
                Err(KeyError::MidnightNeeded)
            }
            (_, Time(period) | TimeFrom(period, _)) if period.length() > self.span() => {
                Err(KeyError::TooLong(self.key_type))
            }
            (_, Time(_) | TimeFrom(..)) => Ok(()),
        }
    }

    /// How far apart the first and the last position are at which this key can hold something.
    #[must_use]
    pub(crate) fn span(&self) -> i128 {
        let (first, last) = self.limits();
        last - first
    }
}
