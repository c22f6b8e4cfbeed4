//! How a time is written into a key that is no time: epochs, UUIDv7, ULID, Snowflake.

use std::fmt;

use super::{KeyError, KeyType};

/// Twitter's epoch, in milliseconds since 1970: what `'snowflake'` means without an epoch of its own.
pub(crate) const TWITTER_EPOCH_MS: i64 = 1_288_834_974_657;

/// The `key_encoding` of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Encoding {
    /// The value itself.
    Plain,
    /// Seconds since 1970.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMilliseconds,
    /// Microseconds since 1970.
    EpochMicroseconds,
    /// Nanoseconds since 1970.
    EpochNanoseconds,
    /// RFC 9562 UUID version 7: milliseconds since 1970 in the first 48 bits.
    UuidV7,
    /// ULID: milliseconds since 1970 in the first 48 of 128 bits.
    Ulid,
    /// Snowflake: milliseconds since an epoch of its own, above 22 bits of machine and sequence.
    Snowflake {
        /// That epoch, in milliseconds since 1970.
        epoch_ms: i64,
    },
}

impl Encoding {
    /// Reads a `key_encoding`; `None` is [`Encoding::Plain`].
    ///
    /// # Errors
    /// [`KeyError::UnknownEncoding`].
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, KeyError> {
        let Some(text) = text else {
            return Ok(Self::Plain);
        };
        let unknown = || KeyError::UnknownEncoding(text.to_owned());
        match text {
            "epoch_seconds" => Ok(Self::EpochSeconds),
            "epoch_milliseconds" => Ok(Self::EpochMilliseconds),
            "epoch_microseconds" => Ok(Self::EpochMicroseconds),
            "epoch_nanoseconds" => Ok(Self::EpochNanoseconds),
            "uuidv7" => Ok(Self::UuidV7),
            "ulid" => Ok(Self::Ulid),
            "snowflake" => Ok(Self::Snowflake { epoch_ms: TWITTER_EPOCH_MS }),
            _ => {
                let epoch = text.strip_prefix("snowflake:").ok_or_else(unknown)?;
                let epoch_ms = epoch.trim().parse().map_err(|_not_a_number| unknown())?;
                Ok(Self::Snowflake { epoch_ms })
            }
        }
    }

    /// Units a second, for the encodings that count units from 1970.
    #[must_use]
    pub(super) fn units_per_second(self) -> Option<i128> {
        match self {
            Self::EpochSeconds => Some(1),
            Self::EpochMilliseconds => Some(1_000),
            Self::EpochMicroseconds => Some(1_000_000),
            Self::EpochNanoseconds => Some(1_000_000_000),
            Self::Plain | Self::UuidV7 | Self::Ulid | Self::Snowflake { .. } => None,
        }
    }

    /// Whether keys of that type can be written so.
    #[must_use]
    pub(super) fn suits(self, key_type: KeyType) -> bool {
        use KeyType as T;
        match self {
            Self::Plain => !matches!(key_type, T::Uuid | T::Text | T::Bytea),
            // 32 bits of seconds last until 2038; of anything finer, not beyond January 1970.
            Self::EpochSeconds => matches!(key_type, T::Integer | T::BigInt | T::Numeric),
            Self::EpochMilliseconds | Self::EpochMicroseconds | Self::EpochNanoseconds => {
                matches!(key_type, T::BigInt | T::Numeric)
            }
            Self::UuidV7 => key_type == T::Uuid,
            Self::Ulid => matches!(key_type, T::Text | T::Uuid | T::Bytea),
            Self::Snowflake { .. } => key_type == T::BigInt,
        }
    }
}

/// The text of `key_encoding`, and `plain` for none.
impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::EpochSeconds => "epoch_seconds",
            Self::EpochMilliseconds => "epoch_milliseconds",
            Self::EpochMicroseconds => "epoch_microseconds",
            Self::EpochNanoseconds => "epoch_nanoseconds",
            Self::UuidV7 => "uuidv7",
            Self::Ulid => "ulid",
            Self::Snowflake { epoch_ms: TWITTER_EPOCH_MS } => "snowflake",
            Self::Snowflake { epoch_ms } => return write!(f, "snowflake:{epoch_ms}"),
        })
    }
}

/// Crockford's base 32: no I, L, O, U. Its digits are in ASCII order, so that ULIDs sort as text.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 128 bits as a ULID's 26 characters.
pub(super) fn ulid_text(bits: u128) -> String {
    (0..26)
        .rev()
        .map(|place| {
            let digit = usize::try_from((bits >> (5 * place)) & 31).unwrap_or_default();
            char::from(CROCKFORD[digit])
        })
        .collect()
}

/// The 128 bits of a ULID in its canonical, upper-case form: another case would sort elsewhere.
pub(super) fn ulid_bits(text: &str) -> Option<u128> {
    // 26 digits hold 130 bits, so the first may not go beyond 7.
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0, |bits: u128, byte| {
        let digit = CROCKFORD.iter().position(|known| *known == byte)?;
        Some(bits << 5 | u128::try_from(digit).ok()?)
    })
}

/// 128 bits as a uuid's text.
pub(super) fn uuid_text(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// `floor(value * 10^shift)` of a `numeric`'s text, as `numeric_out` writes it (no exponents); NaN, which
/// PostgreSQL sorts above everything, and the infinities give `limit` with their sign, as does whatever
/// is beyond it. `None` if it is no number.
pub(super) fn floor_decimal(text: &str, shift: i32, limit: i128) -> Option<i128> {
    match text {
        "NaN" | "Infinity" => return Some(limit),
        "-Infinity" => return Some(-limit),
        _ => {}
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if all.is_empty() || !all.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let point = i128::try_from(whole.len()).ok()? + i128::from(shift);
    let mut value: i128 = 0;
    for place in 0..point {
        let digit = usize::try_from(place).ok().and_then(|place| all.get(place)).unwrap_or(&b'0');
        value = (value * 10 + i128::from(digit - b'0')).min(limit);
    }
    let kept = usize::try_from(point.max(0)).ok()?;
    let has_rest = all.iter().skip(kept).any(|digit| *digit != b'0');
    Some(match negative {
        true => (-value - i128::from(has_rest)).max(-limit),
        false => value,
    })
}

/// Millionths as the text of a `numeric`.
pub(super) fn decimal_text(millionths: i128) -> String {
    const MILLION: i128 = 1_000_000;
    let sign = if millionths < 0 { "-" } else { "" };
    let (whole, fraction) = (millionths.abs() / MILLION, millionths.abs() % MILLION);
    let text = format!("{sign}{whole}.{fraction:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
