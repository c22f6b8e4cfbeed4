//! What the values of a partition key mean on an axis of whole numbers, and back.

mod encoding;
mod end;
mod fit;
mod width;

use thiserror::Error;

use crate::calendar::{DAY, Date, HOUR, MINUTE, Micros, SECOND, Utc, WallClock, Zone};
pub(crate) use encoding::Encoding;
use encoding::{decimal_text, floor_decimal, ulid_bits, ulid_text, uuid_text};
pub(crate) use width::Width;

/// Beyond every value of every key: what `infinity`, `NaN` and the like mean on the axis.
/// `-FOREVER` is beyond at the other end.
pub(crate) const FOREVER: i128 = 10_i128.pow(36);

/// 1970-01-01 on the axis of instants.
const UNIX_EPOCH: Micros = -10_957 * DAY;
/// `MIN_TIMESTAMP` and `END_TIMESTAMP` of `src/include/datatype/timestamp.h`; the end is exclusive.
const FIRST_TIMESTAMP: Micros = -211_813_488_000_000_000;
const END_TIMESTAMP: Micros = 9_223_371_331_200_000_000;
/// The last `date`, 5874897-12-31, in days since 2000-01-01.
const LAST_DATE: i128 = 2_145_031_948;
/// The largest millisecond that UUIDv7 and ULID can hold.
const LAST_48_BIT_MS: i128 = (1 << 48) - 1;
/// Bits below a Snowflake's milliseconds.
const SNOWFLAKE_SHIFT: u32 = 22;
const MILLISECOND: Micros = 1_000;

/// The type of a partition key column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyType {
    /// `timestamp with time zone`
    Timestamptz,
    /// `timestamp without time zone`
    Timestamp,
    /// `date`
    Date,
    /// `smallint`
    SmallInt,
    /// `integer`
    Integer,
    /// `bigint`
    BigInt,
    /// `numeric`
    Numeric,
    /// `uuid`
    Uuid,
    /// `text` and `varchar`
    Text,
    /// `bytea`
    Bytea,
}

impl KeyType {
    /// The type's name in SQL.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Timestamptz => "timestamp with time zone",
            Self::Timestamp => "timestamp without time zone",
            Self::Date => "date",
            Self::SmallInt => "smallint",
            Self::Integer => "integer",
            Self::BigInt => "bigint",
            Self::Numeric => "numeric",
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Bytea => "bytea",
        }
    }
}

/// A value of a key column as the catalog reader hands it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RawKey {
    /// `timestamptz` and `timestamp`: microseconds since 2000; `date`: days since 2000; integers: themselves.
    Integer(i128),
    /// The text of a `numeric`.
    Decimal(String),
    /// A `uuid`.
    Uuid([u8; 16]),
    /// A `text` or `varchar`.
    Text(String),
    /// A `bytea`.
    Bytes(Vec<u8>),
}

/// What a position on a set's axis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Axis {
    /// Microseconds since 2000-01-01 00:00 UTC: `timestamptz` and every encoded key.
    Instant,
    /// Microseconds of the wall clock since 2000-01-01 00:00: `timestamp` and `date`.
    Wall,
    /// The key itself.
    Number,
}

/// Why a key, its encoding or its interval was refused. Each is a 22023.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum KeyError {
    /// No such `key_encoding`.
    #[error("unknown key_encoding \"{0}\"")]
    UnknownEncoding(String),
    /// A type that says nothing by itself.
    #[error("a partition key of type {} needs a key_encoding", .0.name())]
    EncodingNeeded(KeyType),
    /// An encoding that this type cannot hold.
    #[error("key_encoding \"{encoding}\" does not suit a partition key of type {}", key_type.name())]
    Unsuitable {
        /// The encoding.
        encoding: Encoding,
        /// The type.
        key_type: KeyType,
    },
    /// An interval with a time of day, for a key that has none.
    #[error("a partition key of type date needs an interval of whole days or months")]
    WholeDaysNeeded,
    /// An origin with a time of day, for a key that has none.
    #[error("the periods of a partition key of type date begin at midnight")]
    MidnightNeeded,
    /// An interval of time for a plain integer key.
    #[error("a partition key of type {} without key_encoding needs a whole number as its interval", .0.name())]
    NumberNeeded(KeyType),
    /// A number for a key that holds a time.
    #[error("a partition key that holds a time needs an interval of time")]
    TimeNeeded,
    /// A number that is zero, negative, or more than the type can say.
    #[error("the interval of a partition key of type {} must be between 1 and {widest}", key_type.name())]
    NumberOutOfRange {
        /// The type.
        key_type: KeyType,
        /// The widest range.
        widest: i128,
    },
    /// An interval that is longer than all the times that the key can hold.
    #[error("a partition key of type {}, so encoded, holds less time than one such interval", .0.name())]
    TooLong(KeyType),
}

impl KeyError {
    /// The way out.
    #[must_use]
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::UnknownEncoding(_) => {
                "Use one of epoch_seconds, epoch_milliseconds, epoch_microseconds, epoch_nanoseconds, \
                 uuidv7, ulid, snowflake, snowflake:<epoch in milliseconds since 1970>."
            }
            Self::EncodingNeeded(KeyType::Uuid) => "Use key_encoding => 'uuidv7' or 'ulid'.",
            Self::EncodingNeeded(_) => "Use key_encoding => 'ulid'.",
            Self::Unsuitable { .. } => {
                "epoch_seconds is for integer, bigint and numeric keys, the finer epochs for bigint and \
                 numeric, uuidv7 for uuid, ulid for text, varchar, uuid and bytea, snowflake for bigint."
            }
            Self::MidnightNeeded => "Use for example '2025-01-01'.",
            Self::WholeDaysNeeded | Self::TimeNeeded | Self::TooLong(_) => {
                "Use for example '1 day' or '1 month'."
            }
            Self::NumberNeeded(KeyType::SmallInt)
            | Self::NumberOutOfRange { key_type: KeyType::SmallInt, .. } => {
                "Use for example '1000'."
            }
            Self::NumberNeeded(_) | Self::NumberOutOfRange { .. } => "Use for example '1000000'.",
        }
    }
}

/// A partition key: its type, and how it holds what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    key_type: KeyType,
    encoding: Encoding,
}

impl Key {
    /// A key of that type, so encoded.
    ///
    /// # Errors
    /// [`KeyError::EncodingNeeded`] for uuid, text and bytea without encoding, [`KeyError::Unsuitable`] for an
    /// encoding that the type cannot hold.
    pub(crate) fn new(key_type: KeyType, encoding: Encoding) -> Result<Self, KeyError> {
        match encoding {
            _ if encoding.suits(key_type) => Ok(Self { key_type, encoding }),
            Encoding::Plain => Err(KeyError::EncodingNeeded(key_type)),
            _ => Err(KeyError::Unsuitable { encoding, key_type }),
        }
    }

    /// The column's type.
    #[must_use]
    pub(crate) fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// How a time is written into it.
    #[must_use]
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// What this key's values are positions on.
    #[must_use]
    pub(crate) fn axis(&self) -> Axis {
        match (self.encoding, self.key_type) {
            (Encoding::Plain, KeyType::Timestamp | KeyType::Date) => Axis::Wall,
            (Encoding::Plain, KeyType::Timestamptz) => Axis::Instant,
            (Encoding::Plain, _) => Axis::Number,
            _ => Axis::Instant,
        }
    }

    /// The calendar that lies on this key's axis: `zone` for instants; for wall times UTC, as they have
    /// neither gaps nor folds.
    #[must_use]
    pub(crate) fn calendar<'a>(&self, zone: &'a dyn Zone) -> &'a dyn Zone {
        if self.axis() == Axis::Instant { zone } else { &Utc }
    }

    /// The position of a value, rounded down to the axis' resolution; `±FOREVER` for the infinities. `None`
    /// for what cannot be read, such as a text that is no ULID.
    #[must_use]
    pub(crate) fn decode(&self, raw: &RawKey) -> Option<i128> {
        use KeyType as T;
        match (self.encoding, self.key_type, raw) {
            (Encoding::Plain, T::Timestamptz | T::Timestamp, RawKey::Integer(micros)) => {
                Some(finite(*micros, i64::MIN.into(), i64::MAX.into()))
            }
            (Encoding::Plain, T::Date, RawKey::Integer(days)) => {
                let days = finite(*days, i32::MIN.into(), i32::MAX.into());
                Some(if days.abs() == FOREVER { days } else { days * DAY })
            }
            (Encoding::Plain, _, RawKey::Integer(number)) => Some(*number),
            (Encoding::Plain, _, RawKey::Decimal(text)) => floor_decimal(text, 0, FOREVER),
            (Encoding::UuidV7 | Encoding::Ulid, _, RawKey::Uuid(bytes)) => {
                Some(instant_of_bits(u128::from_be_bytes(*bytes)))
            }
            (Encoding::Ulid, _, RawKey::Bytes(bytes)) => {
                let bytes = bytes.as_slice().try_into().ok()?;
                Some(instant_of_bits(u128::from_be_bytes(bytes)))
            }
            (Encoding::Ulid, _, RawKey::Text(text)) => ulid_bits(text).map(instant_of_bits),
            (Encoding::Snowflake { epoch_ms }, _, RawKey::Integer(id)) => {
                Some(instant_of_ms((id >> SNOWFLAKE_SHIFT) + i128::from(epoch_ms)))
            }
            (_, _, RawKey::Integer(units)) => {
                let per_second = self.encoding.units_per_second()?;
                Some((units * SECOND).div_euclid(per_second) + UNIX_EPOCH)
            }
            (_, _, RawKey::Decimal(text)) => {
                let digits = self.encoding.units_per_second()?.ilog10();
                let micros = floor_decimal(text, 6 - i32::try_from(digits).ok()?, FOREVER)?;
                Some(if micros.abs() == FOREVER { micros } else { micros + UNIX_EPOCH })
            }
            _ => None,
        }
    }

    /// The first and last position at which this key can hold something.
    #[must_use]
    pub(crate) fn limits(&self) -> (i128, i128) {
        use KeyType as T;
        let integers: (i128, i128) = match self.key_type {
            T::SmallInt => (i16::MIN.into(), i16::MAX.into()),
            T::Integer => (i32::MIN.into(), i32::MAX.into()),
            _ => (i64::MIN.into(), i64::MAX.into()),
        };
        match (self.encoding, self.key_type) {
            (Encoding::Plain, T::Numeric) => (1 - FOREVER, FOREVER - 1),
            (Encoding::Plain, T::SmallInt | T::Integer | T::BigInt) => integers,
            (Encoding::Plain, T::Date) => (FIRST_TIMESTAMP, LAST_DATE * DAY),
            // A numeric could hold more, but nothing that PostgreSQL could show as a time.
            (Encoding::Plain, _) | (_, T::Numeric) => (FIRST_TIMESTAMP, END_TIMESTAMP - 1),
            (Encoding::UuidV7 | Encoding::Ulid, _) => {
                (instant_of_ms(0), instant_of_ms(LAST_48_BIT_MS))
            }
            _ => {
                let position = |integer| self.decode(&RawKey::Integer(integer)).unwrap_or_default();
                (position(integers.0), position(integers.1))
            }
        }
    }

    /// The text of the smallest key at or after a position, as it stands (unquoted) in a partition bound.
    /// A `timestamptz` is written as psql would show it in `zone`, its offset included.
    ///
    /// Before the type's first value that first value; `None` past its last one, where the bound is MAXVALUE.
    #[must_use]
    pub(crate) fn encode(&self, zone: &dyn Zone, position: i128) -> Option<String> {
        use KeyType as T;
        let (first, last) = self.limits();
        if position > last {
            return None;
        }
        let position = position.max(first);
        let since_1970 = position - UNIX_EPOCH;
        let bits = || ceil_div(since_1970, MILLISECOND).unsigned_abs() << 80;
        Some(match (self.encoding, self.key_type) {
            (Encoding::Plain, T::Timestamptz) => timestamptz_text(zone, position),
            (Encoding::Plain, T::Timestamp) => {
                let clock = WallClock::at(position);
                format!("{clock}{}", clock.era())
            }
            (Encoding::Plain, T::Date) => {
                let date = Date::from_days(ceil_div(position, DAY));
                format!("{date}{}", if date.year > 0 { "" } else { " BC" })
            }
            (Encoding::Plain, _) => position.to_string(),
            // All other bits zero, version and variant too: that sorts before every UUIDv7 of the millisecond
            // and after every one of the millisecond before.
            (Encoding::UuidV7, _) | (Encoding::Ulid, T::Uuid) => uuid_text(bits()),
            (Encoding::Ulid, T::Bytea) => format!("\\x{:032x}", bits()),
            (Encoding::Ulid, _) => ulid_text(bits()),
            (Encoding::Snowflake { epoch_ms }, _) => {
                let ms = ceil_div(since_1970, MILLISECOND) - i128::from(epoch_ms);
                (ms << SNOWFLAKE_SHIFT).to_string()
            }
            (encoding, key_type) => {
                let per_second = encoding.units_per_second()?;
                let scaled = since_1970 * per_second;
                if key_type == T::Numeric {
                    decimal_text(scaled)
                } else {
                    // The smallest bigint of nanoseconds rounds down to a position before it.
                    ceil_div(scaled, SECOND).max(i64::MIN.into()).to_string()
                }
            }
        })
    }
}

/// The value, or `±FOREVER` for one of its type's infinities.
fn finite(value: i128, minus_infinity: i128, infinity: i128) -> i128 {
    match value {
        _ if value >= infinity => FOREVER,
        _ if value <= minus_infinity => -FOREVER,
        _ => value,
    }
}

fn instant_of_ms(ms: i128) -> Micros {
    ms * MILLISECOND + UNIX_EPOCH
}

/// The instant in the first 48 bits.
fn instant_of_bits(bits: u128) -> Micros {
    instant_of_ms((bits >> 80).cast_signed())
}

fn ceil_div(value: i128, divisor: i128) -> i128 {
    -(-value).div_euclid(divisor)
}

/// As `EncodeDateTime` and `EncodeTimezone` of `src/backend/utils/adt/datetime.c` write it in ISO style.
fn timestamptz_text(zone: &dyn Zone, instant: Micros) -> String {
    let offset = zone.offset_at(instant);
    let clock = WallClock::at(instant + offset);
    let sign = if offset < 0 { '-' } else { '+' };
    let offset = offset.abs();
    let mut text = format!("{clock}{sign}{:02}", offset / HOUR);
    if offset % HOUR != 0 {
        text.push_str(&format!(":{:02}", offset % HOUR / MINUTE));
    }
    if offset % MINUTE != 0 {
        text.push_str(&format!(":{:02}", offset % MINUTE / SECOND));
    }
    text + clock.era()
}

#[cfg(test)]
mod tests;
