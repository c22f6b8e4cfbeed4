//! Where the ranges of a set lie that somebody else has made. Pure.

use crate::calendar::{Origin, Zone};
use crate::key::FOREVER;
use crate::key::Width;

/// How many ranges are tried for a boundary to count from: where clocks go forward at midnight, a day begins
/// at an hour that says nothing of the others.
const TRIED: usize = 3;

/// The width with an origin of the set's own, and that origin's position: where ranges that exist are exactly
/// so wide, and every edge of theirs lies on one grid that is not the calendar's, or that of the multiples.
/// None: they lie there anyway, or on no grid, or there are none.
///
/// - `width`: the interval as it was given, without an origin.
/// - `zone`: the calendar on the key's axis.
/// - `ranges`: lower and upper edges, lowest first; those that begin or end nowhere say nothing.
#[must_use]
pub(crate) fn inferred(
    width: Width,
    zone: &dyn Zone,
    ranges: &[(i128, i128)],
) -> Option<(Width, i128)> {
    let is_finite = |at: i128| -FOREVER < at && at < FOREVER;
    let ranges: Vec<(i128, i128)> = ranges
        .iter()
        .copied()
        .filter(|(lower, upper)| is_finite(*lower) && is_finite(*upper))
        .collect();
    let lies_on = |width: &Width, at: i128| width.floor(zone, at) == at;
    let all_lie_on = |width: &Width| {
        ranges.iter().all(|(lower, upper)| lies_on(width, *lower) && lies_on(width, *upper))
    };
    if all_lie_on(&width) {
        return None;
    }
    ranges
        .iter()
        .filter_map(|(lower, upper)| {
            let counted = counted_from(width, zone, *lower)?;
            (counted.next(zone, *lower) == *upper).then_some((counted, *lower))
        })
        .take(TRIED)
        .find(|(counted, _)| all_lie_on(counted))
}

/// The width counted from a boundary; None: nothing can be.
fn counted_from(width: Width, zone: &dyn Zone, boundary: i128) -> Option<Width> {
    match width {
        Width::Number(width) | Width::NumberFrom { width, .. } => {
            Some(Width::NumberFrom { width, origin: boundary })
        }
        Width::Time(period) | Width::TimeFrom(period, _) => {
            let origin = Origin::new(period, zone.wall(boundary)).ok()?;
            Some(Width::TimeFrom(period, origin))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calendar::testing::{ZONES, at, zone};
    use crate::calendar::{DAY, HOUR, Micros, Period, Utc};

    fn tens(ranges: &[(i128, i128)]) -> Option<i128> {
        inferred(Width::Number(10), &Utc, ranges).map(|(_, origin)| origin)
    }

    fn day(text: &str) -> Micros {
        at(&format!("{text}T00:00:00Z"))
    }

    #[test]
    fn tens_from_five() {
        assert_eq!(tens(&[(5, 15), (15, 25)]), Some(5));
        assert_eq!(tens(&[(5, 15)]), Some(5));
        assert_eq!(tens(&[(-15, -5)]), Some(-15));
        // Holes and wider ones change nothing, as long as their edges lie on the same grid.
        assert_eq!(tens(&[(5, 15), (45, 55), (55, 75)]), Some(5));
        assert_eq!(tens(&[(5, 25), (25, 35)]), Some(25));
        // What begins or ends nowhere says nothing.
        assert_eq!(tens(&[(-FOREVER, 3), (5, 15), (15, FOREVER)]), Some(5));
    }

    #[test]
    fn what_lies_on_multiples_or_on_no_grid_has_no_origin() {
        for ranges in [
            &[][..],
            &[(10, 20), (20, 30)],
            &[(-FOREVER, FOREVER)],
            &[(5, 15), (15, 22)],
            &[(0, 10), (10, 25), (25, 35)],
            &[(5, 15), (16, 26)],
            &[(5, 25), (25, 45)],
        ] {
            assert_eq!(tens(ranges), None, "{ranges:?}");
        }
    }

    #[test]
    fn weeks_from_sundays_and_quarters_from_february() {
        let weeks = [("2025-01-05", "2025-01-12"), ("2025-01-12", "2025-01-19")]
            .map(|(lower, upper)| (day(lower), day(upper)));
        let found = inferred(Width::Time(Period::Days(7)), &Utc, &weeks);
        assert_eq!(found.map(|(_, origin)| origin), Some(day("2025-01-05")));
        assert_eq!(found.map(|(width, _)| width.next(&Utc, weeks[1].1)), Some(day("2025-01-26")));

        let quarters = [("2024-11-01", "2025-02-01"), ("2025-02-01", "2025-05-01")]
            .map(|(lower, upper)| (day(lower), day(upper)));
        let found = inferred(Width::Time(Period::Months(3)), &Utc, &quarters);
        assert_eq!(
            found.map(|(width, _)| width.next(&Utc, quarters[1].1)),
            Some(day("2025-08-01"))
        );
        // Not every month has a 31st.
        let odd = [(day("2024-12-31"), day("2025-01-31"))];
        assert_eq!(inferred(Width::Time(Period::Months(1)), &Utc, &odd), None);
        // February is four weeks long, and no week.
        let month = [(day("2026-02-01"), day("2026-03-01"))];
        assert_eq!(inferred(Width::Time(Period::Days(7)), &Utc, &month), None);
    }

    #[test]
    fn a_day_that_begins_late_says_nothing_of_the_others() {
        // On 25 April 2025 there was no midnight in Cairo; counted by five, days begin on the 15th.
        let zone = zone("Africa/Cairo");
        let width = Width::Time(Period::Days(5));
        let found = ["2025-04-24T22:00:00Z", "2025-04-29T21:00:00Z", "2025-05-04T21:00:00Z"];
        let edges = found.map(at);
        let ranges = [(edges[0], edges[1]), (edges[1], edges[2])];
        let on_calendar = ranges.iter().all(|(lower, _)| width.floor(&zone, *lower) == *lower);
        let inferred = inferred(width, &zone, &ranges);
        assert_eq!(inferred.is_none(), on_calendar);
        if let Some((width, _)) = inferred {
            assert_eq!(width.next(&zone, edges[2]), at("2025-05-09T21:00:00Z"));
        }
    }

    fn some_periods() -> impl Strategy<Value = Period> {
        prop_oneof![
            (1..7_u32).prop_map(Period::Months),
            (1..20_u32).prop_map(Period::Days),
            (1..80_u64).prop_map(|hours| Period::Micros(hours * 3_600_000_000)),
        ]
    }

    proptest! {
        #[test]
        fn what_was_counted_from_an_origin_goes_on_from_it(
            period in some_periods(),
            zone_index in 0..ZONES.len(),
            start in (0..20_000_i128, 0..24_i128),
            count in 1..30_usize,
            left_out in prop::collection::vec(any::<bool>(), 30),
        ) {
            let zone = zone(ZONES[zone_index]);
            let wall = (start.0 - 5_000) * DAY + start.1 * HOUR;
            let Ok(origin) = Origin::new(period, wall) else { return Ok(()) };
            let width = Width::TimeFrom(period, origin);
            let mut edges = vec![width.floor(&zone, wall)];
            for _ in 0..count {
                let last = edges[edges.len() - 1];
                edges.push(width.next(&zone, last));
            }
            let ranges: Vec<_> = edges
                .windows(2)
                .zip(&left_out)
                .filter(|(_, left_out)| !**left_out)
                .map(|(pair, _)| (pair[0], pair[1]))
                .collect();
            let Some((_, last)) = ranges.last().copied() else { return Ok(()) };
            let plain = Width::Time(period);
            let goes_on = match inferred(plain, &zone, &ranges) {
                Some((found, _)) => found,
                // Either they lie on the calendar, or each begins late, where the clocks go forward.
                None => {
                    let on_calendar = ranges
                        .iter()
                        .all(|(l, u)| plain.floor(&zone, *l) == *l && plain.floor(&zone, *u) == *u);
                    prop_assume!(on_calendar);
                    plain
                }
            };
            for (lower, upper) in &ranges {
                prop_assert_eq!(goes_on.floor(&zone, *lower), *lower);
                prop_assert_eq!(goes_on.floor(&zone, *upper), *upper);
            }
            // No short one follows.
            let next = goes_on.next(&zone, last);
            prop_assert_eq!(goes_on.floor(&zone, next - 1), last);
        }

        #[test]
        fn numbers_go_on_or_lie_unevenly(
            width in 1..1_000_i128,
            origin in -10_000..10_000_i128,
            places in prop::collection::btree_set(0..200_i128, 1..20),
            shift in 0..3_i128,
        ) {
            let mut ranges: Vec<_> = places
                .iter()
                .map(|place| (origin + place * width, origin + (place + 1) * width))
                .collect();
            let found = inferred(Width::Number(width), &Utc, &ranges);
            prop_assert_eq!(found.is_none(), origin.rem_euclid(width) == 0);
            if let Some((found, boundary)) = found {
                prop_assert_eq!(boundary, ranges[0].0);
                prop_assert!(ranges.iter().all(|(lower, upper)| found.next(&Utc, *lower) == *upper));
            }
            // One edge elsewhere, and the set is uneven.
            if let Some(last) = ranges.last_mut() {
                last.1 += shift;
            }
            if shift % width != 0 {
                prop_assert_eq!(inferred(Width::Number(width), &Utc, &ranges), None);
            }
        }
    }
}
