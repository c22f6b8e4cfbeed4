use super::*;
use crate::calendar::testing::{ZONES, at, show, zone};
use crate::calendar::{DAY, HOUR, Micros, Period, Utc};
use crate::key::{Encoding, KeyType};
use proptest::prelude::*;

mod waiting;

fn policy(width: Width, premake: u32) -> Policy {
    let key_type = match width {
        Width::Time(_) | Width::TimeFrom(..) => KeyType::Timestamptz,
        Width::Number(_) | Width::NumberFrom { .. } => KeyType::BigInt,
    };
    let key = Key::new(key_type, Encoding::Plain).unwrap();
    Policy { key, width, premake, start: None, horizon: None, make_up_from: None }
}

fn months(premake: u32) -> Policy {
    policy(Width::Time(Period::Months(1)), premake)
}

fn day(text: &str) -> Micros {
    at(&format!("{text}T00:00:00Z"))
}

fn edge(policy: &Policy, at: i128) -> Edge {
    Edge::At { at, literal: policy.key.encode(&Utc, at).unwrap() }
}

fn range(policy: &Policy, lower: i128, upper: i128) -> Range {
    Range { lower: edge(policy, lower), upper: edge(policy, upper) }
}

/// `month(2)` is February 2025.
fn month(n: i128) -> Micros {
    crate::calendar::Date::from_months(300 + n - 1).to_days() * DAY
}

fn month_ranges(list: &[(i128, i128)]) -> Vec<Range> {
    list.iter().map(|(lower, upper)| range(&months(0), month(*lower), month(*upper))).collect()
}

/// The plan as `(lower, upper, reason)`, with dates cut short.
fn said(policy: &Policy, existing: &[Range], position: i128) -> Vec<(String, String, Reason)> {
    let text = |edge: &Edge| match edge {
        Edge::MinValue => "MINVALUE".to_owned(),
        Edge::MaxValue => "MAXVALUE".to_owned(),
        Edge::At { literal, .. } => literal.trim_end_matches(" 00:00:00+00").to_owned(),
    };
    plan(policy, &Utc, existing, position)
        .unwrap()
        .iter()
        .map(|new| (text(&new.lower), text(&new.upper), new.reason))
        .collect()
}

fn says(policy: &Policy, existing: &[Range], position: i128, expected: &[(&str, &str, Reason)]) {
    let expected: Vec<_> =
        expected.iter().map(|(l, u, r)| ((*l).to_owned(), (*u).to_owned(), *r)).collect();
    assert_eq!(said(policy, existing, position), expected);
}

use Reason::{Ahead, Current, Hole, Missed};

#[test]
fn an_empty_set_begins_now() {
    says(
        &months(2),
        &[],
        day("2025-03-14"),
        &[
            ("2025-03-01", "2025-04-01", Current),
            ("2025-04-01", "2025-05-01", Ahead(1)),
            ("2025-05-01", "2025-06-01", Ahead(2)),
        ],
    );
}

#[test]
fn an_empty_set_begins_at_its_start() {
    let past = Policy { start: Some(day("2025-01-20")), ..months(1) };
    says(
        &past,
        &[],
        day("2025-03-14"),
        &[
            ("2025-03-01", "2025-04-01", Current),
            ("2025-04-01", "2025-05-01", Ahead(1)),
            ("2025-02-01", "2025-03-01", Missed),
            ("2025-01-01", "2025-02-01", Missed),
        ],
    );
    let future = Policy { start: Some(day("2025-04-20")), ..months(2) };
    says(
        &future,
        &[],
        day("2025-03-14"),
        &[("2025-04-01", "2025-05-01", Ahead(1)), ("2025-05-01", "2025-06-01", Ahead(2))],
    );
    let far = Policy { start: Some(day("2030-01-01")), ..months(2) };
    says(&far, &[], day("2025-03-14"), &[]);
}

#[test]
fn missed_periods_are_made_up_to_the_horizon() {
    let existing = month_ranges(&[(1, 2)]);
    let current = ("2025-06-01", "2025-07-01", Current);
    let (may, april) = (("2025-05-01", "2025-06-01", Missed), ("2025-04-01", "2025-05-01", Missed));
    let (march, february) =
        (("2025-03-01", "2025-04-01", Missed), ("2025-02-01", "2025-03-01", Missed));
    says(&months(0), &existing, day("2025-06-14"), &[current, may, april, march, february]);
    for (horizon, expected) in [
        ("2025-03-31", &[current, may, april, march][..]),
        ("2025-04-01", &[current, may, april][..]),
        ("2025-06-20", &[current][..]),
        ("2026-01-01", &[current][..]),
    ] {
        let policy = Policy { horizon: Some(day(horizon)), ..months(0) };
        says(&policy, &existing, day("2025-06-14"), expected);
    }
}

#[test]
fn an_interrupted_make_up_goes_on() {
    // June, the current one, was made first; February to May are now a hole behind it.
    let existing = month_ranges(&[(1, 2), (5, 6), (6, 7)]);
    says(&months(0), &existing, day("2025-06-14"), &[]);
    let policy = Policy { make_up_from: Some(day("2025-02-01")), ..months(0) };
    assert_eq!(look_from(&policy, &Utc, day("2025-06-14")), day("2025-02-01"));
    says(
        &policy,
        &existing,
        day("2025-06-14"),
        &[
            ("2025-04-01", "2025-05-01", Missed),
            ("2025-03-01", "2025-04-01", Missed),
            ("2025-02-01", "2025-03-01", Missed),
        ],
    );
}

#[test]
fn holes_ahead_are_filled_and_clipped() {
    let existing = [
        range(&months(0), day("2025-01-01"), day("2025-03-10")),
        range(&months(0), day("2025-03-20"), day("2025-04-10")),
        range(&months(0), day("2025-05-20"), day("2025-06-10")),
    ];
    says(
        &months(3),
        &existing,
        day("2025-03-14"),
        &[
            ("2025-03-10", "2025-03-20", Current),
            ("2025-04-10", "2025-05-01", Hole),
            ("2025-05-01", "2025-05-20", Hole),
            ("2025-06-10", "2025-07-01", Ahead(3)),
        ],
    );
    // A hole behind the current period is left; of one that reaches into it, the part behind.
    let existing = month_ranges(&[(1, 2), (4, 5), (8, 9)]);
    says(&months(0), &existing, day("2025-06-14"), &[("2025-06-01", "2025-07-01", Current)]);
}

#[test]
fn a_partition_far_ahead_changes_nothing_else() {
    let existing = month_ranges(&[(865, 866)]);
    says(
        &months(1),
        &existing,
        day("2025-06-14"),
        &[("2025-06-01", "2025-07-01", Current), ("2025-07-01", "2025-08-01", Hole)],
    );
}

#[test]
fn a_new_interval_or_zone_holds_from_the_end() {
    let weekly = policy(Width::Time(Period::Days(7)), 0);
    let existing = month_ranges(&[(1, 2)]);
    says(&weekly, &existing, day("2025-02-01"), &[("2025-02-01", "2025-02-03", Current)]);
    let madrid = zone("Europe/Madrid");
    let planned = plan(&months(1), &madrid, &existing, day("2025-02-14")).unwrap();
    assert_eq!(planned[0].lower, existing[0].upper);
    assert_eq!(planned[0].upper.position(), at("2025-02-28T23:00:00Z"));
    assert_eq!(planned.len(), 2);
}

#[test]
fn unbounded_and_infinite_neighbours() {
    let now = day("2025-06-14");
    let infinity = Edge::At { at: FOREVER, literal: "infinity".into() };
    let minus_infinity = Edge::At { at: -FOREVER, literal: "-infinity".into() };
    let may = edge(&months(0), month(5));
    for upper in [Edge::MaxValue, infinity] {
        says(&months(3), &[Range { lower: may.clone(), upper: upper.clone() }], now, &[]);
        says(&months(3), &[Range { lower: Edge::MinValue, upper }], now, &[]);
    }
    for upper in [minus_infinity, may] {
        let planned = said(&months(0), &[Range { lower: Edge::MinValue, upper }], now);
        assert_eq!(planned[0], ("2025-06-01".into(), "2025-07-01".into(), Current));
        assert!(planned.len() <= 2);
    }
}

#[test]
fn numbers() {
    let numbers = policy(Width::Number(1000), 1);
    says(&numbers, &[], 0, &[("0", "1000", Current), ("1000", "2000", Ahead(1))]);
    let existing = [range(&numbers, 0, 1000), range(&numbers, 1000, 2000)];
    says(&numbers, &existing, 999, &[]);
    says(&numbers, &existing, 1000, &[("2000", "3000", Ahead(1))]);
    says(&numbers, &[], -1, &[("-1000", "0", Current), ("0", "1000", Ahead(1))]);
}

#[test]
fn where_numbers_stand() {
    let numbers = policy(Width::Number(10), 1);
    let started = Policy { start: Some(1_000), ..numbers.clone() };
    let at = |policy: &Policy, stored, given_out, begins| {
        standing(policy, Standing { stored, given_out, begins })
    };
    // The greater of the two.
    assert_eq!(at(&numbers, Some(19), Some(5), Some(0)), 19);
    assert_eq!(at(&numbers, Some(19), Some(20), Some(0)), 20);
    assert_eq!(at(&numbers, None, Some(20), Some(0)), 20);
    assert_eq!(at(&numbers, Some(-11), None, None), -11);
    assert_eq!(at(&numbers, None, Some(-5), Some(1_000)), -5);
    // With neither the first.
    assert_eq!(at(&numbers, None, None, None), 0);
    assert_eq!(at(&started, None, None, Some(0)), 1_000);
    assert_eq!(at(&numbers, None, None, Some(5)), 5);
    assert_eq!(at(&numbers, None, None, Some(-50)), 0);
    // An empty set that starts later starts there.
    assert_eq!(at(&started, None, Some(7), None), 1_000);
    assert_eq!(at(&started, None, Some(1_007), None), 1_007);
    assert_eq!(at(&started, Some(9), Some(7), None), 9);
    let key = Key::new(KeyType::SmallInt, Encoding::Plain).unwrap();
    assert_eq!(at(&Policy { key, ..numbers }, None, Some(100_000), None), 32_767);
}

#[test]
fn the_end_and_the_beginning_of_the_type() {
    let key = Key::new(KeyType::SmallInt, Encoding::Plain).unwrap();
    let numbers = Policy { key, ..policy(Width::Number(10_000), 9) };
    let existing = [range(&numbers, 0, 20_000)];
    says(&numbers, &existing, 5, &[("20000", "30000", Ahead(2)), ("30000", "MAXVALUE", Ahead(3))]);
    let planned = said(&Policy { premake: 0, ..numbers.clone() }, &[], -32_768);
    assert_eq!(planned, [("-32768".into(), "-30000".into(), Current)]);
    let whole = Policy { width: Width::Number(1_000_000), ..numbers };
    says(&whole, &[], 0, &[("0", "MAXVALUE", Current)]);
}

#[test]
fn bounds_finer_than_the_axis_are_continued_exactly() {
    let key = Key::new(KeyType::Uuid, Encoding::UuidV7).unwrap();
    let policy = Policy { key, ..months(1) };
    let literal = "0194bc8b-9080-7abc-8000-000000000001".to_owned();
    let upper = Edge::At { at: at("2025-01-31T13:00:00Z"), literal };
    let existing = [Range { lower: Edge::MinValue, upper: upper.clone() }];
    let planned = plan(&policy, &Utc, &existing, day("2025-01-31")).unwrap();
    assert_eq!(planned[0].lower, upper);
    assert_eq!(planned[0].upper.position(), day("2025-02-01"));
}

#[test]
fn wall_time_keys_ignore_the_zone() {
    let key = Key::new(KeyType::Date, Encoding::Plain).unwrap();
    let policy = Policy { key, ..months(0) };
    let planned = plan(&policy, &zone("America/Havana"), &[], day("2025-11-14")).unwrap();
    assert_eq!(planned[0].lower, Edge::At { at: day("2025-11-01"), literal: "2025-11-01".into() });
    assert_eq!(
        next_boundary(&policy, &zone("America/Havana"), day("2025-11-14")),
        day("2025-12-01")
    );
}

#[test]
fn ten_thousand_periods_at_once() {
    let policy = policy(Width::Time(Period::Micros(3_600_000_000)), 10_000);
    let planned = plan(&policy, &zone("America/New_York"), &[], day("2025-01-01")).unwrap();
    assert_eq!(planned.len(), 10_001);
}

/// Sorted ranges around `now`, with holes, their edges anywhere.
fn some_ranges() -> impl Strategy<Value = Vec<(i128, i128)>> {
    prop::collection::vec((0..60_i128, 1..90_i128), 0..8).prop_map(|steps| {
        let mut at = -150;
        let ranges = steps.into_iter().map(|(gap, length)| {
            let lower = at + gap;
            at = lower + length;
            (lower, at)
        });
        ranges.collect()
    })
}

fn some_widths() -> impl Strategy<Value = Period> {
    prop_oneof![
        (1..4_u32).prop_map(Period::Months),
        (1..20_u32).prop_map(Period::Days),
        (5..80_u64).prop_map(|hours| Period::Micros(hours * 3_600_000_000)),
    ]
}

fn sorted(existing: &[Range], planned: &[Planned]) -> Vec<Range> {
    let new =
        planned.iter().map(|new| Range { lower: new.lower.clone(), upper: new.upper.clone() });
    let mut all: Vec<Range> = existing.iter().cloned().chain(new).collect();
    all.sort_by_key(|range| range.lower.position());
    all
}

#[test]
fn another_age_is_refused_quickly() {
    let policy = Policy { width: Width::Time(Period::Micros(1_000_000)), ..months(1) };
    let from = day("1970-01-01");
    let upper = Edge::At { at: from, literal: "1970-01-01".into() };
    let existing = [Range { lower: Edge::MinValue, upper }];
    assert_eq!(plan(&policy, &Utc, &existing, day("2025-01-31")), Err(TooMany { from }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn covers_all_without_overlap_and_rests(
        days in some_ranges(),
        period in some_widths(),
        premake in 0..6_u32,
        zone_index in 0..ZONES.len(),
        now in (-100..300_i128, 0..DAY),
        start in prop::option::of(-200..200_i128),
        horizon in prop::option::of(-300..100_i128),
        make_up_from in prop::option::of(-200..100_i128),
    ) {
        let zone = zone(ZONES[zone_index]);
        let base = day("2025-03-01");
        let position = base + now.0 * DAY + now.1;
        let width = Width::Time(period);
        let policy = Policy {
            start: start.map(|days| base + days * DAY + HOUR),
            horizon: horizon.map(|days| base + days * DAY),
            make_up_from: make_up_from.map(|days| base + days * DAY),
            ..policy(width, premake)
        };
        let existing: Vec<Range> =
            days.iter().map(|(l, u)| range(&policy, base + l * DAY + HOUR, base + u * DAY + HOUR)).collect();
        let planned = plan(&policy, &zone, &existing, position).unwrap();
        let all = sorted(&existing, &planned);

        // No overlap, and not one empty.
        for range in &all {
            prop_assert!(range.lower.position() < range.upper.position());
        }
        for pair in all.windows(2) {
            prop_assert!(pair[0].upper.position() <= pair[1].lower.position());
            // Where two touch, their texts are the same.
            if pair[0].upper.position() == pair[1].lower.position()
                && existing.iter().any(|e| e.upper == pair[0].upper || e.lower == pair[1].lower) {
                prop_assert_eq!(&pair[0].upper, &pair[1].lower);
            }
        }

        // No gap from the current period (or the start) to the last one ahead.
        let first_start = policy.start.map_or(i128::MIN, |start| width.floor(&zone, start));
        let current = width.floor(&zone, position);
        let until = (0..=premake).fold(current, |at, _| width.next(&zone, at));
        let mut covered = current.max(first_start);
        for range in &all {
            if range.lower.position() <= covered {
                covered = covered.max(range.upper.position());
            }
        }
        prop_assert!(covered >= until, "{} < {}", show(&zone, covered), show(&zone, until));

        // Nothing before the start, past the horizon or beyond what was asked for.
        for new in &planned {
            prop_assert!(new.lower.position() >= first_start);
            prop_assert!(new.upper.position() <= until);
            if new.reason == Missed {
                prop_assert!(policy.horizon.is_none_or(|horizon| new.upper.position() > horizon));
            }
            // Never across a boundary.
            prop_assert!(width.next(&zone, new.lower.position()) >= new.upper.position());
        }

        // The one that holds now comes first, the missed last.
        let holds_now = planned.iter().position(|p| p.lower.position() <= position && position < p.upper.position());
        prop_assert!(holds_now.is_none_or(|index| index == 0));
        prop_assert!(planned.is_sorted_by_key(|p| p.reason == Missed));

        // Planning again plans nothing.
        prop_assert_eq!(plan(&policy, &zone, &all, position), Ok(vec![]));

        // The part that the contract asks for is enough.
        let from = look_from(&policy, &zone, position);
        let mut tail: Vec<Range> = existing.iter().filter(|r| r.upper.position() >= from).cloned().collect();
        if tail.is_empty() {
            tail.extend(existing.last().cloned());
        }
        prop_assert_eq!(plan(&policy, &zone, &tail, position), Ok(planned));
    }
}
