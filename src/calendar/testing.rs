//! For tests only: an independent oracle, jiff with its own bundled copy of the time zone database.

use super::{Micros, SECOND, Zone};
use jiff::{Timestamp, tz::TimeZone};

/// 2000-01-01 in seconds since 1970-01-01.
const EPOCH_SECONDS: i128 = 946_684_800;

/// A zone of jiff's.
pub(crate) struct JiffZone(pub(crate) TimeZone);

/// The zones the tests look at closest.
pub(crate) const ZONES: [&str; 7] = [
    "Europe/Madrid",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
    "America/Havana",
    "UTC",
];

/// The zone of that name; panics if there is none.
pub(crate) fn zone(name: &str) -> JiffZone {
    JiffZone(TimeZone::get(name).unwrap())
}

/// The instant as jiff has it, kept within what jiff can hold.
pub(crate) fn timestamp(utc: Micros) -> Timestamp {
    let seconds = (utc.div_euclid(SECOND) + EPOCH_SECONDS)
        .clamp(Timestamp::MIN.as_second().into(), Timestamp::MAX.as_second().into());
    Timestamp::from_second(seconds.try_into().unwrap()).unwrap()
}

/// The other way round.
pub(crate) fn micros(timestamp: Timestamp) -> Micros {
    i128::from(timestamp.as_microsecond()) - EPOCH_SECONDS * SECOND
}

/// The instant an RFC 3339 text means; panics if it means none.
pub(crate) fn at(text: &str) -> Micros {
    micros(text.parse().unwrap())
}

/// The instant in the zone, as text.
pub(crate) fn show(zone: &JiffZone, utc: Micros) -> String {
    timestamp(utc).to_zoned(zone.0.clone()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

impl Zone for JiffZone {
    fn offset_at(&self, utc: Micros) -> Micros {
        i128::from(self.0.to_offset(timestamp(utc)).seconds()) * SECOND
    }

    fn next_change(&self, utc: Micros) -> Option<Micros> {
        let next = self.0.following(timestamp(utc)).next()?;
        Some(micros(next.timestamp())).filter(|change| *change > utc)
    }
}
