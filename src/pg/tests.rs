//! Tests that need a server but no cluster of their own: our arithmetic against PostgreSQL's.

#![expect(clippy::unwrap_used, reason = "a test")]

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::{query, time_zone::ServerZone};
use crate::calendar::{DAY, Period, Zone};

/// Where daylight saving, half hours, missing midnights and none of these are.
const ZONES: [&str; 6] = [
    "Europe/Madrid",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
    "UTC",
];

/// Samples a zone and unit: 6 zones × 5 units × 340 > 10,000.
const SAMPLES: i64 = 340;

/// An instant between 1970 and 2037, another one for every number.
fn instant(number: i64) -> i64 {
    const FROM: i64 = -946_684_800_000_000;
    const SPAN: i64 = 2_114_380_800_000_000;
    // A fixed multiplier (Knuth's) spreads the numbers; the same samples every time.
    FROM + (number.wrapping_mul(6_364_136_223_846_793_005) as u64 % SPAN as u64) as i64
}

/// `start + step` as PostgreSQL computes it in a zone.
fn plus(zone: &str, start: i64, step: &str) -> i64 {
    let start = super::clock::timestamp(start).unwrap();
    super::guc::with_time_zone(zone, || {
        query::one("SELECT $1 + $2::pg_catalog.interval", &[start.into(), step.into()], |row| {
            Ok(row.required::<TimestampWithTimeZone>(1)?.into_inner())
        })
    })
    .unwrap()
}

/// `date_trunc(unit, at, zone)`.
fn truncated(zone: &str, at: i64, unit: &str) -> i64 {
    let at = super::clock::timestamp(at).unwrap();
    query::one(
        "SELECT pg_catalog.date_trunc($1, $2, $3)",
        &[unit.into(), at.into(), zone.into()],
        |row| Ok(row.required::<TimestampWithTimeZone>(1)?.into_inner()),
    )
    .unwrap()
}

#[pgrx::pg_schema]
mod tests {
    use super::*;

    /// Ten thousand boundaries against `date_trunc` and `timestamptz + interval`.
    #[pg_test]
    fn boundaries_are_those_of_postgresql() {
        let mut compared = 0;
        for name in ZONES {
            let zone = ServerZone::named(name).unwrap();
            for (unit, step, period) in [
                ("year", "1 year", Period::Months(12)),
                ("quarter", "3 months", Period::Months(3)),
                ("month", "1 month", Period::Months(1)),
                ("week", "7 days", Period::Days(7)),
                ("day", "1 day", Period::Days(1)),
            ] {
                for sample in 0..SAMPLES {
                    let at = instant(sample * 31 + compared);
                    let start = truncated(name, at, unit);
                    assert_eq!(
                        period.floor(&zone, at.into()),
                        i128::from(start),
                        "{name}: {unit} of {at}"
                    );
                    assert_eq!(
                        period.next(&zone, at.into()),
                        i128::from(next(name, start, step, unit)),
                        "{name}: {unit} after {at}"
                    );
                    compared += 1;
                }
            }
        }
        assert!(compared >= 10_000, "{compared}");
    }

    /// The period after the one that starts at `start`. A start that a forward jump has moved off
    /// midnight would carry its odd hour along, so what `+` gives is cut back to the unit.
    fn next(zone: &str, start: i64, step: &str, unit: &str) -> i64 {
        truncated(zone, plus(zone, start, step), unit)
    }

    /// The hour is an hour of real time, across every change of a century.
    #[pg_test]
    fn hours_are_hours() {
        for name in ZONES {
            let zone = ServerZone::named(name).unwrap();
            for sample in 0..2_000 {
                let start = truncated(name, instant(sample), "hour");
                let next = Period::Micros(3_600_000_000).next(&zone, start.into());
                let hour = i128::from(plus(name, start, "1 hour"));
                // Lord Howe's half-hour change makes one period of 30 or 90 minutes.
                let half = 1_800_000_000;
                let changes = zone.offset_at(start.into()) != zone.offset_at(hour + half);
                assert!(
                    next == hour || (changes && (next - hour).abs() == half),
                    "{name}: hour after {start}"
                );
            }
        }
    }

    /// The zone's offsets and changes are those that the server shows.
    #[pg_test]
    fn the_next_change_of_the_clock_is_always_ahead() {
        let far = (1_i128 << 44) * 1_000_000;
        let end = i128::from(i64::MAX);
        for name in ["Europe/Madrid", "America/St_Johns", "UTC", "<+0530>-5:30"] {
            let zone = ServerZone::named(name).unwrap();
            for at in [0, end - 1, end, 8_795_151_075_600_000_000, far, 2 * far, -end, -2 * far] {
                let next = zone.next_change(at);
                assert!(next.is_none_or(|next| next > at), "{name}: {next:?} comes after {at}");
            }
        }
    }

    #[pg_test]
    fn wall_clocks_are_those_of_postgresql() {
        for name in ZONES {
            let zone = ServerZone::named(name).unwrap();
            for sample in 0..1_000 {
                let at = instant(sample);
                let local: i64 = query::one(
                    "SELECT (extract(epoch FROM $1 AT TIME ZONE $2) * 1000000)::pg_catalog.int8",
                    &[super::super::clock::timestamp(at).unwrap().into(), name.into()],
                    |row| row.required(1),
                )
                .unwrap();
                let wall = zone.wall(at.into());
                assert_eq!(wall + 10_957 * DAY, i128::from(local), "{name} at {at}");
                if let Some(change) = zone.next_change(at.into()) {
                    assert!(change > i128::from(at));
                    assert_ne!(zone.offset_at(change - 1), zone.offset_at(change), "{name}");
                }
            }
        }
    }
}
