use super::*;
use crate::calendar::testing::{ZONES, at, micros, timestamp, zone};
use crate::calendar::{HOUR, MINUTE};
use jiff::{civil::DateTime, tz::TimeZone};
use proptest::prelude::*;

/// The instant by jiff's rules: PostgreSQL's choice is the later one in gaps and folds alike.
fn theirs(tz: &TimeZone, wall: Micros) -> Micros {
    let civil: DateTime = TimeZone::UTC.to_datetime(timestamp(wall));
    micros(tz.to_ambiguous_timestamp(civil).later().unwrap())
}

#[test]
fn gaps_and_folds() {
    let new_york = zone("America/New_York");
    let wall = |text: &str| at(&format!("{text}Z"));
    for (local, utc) in [
        ("2025-03-09T01:59:59", "2025-03-09T06:59:59Z"),
        ("2025-03-09T02:30:00", "2025-03-09T07:30:00Z"), // left out: the offset before
        ("2025-03-09T03:00:00", "2025-03-09T07:00:00Z"),
        ("2025-11-02T00:59:59", "2025-11-02T04:59:59Z"),
        ("2025-11-02T01:30:00", "2025-11-02T06:30:00Z"), // twice: the offset after
        ("2025-11-02T02:00:00", "2025-11-02T07:00:00Z"),
    ] {
        assert_eq!(new_york.instant(wall(local)), at(utc), "{local}");
    }
    assert_eq!(new_york.instant(wall("2025-03-09T02:30:00") + 7), at("2025-03-09T07:30:00Z") + 7);
}

#[test]
fn repeated_wall_times() {
    let new_york = zone("America/New_York");
    for (utc, repeated) in [
        ("2025-11-02T04:59:59Z", false),
        ("2025-11-02T05:00:00Z", true),
        ("2025-11-02T06:00:00Z", true),
        ("2025-11-02T06:59:59Z", true),
        ("2025-11-02T07:00:00Z", false),
        ("2025-03-09T07:00:00Z", false),
    ] {
        assert_eq!(is_repeated(&new_york, at(utc)), repeated, "{utc}");
    }
}

#[test]
fn agrees_with_jiff_around_every_transition() {
    for name in ZONES {
        let zone = zone(name);
        for transition in zone.0.following(timestamp(at("1800-01-01T00:00:00Z"))).take(300) {
            let change = micros(transition.timestamp());
            let wall = zone.wall(change);
            for step in -300..=300_i128 {
                let wall = wall + step * 10 * MINUTE;
                assert_eq!(zone.instant(wall), theirs(&zone.0, wall), "{name} {wall}");
            }
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_jiff(index in 0..ZONES.len(), hours in -1_800_000_i128..1_800_000, rest in 0..3600_i128) {
        let zone = zone(ZONES[index]);
        let wall = hours * HOUR + rest * SECOND;
        prop_assert_eq!(zone.instant(wall), theirs(&zone.0, wall));
        let utc = zone.instant(wall);
        prop_assert_eq!(zone.instant(zone.wall(utc)) == utc || is_repeated(&zone, utc), true);
    }
}
