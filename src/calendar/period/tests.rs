use super::*;
use crate::calendar::testing::{JiffZone, ZONES, at, micros, show, timestamp, zone};
use crate::calendar::{HOUR, MINUTE, Utc};
use proptest::prelude::*;

fn hours(n: u64) -> Period {
    Period::Micros(n * 3_600_000_000)
}

/// The boundaries after an instant, as local text.
fn boundaries(period: Period, zone: &JiffZone, from: &str, count: usize) -> Vec<String> {
    let first = period.next(zone, at(from));
    std::iter::successors(Some(first), |at| Some(period.next(zone, *at)))
        .take(count)
        .map(|at| show(zone, at))
        .collect()
}

/// What holds for every period, zone and instant.
fn check(period: Period, zone: &dyn Zone, t: Micros) -> Result<(), TestCaseError> {
    let (floor, next) = (period.floor(zone, t), period.next(zone, t));
    prop_assert!(floor <= t && t < next, "{period:?} {t}: {floor} {next}");
    prop_assert_eq!(period.floor(zone, floor), floor);
    prop_assert_eq!(period.next(zone, floor), next);
    prop_assert_eq!(period.next(zone, floor - 1), floor);
    prop_assert_eq!(period.floor(zone, next), next);
    prop_assert_eq!(period.floor(zone, next - 1), floor);
    Ok(())
}

fn periods() -> impl Strategy<Value = Period> {
    prop_oneof![
        (1..40_u32).prop_map(Period::Months),
        prop_oneof![Just(1_200), Just(120), Just(1)].prop_map(Period::Months),
        (1..40_u32).prop_map(Period::Days),
        (1..200_u64).prop_map(hours),
        (1..200_u64).prop_map(|n| Period::Micros(n * 60_000_000)),
        (1..200_000_u64).prop_map(|n| Period::Micros(n * 1_000_000)),
        Just(hours(100_000)),
        Just(Period::Micros(i64::MAX as u64 / 1_000_000 * 1_000_000)),
    ]
}

#[test]
fn intervals() {
    use PeriodError as E;
    for (months, days, micros, expected) in [
        (1, 0, 0, Ok(Period::Months(1))),
        (0, 7, 0, Ok(Period::Days(7))),
        (0, 0, 3_600_000_000, Ok(hours(1))),
        (1, 15, 0, Err(E::Mixed("months and days"))),
        (1, 0, 1, Err(E::Mixed("months and time"))),
        (0, 1, -1, Err(E::Mixed("days and time"))),
        (1, 1, 1, Err(E::Mixed("months, days and time"))),
        (0, 0, 0, Err(E::NotPositive)),
        (-1, 0, 0, Err(E::NotPositive)),
        (0, -1, 0, Err(E::NotPositive)),
        (0, 0, i64::MIN, Err(E::NotPositive)),
        (0, 0, 999_999, Err(E::TooShort)),
        (0, 0, 1_500_000, Err(E::FractionalSeconds)),
        (i32::MAX, 0, 0, Ok(Period::Months(2_147_483_647))),
    ] {
        assert_eq!(Period::from_interval(months, days, micros), expected);
    }
}

#[test]
fn calendar_grid() {
    let noon = at("2025-05-14T12:00:00Z"); // a Wednesday
    for (period, floor, next) in [
        (Period::Months(1), "2025-05-01", "2025-06-01"),
        (Period::Months(3), "2025-04-01", "2025-07-01"),
        (Period::Months(12), "2025-01-01", "2026-01-01"),
        (Period::Months(1200), "2000-01-01", "2100-01-01"),
        (Period::Days(7), "2025-05-12", "2025-05-19"),
        (Period::Days(1), "2025-05-14", "2025-05-15"),
    ] {
        assert_eq!(period.floor(&Utc, noon), at(&format!("{floor}T00:00:00Z")), "{period:?}");
        assert_eq!(period.next(&Utc, noon), at(&format!("{next}T00:00:00Z")), "{period:?}");
    }
    assert_eq!(Period::Days(14).floor(&Utc, 2 * DAY), 2 * DAY);
    assert_eq!(Period::Days(10).floor(&Utc, -1), -10 * DAY);
    assert_eq!(Period::Micros(36 * 3_600_000_000).next(&Utc, 0), 36 * HOUR);
}

#[test]
fn clock_grid_on_change_days() {
    let new_york = zone("America/New_York");
    assert_eq!(
        boundaries(hours(1), &new_york, "2025-11-02T04:00:00Z", 4),
        [
            "2025-11-02 01:00:00-04:00",
            "2025-11-02 01:00:00-05:00",
            "2025-11-02 02:00:00-05:00",
            "2025-11-02 03:00:00-05:00"
        ]
    );
    assert_eq!(
        boundaries(hours(1), &new_york, "2025-03-09T06:00:00Z", 2),
        ["2025-03-09 03:00:00-04:00", "2025-03-09 04:00:00-04:00"]
    );
    // The jump leaps over 02:00 and lands on 03:00, no multiple of two hours.
    assert_eq!(
        boundaries(hours(2), &new_york, "2025-03-09T05:00:00Z", 2),
        ["2025-03-09 03:00:00-04:00", "2025-03-09 04:00:00-04:00"]
    );
    for (from, length) in [("2025-03-09T05:00:00Z", 5), ("2025-11-02T04:00:00Z", 7)] {
        assert_eq!(hours(6).next(&new_york, at(from)) - at(from), length * HOUR);
    }
    // Half an hour forward, over 02:00.
    assert_eq!(
        boundaries(hours(1), &zone("Australia/Lord_Howe"), "2025-10-04T14:45:00Z", 3),
        ["2025-10-05 02:30:00+11:00", "2025-10-05 03:00:00+11:00", "2025-10-05 04:00:00+11:00"]
    );
}

#[test]
fn midnights_that_are_missing_or_double() {
    assert_eq!(
        boundaries(Period::Days(1), &zone("America/Sao_Paulo"), "2018-11-03T12:00:00Z", 2),
        ["2018-11-04 01:00:00-02:00", "2018-11-05 00:00:00-02:00"]
    );
    assert_eq!(
        boundaries(Period::Days(1), &zone("America/Havana"), "2025-11-01T12:00:00Z", 2),
        ["2025-11-02 00:00:00-05:00", "2025-11-03 00:00:00-05:00"]
    );
    // Samoa had no 2011-12-30: that day is no period.
    assert_eq!(
        boundaries(Period::Days(1), &zone("Pacific/Apia"), "2011-12-29T12:00:00Z", 2),
        ["2011-12-31 00:00:00+14:00", "2012-01-01 00:00:00+14:00"]
    );
}

/// Every zone there is, around every one of its changes, historic local mean times included.
#[test]
fn consistent_around_every_change_of_every_zone() {
    let some = [
        Period::Days(1),
        Period::Days(7),
        Period::Months(1),
        hours(1),
        hours(5),
        hours(36),
        Period::Micros(420_000_000),
    ];
    for name in jiff::tz::db().available() {
        let zone = zone(name.as_str());
        for transition in zone.0.following(timestamp(at("1700-01-01T00:00:00Z"))).take(160) {
            let change = micros(transition.timestamp());
            for period in some {
                for near in [-25 * HOUR, -HOUR, -1, 0, 1, 29 * MINUTE, 23 * HOUR] {
                    check(period, &zone, change + near)
                        .unwrap_or_else(|error| panic!("{}: {error}", name.as_str()));
                }
            }
        }
    }
}

/// The rule itself, second by second, against the search.
#[test]
fn clock_boundaries_by_brute_force() {
    for (name, around) in [
        ("America/New_York", "2025-11-02T06:00:00Z"),
        ("America/New_York", "2025-03-09T07:00:00Z"),
        ("Australia/Lord_Howe", "2025-04-05T15:00:00Z"),
        ("Australia/Lord_Howe", "2025-10-04T15:30:00Z"),
        ("America/New_York", "1883-11-18T17:00:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ] {
        let zone = zone(name);
        for period in [Period::Micros(60_000_000 * 25), hours(1), hours(2), hours(36)] {
            let Period::Micros(step) = period else { unreachable!() };
            let (from, until) = (at(around) - 40 * HOUR, at(around) + 40 * HOUR);
            let expected: Vec<Micros> = (from / SECOND + 1..=until / SECOND)
                .map(|second| second * SECOND)
                .filter(|t| {
                    let (wall, before) = (zone.wall(*t), zone.wall(*t - SECOND) + SECOND);
                    let multiple = wall.div_euclid(step.into()) * i128::from(step);
                    multiple == wall || multiple >= before
                })
                .collect();
            let found: Vec<Micros> = std::iter::successors(Some(period.next(&zone, from)), |t| {
                Some(period.next(&zone, *t))
            })
            .take_while(|t| *t <= until)
            .collect();
            assert_eq!(found, expected, "{name} {around} {period:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn consistent(period in periods(), index in 0..ZONES.len(), seconds in -7_000_000_000_i128..7_000_000_000, rest in 0..SECOND) {
        check(period, &zone(ZONES[index]), seconds * SECOND + rest)?;
    }

    #[test]
    fn never_overflows(period in periods(), days in -3_000_000_000_i128..3_000_000_000) {
        check(period, &Utc, days * DAY)?;
        check(period, &zone("Europe/Madrid"), days * DAY)?;
    }

    /// jiff's own idea of the starts of months and days.
    #[test]
    fn agrees_with_jiff(index in 0..ZONES.len(), seconds in -4_000_000_000_i64..4_000_000_000, months in 1..30_i32) {
        let zone = zone(ZONES[index]);
        let t = i128::from(seconds) * SECOND;
        let here = timestamp(t).to_zoned(zone.0.clone()).datetime();
        let midnight = |date: jiff::civil::Date| {
            micros(zone.0.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).later().unwrap())
        };
        let since_2000 = (i32::from(here.year()) - 2000) * 12 + i32::from(here.month()) - 1;
        let first = jiff::civil::date(2000, 1, 1) + jiff::Span::new().months(since_2000.div_euclid(months) * months);
        let start = midnight(first);
        if start <= t {
            let period = Period::Months(months.unsigned_abs());
            prop_assert_eq!(period.floor(&zone, t), start);
            prop_assert_eq!(period.next(&zone, t), midnight(first + jiff::Span::new().months(months)));
        }
        let today = midnight(here.date());
        if today <= t {
            prop_assert_eq!(Period::Days(1).floor(&zone, t), today);
            prop_assert_eq!(Period::Days(1).next(&zone, t), midnight(here.date().tomorrow().unwrap()));
        }
    }
}

/// The boundaries after an instant of periods counted from one of them, as local text.
fn boundaries_from(
    (period, boundary): (Period, &str),
    zone: &JiffZone,
    from: &str,
    count: usize,
) -> Vec<String> {
    let origin = Origin::new(period, at(&format!("{boundary}Z"))).unwrap();
    let next = |t: &Micros| Some(period.next_from(origin, zone, *t));
    std::iter::successors(next(&at(from)), next).take(count).map(|at| show(zone, at)).collect()
}

#[test]
fn weeks_can_begin_on_any_day_right_across_daylight_saving() {
    let madrid = zone("Europe/Madrid");
    let wednesdays = (Period::Days(7), "1999-12-29T00:00:00");
    assert_eq!(
        boundaries_from(wednesdays, &madrid, "2025-03-20T12:00:00Z", 3),
        ["2025-03-26 00:00:00+01:00", "2025-04-02 00:00:00+02:00", "2025-04-09 00:00:00+02:00"]
    );
}

#[test]
fn several_months_can_be_counted_from_any_of_them() {
    let from_november = (Period::Months(3), "2031-11-01T00:00:00");
    assert_eq!(
        boundaries_from(from_november, &zone("UTC"), "2025-01-15T00:00:00Z", 3),
        ["2025-02-01 00:00:00+00:00", "2025-05-01 00:00:00+00:00", "2025-08-01 00:00:00+00:00"]
    );
    let from_the_28th = (Period::Months(1), "2020-05-28T06:00:00");
    assert_eq!(
        boundaries_from(from_the_28th, &zone("Europe/Madrid"), "2025-01-28T05:00:00Z", 3),
        ["2025-02-28 06:00:00+01:00", "2025-03-28 06:00:00+01:00", "2025-04-28 06:00:00+02:00"]
    );
}

#[test]
fn hours_can_be_counted_from_any_of_them() {
    assert_eq!(
        boundaries_from((hours(6), "2026-01-01T02:00:00"), &zone("UTC"), "2025-06-01T00:00:00Z", 3),
        ["2025-06-01 02:00:00+00:00", "2025-06-01 08:00:00+00:00", "2025-06-01 14:00:00+00:00"]
    );
}

#[test]
fn an_origin_is_a_whole_second_on_a_day_that_every_month_has() {
    let midnight = |text: &str| at(&format!("{text}T00:00:00Z"));
    assert_eq!(
        Origin::new(Period::Months(1), midnight("2025-01-29")),
        Err(PeriodError::NotInEveryMonth(29))
    );
    assert_eq!(
        Origin::new(Period::Days(1), midnight("2025-01-29") + 1),
        Err(PeriodError::FractionalOrigin)
    );
    assert!(Origin::new(Period::Days(40), midnight("1888-01-31")).unwrap().is_midnight());
    assert!(!Origin::new(Period::Days(1), midnight("2025-01-29") + HOUR).unwrap().is_midnight());
}

proptest! {
    /// Boundaries stay in step, also with an origin in another age, and one of the calendar's own
    /// boundaries as the origin changes nothing.
    #[test]
    fn an_origin_moves_boundaries_and_nothing_else(
        period in periods(),
        name in prop::sample::select(&ZONES[..]),
        t in -3_000_000_000_i128..3_000_000_000,
        boundary in -3_000_000_000_i128..3_000_000_000,
    ) {
        let (zone, t, boundary) = (zone(name), t * SECOND, boundary * SECOND);
        if let Ok(origin) = Origin::new(period, boundary) {
            let (floor, next) =
                (period.floor_from(origin, &zone, t), period.next_from(origin, &zone, t));
            prop_assert!(floor <= t && t < next, "{period:?} {t}: {floor} {next}");
            prop_assert_eq!(period.floor_from(origin, &zone, next), next);
            prop_assert_eq!(period.next_from(origin, &zone, next - 1), next);
            prop_assert_eq!(period.next_from(origin, &zone, floor), next);
            // It is a boundary itself, where no clock is changed.
            prop_assert_eq!(period.floor_from(origin, &Utc, boundary), boundary);
        }
        let usual = period.floor(&Utc, t);
        if let Ok(origin) = Origin::new(period, usual) {
            prop_assert_eq!(period.next_from(origin, &zone, t), period.next(&zone, t));
        }
    }
}
