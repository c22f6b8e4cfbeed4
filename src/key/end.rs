//! Where a range of keys ends that ends at an odd one.

use super::encoding::{Encoding, ulid_bits};
use super::{Key, RawKey};

impl Key {
    /// The position of a value, rounded up: no key below the value lies at it or after it. `None` for what
    /// cannot be read. [`Key::decode`] rounds down, and a period that ends at 9.5 has not ended at 9.
    #[must_use]
    pub(crate) fn decode_end(&self, raw: &RawKey) -> Option<i128> {
        let down = self.decode(raw)?;
        let bits = |bits: u128| RawKey::Uuid(bits.saturating_sub(1).to_be_bytes());
        let below = match raw {
            RawKey::Integer(number) => Some(RawKey::Integer(number - 1)),
            RawKey::Uuid(bytes) => Some(bits(u128::from_be_bytes(*bytes))),
            RawKey::Bytes(bytes) => {
                bytes.as_slice().try_into().ok().map(|bytes| bits(u128::from_be_bytes(bytes)))
            }
            RawKey::Text(text) => self.text_bits(text).map(bits),
            RawKey::Decimal(_) => None,
        };
        let is_rounded = match raw {
            RawKey::Decimal(text) => self.is_between(text, down),
            _ => below.and_then(|below| self.decode(&below)).is_some_and(|below| below >= down),
        };
        Some(if is_rounded { down.saturating_add(1) } else { down })
    }

    /// What a key that is text stands for.
    fn text_bits(&self, text: &str) -> Option<u128> {
        match self.encoding {
            Encoding::Ulid => ulid_bits(text),
            Encoding::Plain
            | Encoding::EpochSeconds
            | Encoding::EpochMilliseconds
            | Encoding::EpochMicroseconds
            | Encoding::EpochNanoseconds
            | Encoding::UuidV7
            | Encoding::Snowflake { .. } => None,
        }
    }

    /// Whether a number lies between two positions: then it and its negative are not rounded to the same
    /// distance from zero.
    fn is_between(&self, text: &str, down: i128) -> bool {
        let position = |text: String| self.decode(&RawKey::Decimal(text));
        let negative = match text.strip_prefix('-') {
            Some(positive) => positive.to_owned(),
            None => format!("-{text}"),
        };
        match (position("0".into()), position(negative)) {
            (Some(zero), Some(negative)) => down - zero != zero - negative,
            _ => false, // NaN
        }
    }
}
