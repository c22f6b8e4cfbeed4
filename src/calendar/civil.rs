//! Civil dates: the proleptic Gregorian calendar, as PostgreSQL uses it (`date2j` and `j2date` in
//! `src/backend/utils/adt/datetime.c`).

use std::fmt;

use super::{DAY, HOUR, MINUTE, Micros, SECOND};

/// Days in 400 Gregorian years.
const CYCLE_DAYS: i128 = 146_097;
/// 2000-03-01 in days since 2000-01-01: the day a 400-year cycle begins when years begin in March,
/// which puts the leap day last and so makes every month's offset a linear formula.
const CYCLE_START: i128 = 60;

/// A civil date. Years are astronomical: 0 is 1 BC, -1 is 2 BC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Date {
    /// Astronomical year.
    pub(crate) year: i128,
    /// 1 to 12.
    pub(crate) month: u8,
    /// 1 to 31.
    pub(crate) day: u8,
}

impl Date {
    /// The date `days` days after 2000-01-01.
    #[must_use]
    pub(crate) fn from_days(days: i128) -> Self {
        let cycle = (days - CYCLE_START).div_euclid(CYCLE_DAYS);
        let in_cycle = (days - CYCLE_START).rem_euclid(CYCLE_DAYS);
        let year_in_cycle =
            (in_cycle - in_cycle / 1_460 + in_cycle / 36_524 - in_cycle / (CYCLE_DAYS - 1)) / 365;
        let in_year = in_cycle - (365 * year_in_cycle + year_in_cycle / 4 - year_in_cycle / 100);
        let march_month = (5 * in_year + 2) / 153;
        let month = small(if march_month < 10 { march_month + 3 } else { march_month - 9 });
        Self {
            year: 2000 + 400 * cycle + year_in_cycle + i128::from(month <= 2),
            month,
            day: small(in_year - (153 * march_month + 2) / 5 + 1),
        }
    }

    /// Days since 2000-01-01.
    #[must_use]
    pub(crate) fn to_days(self) -> i128 {
        let year = self.year - 2000 - i128::from(self.month <= 2);
        let year_in_cycle = year.rem_euclid(400);
        let march_month = (i128::from(self.month) + 9) % 12;
        let in_year = (153 * march_month + 2) / 5 + i128::from(self.day) - 1;
        year.div_euclid(400) * CYCLE_DAYS + 365 * year_in_cycle + year_in_cycle / 4
            - year_in_cycle / 100
            + in_year
            + CYCLE_START
    }

    /// The first of the month `months` months after January 2000.
    #[must_use]
    pub(crate) fn from_months(months: i128) -> Self {
        Self { year: 2000 + months.div_euclid(12), month: small(months.rem_euclid(12) + 1), day: 1 }
    }

    /// Months since January 2000.
    #[must_use]
    pub(crate) fn to_months(self) -> i128 {
        (self.year - 2000) * 12 + i128::from(self.month) - 1
    }

    /// The quarter, 1 to 4.
    #[must_use]
    pub(crate) fn quarter(self) -> u8 {
        (self.month - 1) / 3 + 1
    }

    /// ISO 8601 week-numbering year and week (1 to 53).
    #[must_use]
    pub(crate) fn iso_week(self) -> (i128, u8) {
        let days = self.to_days();
        // 2000-01-01 was a Saturday; a week belongs to the year its Thursday is in.
        let thursday = days - (days + 5).rem_euclid(7) + 3;
        let year = Self::from_days(thursday).year;
        let new_year = Self { year, month: 1, day: 1 }.to_days();
        (year, small((thursday - new_year) / 7 + 1))
    }
}

/// PostgreSQL's ISO text without the era, which belongs at the very end: see [`WallClock::era`].
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let year = if self.year > 0 { self.year } else { 1 - self.year };
        write!(f, "{year:04}-{:02}-{:02}", self.month, self.day)
    }
}

/// What the clock on the wall shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WallClock {
    /// The date.
    pub(crate) date: Date,
    /// 0 to 23.
    pub(crate) hour: u8,
    /// 0 to 59.
    pub(crate) minute: u8,
    /// 0 to 59.
    pub(crate) second: u8,
    /// Microseconds, 0 to 999,999.
    pub(crate) micros: u32,
}

impl WallClock {
    /// The clock at `wall` microseconds since 2000-01-01 00:00 local time.
    #[must_use]
    pub(crate) fn at(wall: Micros) -> Self {
        let in_day = wall.rem_euclid(DAY);
        Self {
            date: Date::from_days(wall.div_euclid(DAY)),
            hour: small(in_day / HOUR),
            minute: small(in_day % HOUR / MINUTE),
            second: small(in_day % MINUTE / SECOND),
            micros: u32::try_from(in_day % SECOND).unwrap_or_default(),
        }
    }

    /// `" BC"` for the years before 1, else nothing: PostgreSQL wants it after the zone
    /// (`EncodeDateTime` in `src/backend/utils/adt/datetime.c`).
    #[must_use]
    pub(crate) fn era(&self) -> &'static str {
        if self.date.year > 0 { "" } else { " BC" }
    }
}

/// PostgreSQL's ISO text without zone and era: `2025-01-31 13:00:00`, with a fraction only if there is one.
impl fmt::Display for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02}:{:02}:{:02}", self.date, self.hour, self.minute, self.second)?;
        if self.micros == 0 {
            return Ok(());
        }
        let fraction = format!("{:06}", self.micros);
        write!(f, ".{}", fraction.trim_end_matches('0'))
    }
}

/// Narrows what the arithmetic above has already brought below 60.
fn small(value: i128) -> u8 {
    u8::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn date(year: i128, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    #[test]
    fn known_days() {
        assert_eq!(date(2000, 1, 1).to_days(), 0);
        assert_eq!(date(1970, 1, 1).to_days(), -10_957);
        assert_eq!(date(2000, 3, 1).to_days(), 60);
        assert_eq!(date(1999, 12, 31).to_days(), -1);
        // The ends of PostgreSQL's types: Julian day 0 and DATE_END_JULIAN (datatype/timestamp.h).
        assert_eq!(date(-4713, 11, 24).to_days(), -2_451_545);
        assert_eq!(date(5_874_898, 1, 1).to_days(), 2_147_483_494 - 2_451_545);
        assert_eq!(date(294_277, 1, 1).to_days() * DAY, 9_223_371_331_200_000_000);
    }

    #[test]
    fn iso_weeks() {
        assert_eq!(date(2025, 1, 27).iso_week(), (2025, 5));
        assert_eq!(date(2024, 12, 30).iso_week(), (2025, 1));
        assert_eq!(date(2021, 1, 3).iso_week(), (2020, 53));
        assert_eq!(date(2000, 1, 3).iso_week(), (2000, 1));
    }

    #[test]
    fn texts() {
        let text = |wall| {
            let clock = WallClock::at(wall);
            format!("{clock}{}", clock.era())
        };
        assert_eq!(text(0), "2000-01-01 00:00:00");
        assert_eq!(text(-1), "1999-12-31 23:59:59.999999");
        assert_eq!(text(1_500_000), "2000-01-01 00:00:01.5");
        assert_eq!(text(date(-43, 3, 15).to_days() * DAY), "0044-03-15 00:00:00 BC");
        assert_eq!(text(date(12_025, 3, 15).to_days() * DAY), "12025-03-15 00:00:00");
    }

    proptest! {
        #[test]
        fn days_round_trip(days in -3_000_000_000_i128..3_000_000_000) {
            let here = Date::from_days(days);
            prop_assert_eq!(here.to_days(), days);
            prop_assert!(here < Date::from_days(days + 1));
            prop_assert!((1..=12).contains(&here.month) && (1..=31).contains(&here.day));
        }

        #[test]
        fn agrees_with_jiff(days in -3_000_000_i32..2_900_000) {
            let theirs = jiff::civil::date(2000, 1, 1) + jiff::Span::new().days(days);
            let ours = Date::from_days(days.into());
            prop_assert_eq!(ours.year, theirs.year().into());
            prop_assert_eq!(i8::try_from(ours.month).unwrap(), theirs.month());
            prop_assert_eq!(i8::try_from(ours.day).unwrap(), theirs.day());
            let week = theirs.iso_week_date();
            prop_assert_eq!(ours.iso_week(), (week.year().into(), week.week().try_into().unwrap()));
        }

        #[test]
        fn months_round_trip(months in -100_000_i128..100_000) {
            prop_assert_eq!(Date::from_months(months).to_months(), months);
        }
    }
}
