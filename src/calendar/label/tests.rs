use super::*;
use crate::calendar::testing::{at, zone};
use crate::calendar::{DAY, Date, Utc};
use proptest::prelude::*;

const HOUR_LONG: Period = Period::Micros(3_600_000_000);

#[test]
fn usual_suffixes() {
    for (period, lower, expected) in [
        (Period::Months(12), "2025-01-01T00:00:00Z", "_2025"),
        (Period::Months(1200), "2000-01-01T00:00:00Z", "_2000"),
        (Period::Months(3), "2025-07-01T00:00:00Z", "_2025_q3"),
        (Period::Months(6), "2025-07-01T00:00:00Z", "_2025_q3"),
        (Period::Months(1), "2025-01-01T00:00:00Z", "_2025_01"),
        (Period::Months(2), "2025-03-01T00:00:00Z", "_2025_03"),
        (Period::Days(7), "2025-01-27T00:00:00Z", "_2025_w05"),
        (Period::Days(7), "2024-12-30T00:00:00Z", "_2025_w01"),
        (Period::Days(1), "2025-01-31T00:00:00Z", "_2025_01_31"),
        (HOUR_LONG, "2025-01-31T13:00:00Z", "_2025_01_31_1300"),
        (Period::Micros(15_000_000), "2025-01-31T13:00:00Z", "_2025_01_31_130000"),
        (Period::Micros(90_000_000), "2025-01-31T13:01:30Z", "_2025_01_31_130130"),
    ] {
        assert_eq!(time_suffix(period, &Utc, at(lower)), expected);
    }
    let year = |year| Date { year, month: 3, day: 1 }.to_days() * DAY;
    assert_eq!(time_suffix(Period::Months(1), &Utc, year(-43)), "_0044bc_03");
    assert_eq!(time_suffix(Period::Months(12), &Utc, year(12_025)), "_12025");
    assert_eq!((number_suffix(1000), number_suffix(-5)), ("_p1000".into(), "_pm5".into()));
}

#[test]
fn zones_in_suffixes() {
    let new_york = zone("America/New_York");
    for (lower, expected) in [
        ("2025-11-02T04:00:00Z", "_2025_11_02_0000"),
        ("2025-11-02T05:00:00Z", "_2025_11_02_0100_m0400"),
        ("2025-11-02T06:00:00Z", "_2025_11_02_0100_m0500"),
        ("2025-11-02T07:00:00Z", "_2025_11_02_0200"),
    ] {
        assert_eq!(time_suffix(HOUR_LONG, &new_york, at(lower)), expected);
    }
    // The day that begins at 01:00 is still that day.
    let sao_paulo = zone("America/Sao_Paulo");
    assert_eq!(time_suffix(Period::Days(1), &sao_paulo, at("2018-11-04T03:00:00Z")), "_2018_11_04");
}

#[test]
fn formats() {
    let lower = at("2025-02-03T04:05:06Z");
    for (format, expected) in [
        ("{parent}_%Y", "bets_2025"),
        ("p%Y%m%d_%H%M%S_{parent}x", "p20250203_040506_betsx"),
        ("%G-W%V é %q%%", "2025-W06 é 1%"),
        ("%Y}", "2025}"),
    ] {
        let format = NameFormat::parse(format, NameKind::Time).unwrap();
        assert_eq!(format.render("bets", NameValue::Time(lower)).fit(0, char::len_utf8), expected);
    }
    let number = NameFormat::parse("{parent}_{lower}", NameKind::Number).unwrap();
    assert_eq!(number.render("bets", NameValue::Number(-7)).fit(0, char::len_utf8), "bets_m7");
}

#[test]
fn refused_formats() {
    for (format, kind, bad) in [
        ("{parent}_%y", NameKind::Time, "%y"),
        ("%é%Y", NameKind::Time, "%é"),
        ("%Y%", NameKind::Time, "%"),
        ("%Y{lower}", NameKind::Time, "{lower}"),
        ("{parent", NameKind::Time, "{parent"),
        ("{lower}%Y", NameKind::Number, "%Y"),
        ("{lower}{remainder}", NameKind::Number, "{remainder}"),
    ] {
        match NameFormat::parse(format, kind) {
            Err(NameFormatError::Unknown { directive, .. }) => assert_eq!(directive, bad),
            other => panic!("{format}: {other:?}"),
        }
    }
    for (format, kind) in
        [("{parent}%%", NameKind::Time), ("", NameKind::Time), ("{parent}", NameKind::Number)]
    {
        let error = NameFormat::parse(format, kind).unwrap_err();
        assert!(matches!(error, NameFormatError::Constant { .. }), "{format}");
    }
    assert_eq!(
        NameFormat::parse("{parent}{parent}%Y", NameKind::Time),
        Err(NameFormatError::ParentTwice)
    );
}

#[test]
fn fits() {
    let long = "a".repeat(63);
    let name = Name::new(&long, "_2025_01".into());
    assert_eq!(name.fit(0, char::len_utf8), format!("{}_2025_01", "a".repeat(54)));
    assert_eq!(name.fit(12, char::len_utf8), format!("{}_2025_01_12", "a".repeat(51)));
    // Two bytes a letter: 54 bytes have room for 27 of them.
    let name = Name::new(&"é".repeat(40), "_2025_01".into());
    assert_eq!(name.fit(0, char::len_utf8), format!("{}_2025_01", "é".repeat(27)));
    // One in LATIN1.
    assert_eq!(name.fit(0, |_| 1), format!("{}_2025_01", "é".repeat(40)));
    assert_eq!(name.followed_by("_more_letters_at_its_end").fit(0, |_| 1).chars().count(), 62);
}

proptest! {
    #[test]
    fn names_fit_and_keep_their_end(parent in ".{0,70}", tail in "[a-z0-9_]{1,40}", number in any::<u32>()) {
        let name = Name::new(&parent, tail.clone());
        let (plain, numbered) = (name.fit(0, char::len_utf8), name.fit(number.max(1), char::len_utf8));
        prop_assert!(plain.len() <= MAX_NAME_BYTES && numbered.len() <= MAX_NAME_BYTES);
        prop_assert!(plain.ends_with(&tail));
        let end = format!("{}_{}", tail, number.max(1));
        prop_assert!(numbered.ends_with(&end));
    }

    #[test]
    fn formats_never_panic(format in ".{0,40}", wall in any::<i64>()) {
        for kind in [NameKind::Time, NameKind::Number] {
            if let Ok(format) = NameFormat::parse(&format, kind) {
                prop_assert!(format.render("x", NameValue::Time(wall.into())).fit(0, char::len_utf8).len() <= MAX_NAME_BYTES);
            }
        }
    }

    /// Boundaries in a row have names of their own, folds included.
    #[test]
    fn suffixes_differ(days in -1_000_i128..12_000, minutes in 1..300_u64) {
        let zone = zone("America/New_York");
        let period = Period::Micros(minutes * 60_000_000);
        let lower = period.floor(&zone, days * DAY);
        let suffixes: Vec<String> = std::iter::successors(Some(lower), |at| Some(period.next(&zone, *at)))
            .take(60)
            .map(|at| time_suffix(period, &zone, at))
            .collect();
        let distinct: std::collections::HashSet<_> = suffixes.iter().collect();
        prop_assert_eq!(distinct.len(), suffixes.len());
    }
}
