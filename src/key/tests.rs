use super::*;
use crate::calendar::testing::{ZONES, at, zone};
use crate::calendar::{Origin, Period};
use proptest::prelude::*;

use Encoding as E;
use KeyType as T;

const SNOWFLAKE: Encoding = E::Snowflake { epoch_ms: super::encoding::TWITTER_EPOCH_MS };

fn key(key_type: KeyType, encoding: Encoding) -> Key {
    Key::new(key_type, encoding).unwrap()
}

fn every_key() -> Vec<Key> {
    let types = [
        T::Timestamptz,
        T::Timestamp,
        T::Date,
        T::SmallInt,
        T::Integer,
        T::BigInt,
        T::Numeric,
        T::Uuid,
        T::Text,
        T::Bytea,
    ];
    let encodings = [
        E::Plain,
        E::EpochSeconds,
        E::EpochMilliseconds,
        E::EpochMicroseconds,
        E::EpochNanoseconds,
        E::UuidV7,
        E::Ulid,
        SNOWFLAKE,
        E::Snowflake { epoch_ms: 0 },
    ];
    let all = types.iter().flat_map(|t| encodings.iter().map(|e| Key::new(*t, *e)));
    all.filter_map(Result::ok).collect()
}

/// What the catalog reader would make of a literal. For the types whose text only the server can read, the
/// position is checked elsewhere.
fn reread(key: Key, literal: &str) -> Option<i128> {
    let bits = |hex: &str| u128::from_str_radix(&hex.replace('-', ""), 16).unwrap().to_be_bytes();
    let raw = match key.key_type() {
        T::Timestamptz | T::Timestamp | T::Date => return None,
        T::SmallInt | T::Integer | T::BigInt => RawKey::Integer(literal.parse().unwrap()),
        T::Numeric => RawKey::Decimal(literal.to_owned()),
        T::Uuid => RawKey::Uuid(bits(literal)),
        T::Text => RawKey::Text(literal.to_owned()),
        T::Bytea => RawKey::Bytes(bits(literal.strip_prefix("\\x").unwrap()).to_vec()),
    };
    key.decode(&raw)
}

/// How coarse the key is, on its axis.
fn resolution(key: Key) -> i128 {
    match (key.encoding, key.key_type) {
        (E::EpochSeconds, T::Integer | T::BigInt) => SECOND,
        (E::EpochMilliseconds, T::BigInt) => 1_000,
        (E::UuidV7 | E::Ulid | E::Snowflake { .. }, _) => 1_000,
        (_, T::Date) => DAY,
        _ => 1,
    }
}

#[test]
fn encodings_round_trip_as_text() {
    assert_eq!(E::parse(None), Ok(E::Plain));
    assert_eq!(E::parse(Some("snowflake")), Ok(SNOWFLAKE));
    for key in every_key() {
        let text = (key.encoding != E::Plain).then(|| key.encoding.to_string());
        assert_eq!(E::parse(text.as_deref()), Ok(key.encoding));
    }
    for bad in ["", "plain", "epoch", "snowflake:", "snowflake:x", "snowflake:99999999999999999999"]
    {
        assert_eq!(E::parse(Some(bad)), Err(KeyError::UnknownEncoding(bad.to_owned())));
    }
}

#[test]
fn which_encoding_suits_which_type() {
    assert_eq!(every_key().len(), 7 + 3 + 3 * 2 + 1 + 3 + 2);
    for key_type in [T::Uuid, T::Text, T::Bytea] {
        assert_eq!(Key::new(key_type, E::Plain), Err(KeyError::EncodingNeeded(key_type)));
    }
    for (key_type, encoding) in [
        (T::SmallInt, E::EpochSeconds),
        (T::Integer, E::EpochMilliseconds),
        (T::Timestamptz, E::EpochSeconds),
        (T::Text, E::UuidV7),
        (T::Numeric, SNOWFLAKE),
    ] {
        assert_eq!(Key::new(key_type, encoding), Err(KeyError::Unsuitable { encoding, key_type }));
    }
}

#[test]
fn widths() {
    let (day, hour) = (Width::Time(Period::Days(1)), Width::Time(Period::Micros(3_600_000_000)));
    assert_eq!(key(T::Date, E::Plain).check_width(&day), Ok(()));
    assert_eq!(key(T::Date, E::Plain).check_width(&hour), Err(KeyError::WholeDaysNeeded));
    assert_eq!(key(T::BigInt, E::EpochSeconds).check_width(&hour), Ok(()));
    assert_eq!(
        key(T::BigInt, E::EpochSeconds).check_width(&Width::Number(5)),
        Err(KeyError::TimeNeeded)
    );
    assert_eq!(key(T::BigInt, E::Plain).check_width(&day), Err(KeyError::NumberNeeded(T::BigInt)));
    for (key_type, widest) in [
        (T::SmallInt, i16::MAX.into()),
        (T::Integer, i32::MAX.into()),
        (T::BigInt, i64::MAX.into()),
        (T::Numeric, FOREVER / 1_000),
    ] {
        for origin in [0, 5] {
            let check = |width| {
                let counted = Width::NumberFrom { width, origin };
                let width = if origin == 0 { Width::Number(width) } else { counted };
                key(key_type, E::Plain).check_width(&width)
            };
            let refused = Err(KeyError::NumberOutOfRange { key_type, widest });
            assert_eq!([0, widest + 1].map(check), [refused.clone(), refused]);
            assert_eq!([1, widest].map(check), [Ok(()), Ok(())]);
        }
    }
}

#[test]
fn no_interval_is_longer_than_what_the_key_holds() {
    for (key_type, encoding, years) in [
        (T::Timestamptz, E::Plain, 298_900),
        (T::Timestamp, E::Plain, 298_900),
        (T::Date, E::Plain, 5_879_000),
        (T::Integer, E::EpochSeconds, 136),
        (T::Uuid, E::UuidV7, 8_900),
        (T::Text, E::Ulid, 8_900),
        (T::BigInt, SNOWFLAKE, 139),
    ] {
        let check = |years: u32| {
            key(key_type, encoding).check_width(&Width::Time(Period::Months(12 * years)))
        };
        assert_eq!(check(years), Ok(()), "{key_type:?}");
        let longer = years + years / 50 + 1;
        assert_eq!(check(longer), Err(KeyError::TooLong(key_type)), "{key_type:?}");
    }
}

#[test]
fn literals() {
    let t = at("2025-01-31T13:00:00Z");
    for (key_type, encoding, expected) in [
        (T::Timestamptz, E::Plain, "2025-01-31 14:00:00+01"),
        (T::Timestamp, E::Plain, "2025-01-31 13:00:00"),
        (T::Date, E::Plain, "2025-02-01"),
        (T::Integer, E::EpochSeconds, "1738328400"),
        (T::Numeric, E::EpochSeconds, "1738328400"),
        (T::BigInt, E::EpochMilliseconds, "1738328400000"),
        (T::BigInt, E::EpochMicroseconds, "1738328400000000"),
        (T::BigInt, E::EpochNanoseconds, "1738328400000000000"),
        (T::Uuid, E::UuidV7, "0194bc72-6080-0000-0000-000000000000"),
        (T::Bytea, E::Ulid, "\\x0194bc72608000000000000000000000"),
        (T::Text, E::Ulid, "01JJY74R400000000000000000"),
        (T::BigInt, SNOWFLAKE, "1885312071889846272"),
    ] {
        let literal = key(key_type, encoding).encode(&zone("Europe/Madrid"), t).unwrap();
        assert_eq!(literal, expected, "{key_type:?} {encoding:?}");
    }
    let timestamptz =
        |name, text| key(T::Timestamptz, E::Plain).encode(&zone(name), at(text)).unwrap();
    assert_eq!(timestamptz("Asia/Kathmandu", "2025-01-01T00:00:00Z"), "2025-01-01 05:45:00+05:45");
    assert_eq!(
        timestamptz("America/New_York", "1850-01-01T04:56:02Z"),
        "1850-01-01 00:00:00-04:56:02"
    );
    let fraction = key(T::Numeric, E::EpochSeconds).encode(&Utc, UNIX_EPOCH - 1_500_000);
    assert_eq!(fraction.unwrap(), "-1.5");
}

#[test]
fn ends_of_types() {
    let text = |key: Key, position| key.encode(&Utc, position);
    for (key_type, encoding, first, last) in [
        (T::Timestamptz, E::Plain, "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"),
        (T::Timestamp, E::Plain, "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999"),
        (T::Date, E::Plain, "4714-11-24 BC", "5874897-12-31"),
        (T::SmallInt, E::Plain, "-32768", "32767"),
        (T::Integer, E::EpochSeconds, "-2147483648", "2147483647"),
        (T::BigInt, E::Plain, "-9223372036854775808", "9223372036854775807"),
        (T::BigInt, E::EpochNanoseconds, "-9223372036854775808", "9223372036854775000"),
        (T::BigInt, SNOWFLAKE, "-9223372036854775808", "9223372036850581504"),
        (T::Text, E::Ulid, "00000000000000000000000000", "7ZZZZZZZZZ0000000000000000"),
        (
            T::Uuid,
            E::UuidV7,
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-0000-0000-000000000000",
        ),
    ] {
        let key = key(key_type, encoding);
        let limits = key.limits();
        assert_eq!(text(key, limits.0).unwrap(), first, "{key:?}");
        assert_eq!(text(key, -FOREVER).unwrap(), first, "{key:?}");
        assert_eq!(text(key, limits.1).unwrap(), last, "{key:?}");
        assert_eq!(text(key, limits.1 + 1), None, "{key:?}");
    }
}

#[test]
fn decoding() {
    let timestamptz = key(T::Timestamptz, E::Plain);
    assert_eq!(timestamptz.decode(&RawKey::Integer(i64::MAX.into())), Some(FOREVER));
    assert_eq!(timestamptz.decode(&RawKey::Integer(i64::MIN.into())), Some(-FOREVER));
    let date = key(T::Date, E::Plain);
    assert_eq!(date.decode(&RawKey::Integer(i32::MAX.into())), Some(FOREVER));
    assert_eq!(date.decode(&RawKey::Integer(-1)), Some(-DAY));
    for (encoding, text, expected) in [
        (E::Plain, "12.7", Some(12)),
        (E::Plain, "-12.7", Some(-13)),
        (E::Plain, "-12.00", Some(-12)),
        (E::Plain, "NaN", Some(FOREVER)),
        (E::Plain, "-Infinity", Some(-FOREVER)),
        (E::Plain, "1e5", None),
        (E::Plain, "", None),
        (E::EpochSeconds, "1.2345678", Some(UNIX_EPOCH + 1_234_567)),
        (E::EpochSeconds, "-1.2345678", Some(UNIX_EPOCH - 1_234_568)),
        (E::EpochNanoseconds, "1999", Some(UNIX_EPOCH + 1)),
        (E::EpochNanoseconds, "-1", Some(UNIX_EPOCH - 1)),
        (E::EpochNanoseconds, "0.5", Some(UNIX_EPOCH)),
    ] {
        let key = key(T::Numeric, encoding);
        assert_eq!(key.decode(&RawKey::Decimal(text.to_owned())), expected, "{encoding} {text}");
    }
    let huge = RawKey::Decimal("9".repeat(131_072));
    assert_eq!(key(T::Numeric, E::Plain).decode(&huge), Some(FOREVER));
    let ulid = key(T::Text, E::Ulid);
    for bad in [
        "",
        "01JJY9",
        "01jjy74r400000000000000000",
        "81JJY74R400000000000000000",
        "0UJJY74R400000000000000000",
        "ééééééééééééé",
    ] {
        assert_eq!(ulid.decode(&RawKey::Text(bad.to_owned())), None, "{bad}");
    }
    assert_eq!(key(T::Bytea, E::Ulid).decode(&RawKey::Bytes(vec![0; 15])), None);
}

/// RFC 9562's own example of a UUIDv7 lies in the millisecond it says.
#[test]
fn uuid_v7_example() {
    let key = key(T::Uuid, E::UuidV7);
    let bits = 0x017F_22E2_79B0_7CC3_98C4_DC0C_0C07_398F_u128;
    let t = at("2022-02-22T19:22:22Z");
    assert_eq!(key.decode(&RawKey::Uuid(bits.to_be_bytes())), Some(t));
    assert!(key.encode(&Utc, t).unwrap().as_str() < "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}

proptest! {
    #[test]
    fn encode_is_the_smallest_key_at_or_after(index in 0..every_key().len(), position in any::<i64>(), near in any::<bool>()) {
        let key = every_key()[index];
        let (first, last) = key.limits();
        // Somewhere in this century, or anywhere at all.
        let position = i128::from(if near { position % 3_000_000_000_000_000 } else { position });
        let Some(literal) = key.encode(&Utc, position) else {
            prop_assert!(position > last);
            return Ok(());
        };
        if let Some(found) = reread(key, &literal) {
            let wanted = position.clamp(first, last);
            prop_assert!(found >= wanted && found < wanted + resolution(key), "{key:?} {position} {literal} {found}");
            prop_assert_eq!(key.encode(&Utc, found), Some(literal));
        }
    }

    /// Fixed-width texts must sort as their positions do, byte by byte.
    #[test]
    fn texts_keep_the_order(a in 0..250_000_000_000_000_i128, b in 0..250_000_000_000_000_i128) {
        let keys = [key(T::Text, E::Ulid), key(T::Bytea, E::Ulid), key(T::Uuid, E::UuidV7)];
        for key in keys {
            let text = |ms| key.encode(&Utc, instant_of_ms(ms)).unwrap();
            prop_assert_eq!(text(a).cmp(&text(b)), a.cmp(&b));
        }
    }

    #[test]
    fn timestamptz_texts_mean_their_instant(index in 0..ZONES.len(), seconds in -5_000_000_000_i64..5_000_000_000) {
        let instant = i128::from(seconds) * SECOND;
        let text = key(T::Timestamptz, E::Plain).encode(&zone(ZONES[index]), instant).unwrap();
        prop_assert_eq!(at(&text), instant);
    }
}

#[test]
fn periods_of_dates_begin_at_midnight() {
    let date = Key::new(KeyType::Date, Encoding::Plain).unwrap();
    let from = |boundary| {
        Width::TimeFrom(Period::Days(1), Origin::new(Period::Days(1), boundary).unwrap())
    };
    assert_eq!(date.check_width(&from(5 * DAY)), Ok(()));
    assert_eq!(date.check_width(&from(5 * DAY + HOUR)), Err(KeyError::MidnightNeeded));
}

#[test]
fn an_odd_end_is_rounded_up() {
    let end = |key_type, encoding, raw| key(key_type, encoding).decode_end(&raw).unwrap();
    let decimal = |text: &str| RawKey::Decimal(text.to_owned());
    for (text, up) in
        [("9", 9), ("9.0", 9), ("9.01", 10), ("-0.5", 0), ("-1", -1), ("0", 0), ("NaN", FOREVER)]
    {
        assert_eq!(end(T::Numeric, E::Plain, decimal(text)), up, "{text}");
    }
    assert_eq!(end(T::Numeric, E::Plain, decimal("-Infinity")), -FOREVER);
    let seconds = |text| end(T::Numeric, E::EpochSeconds, decimal(text)) - UNIX_EPOCH;
    assert_eq!(
        [seconds("1.5"), seconds("1.0000001"), seconds("-1.5")],
        [1_500_000, 1_000_001, -1_500_000]
    );
    let nanoseconds =
        |units| end(T::BigInt, E::EpochNanoseconds, RawKey::Integer(units)) - UNIX_EPOCH;
    assert_eq!([nanoseconds(1_000), nanoseconds(1_001), nanoseconds(-1)], [1, 2, 0]);
    let snowflake =
        |id| end(T::BigInt, E::Snowflake { epoch_ms: 0 }, RawKey::Integer(id)) - UNIX_EPOCH;
    assert_eq!([snowflake(7 << 22), snowflake((7 << 22) + 1)], [7_000, 7_001]);
    let uuid = |bits: u128| end(T::Uuid, E::UuidV7, RawKey::Uuid(bits.to_be_bytes())) - UNIX_EPOCH;
    assert_eq!([uuid(7 << 80), uuid((7 << 80) + 1)], [7_000, 7_001]);
}

proptest! {
    #[test]
    fn our_own_ends_are_not_rounded(which in any::<prop::sample::Index>(), position in -10_i128.pow(15)..10_i128.pow(15)) {
        let keys = every_key();
        let key = *which.get(&keys);
        let Some(text) = key.encode(&zone("UTC"), position) else { return Ok(()) };
        let raw = match key.key_type() {
            T::Timestamptz | T::Timestamp | T::Date => return Ok(()),
            T::SmallInt | T::Integer | T::BigInt => RawKey::Integer(text.parse().unwrap()),
            T::Numeric => RawKey::Decimal(text),
            T::Uuid => RawKey::Uuid(u128::from_str_radix(&text.replace('-', ""), 16).unwrap().to_be_bytes()),
            T::Text => RawKey::Text(text),
            T::Bytea => RawKey::Bytes(u128::from_str_radix(&text[2..], 16).unwrap().to_be_bytes().to_vec()),
        };
        let (end, down) = (key.decode_end(&raw).unwrap(), key.decode(&raw).unwrap());
        prop_assert!(end == down || down <= key.limits().0, "{key:?} {raw:?}");
    }
}
