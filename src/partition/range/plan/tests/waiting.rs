//! The period of a key that waits in the default partition.

use super::*;

fn holding(policy: &Policy, key: i128, below: Option<Edge>, above: Option<Edge>) -> Option<Range> {
    period_at(policy, &Utc, key, below, above)
}

#[test]
fn the_whole_period_where_nothing_is_near() {
    let march = range(&months(0), month(3), month(4));
    let key = day("2025-03-14");
    assert_eq!(holding(&months(0), key, None, None), Some(march.clone()));
    let (below, above) = (edge(&months(0), month(2)), edge(&months(0), month(9)));
    assert_eq!(holding(&months(0), key, Some(below), Some(above)), Some(march.clone()));
    assert_eq!(holding(&months(0), month(3), None, None), Some(march.clone()));
    // Whatever start_at says, and however far away.
    let late = Policy { start: Some(month(6)), horizon: Some(month(5)), ..months(0) };
    assert_eq!(holding(&late, key, None, None), Some(march));
    assert_eq!(
        holding(&months(0), day("2097-01-31"), None, None).unwrap().lower.position(),
        day("2097-01-01")
    );
}

#[test]
fn cut_where_neighbours_reach_into_it() {
    let (below, above) = (edge(&months(0), day("2025-03-10")), edge(&months(0), day("2025-03-20")));
    let found = holding(&months(0), day("2025-03-14"), Some(below.clone()), Some(above.clone()));
    assert_eq!(found, Some(Range { lower: below, upper: above }));
    // Neighbours finer than the axis: their own text, though the position is the period's.
    let key = Key::new(KeyType::Uuid, Encoding::UuidV7).unwrap();
    let fine = |at, literal: &str| Edge::At { at, literal: literal.into() };
    let below = fine(month(3), "01954f5b-d000-7abc-8000-000000000001");
    let above = fine(month(4), "0195efff-0000-7abc-8000-000000000001");
    let policy = Policy { key, ..months(0) };
    let found = holding(&policy, month(3), Some(below.clone()), Some(above.clone()));
    assert_eq!(found, Some(Range { lower: below, upper: above }));
}

#[test]
fn up_to_the_ends_of_the_type() {
    let key = Key::new(KeyType::SmallInt, Encoding::Plain).unwrap();
    let numbers = Policy { key, ..policy(Width::Number(10_000), 0) };
    let text = |at| {
        let found = holding(&numbers, at, None, None).unwrap();
        let edge = |edge: &Edge| match edge {
            Edge::At { literal, .. } => literal.clone(),
            _ => "MAXVALUE".into(),
        };
        (edge(&found.lower), edge(&found.upper))
    };
    assert_eq!(text(32_767), ("30000".into(), "MAXVALUE".into()));
    assert_eq!(text(-32_768), ("-32768".into(), "-30000".into()));
    for beyond in [FOREVER, -FOREVER] {
        assert_eq!(holding(&numbers, beyond, None, None), None);
        assert_eq!(holding(&months(0), beyond, None, None), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn holds_the_key_within_one_period_and_overlaps_nobody(
        days in some_ranges(),
        period in some_widths(),
        zone_index in 0..ZONES.len(),
        key in (-200..400_i128, 0..DAY),
    ) {
        let zone = zone(ZONES[zone_index]);
        let base = day("2025-03-01");
        let key = base + key.0 * DAY + key.1;
        let width = Width::Time(period);
        let policy = policy(width, 0);
        let existing: Vec<Range> =
            days.iter().map(|(l, u)| range(&policy, base + l * DAY + HOUR, base + u * DAY + HOUR)).collect();
        prop_assume!(!existing.iter().any(|r| r.lower.position() <= key && key < r.upper.position()));
        let below = existing.iter().rfind(|r| r.upper.position() <= key).map(|r| r.upper.clone());
        let above = existing.iter().find(|r| r.lower.position() > key).map(|r| r.lower.clone());

        let found = period_at(&policy, &zone, key, below, above).unwrap();
        let (lower, upper) = (found.lower.position(), found.upper.position());
        prop_assert!(lower <= key && key < upper);
        for other in &existing {
            prop_assert!(other.upper.position() <= lower || upper <= other.lower.position());
        }
        // Within one period, and all of what is free of it around the key.
        prop_assert!(width.floor(&zone, key) <= lower && upper <= width.next(&zone, key));
        prop_assert!(lower == width.floor(&zone, key) || existing.iter().any(|r| r.upper == found.lower));
        prop_assert!(upper == width.next(&zone, key) || existing.iter().any(|r| r.lower == found.upper));
    }
}
