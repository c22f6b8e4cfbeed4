//! Names of partitions: the usual suffixes, `name_format`, and fitting into an identifier.
//!
//! Names are for people. What a partition covers is read from its bounds, never from its name, so that
//! a name may be shortened or numbered without harm.

use std::fmt::Write as _;

use thiserror::Error;

use super::zone::is_repeated;
use super::{HOUR, MINUTE, Micros, Period, SECOND, WallClock, Zone};

/// The longest name that is given, in bytes: one less than the longest identifier (`NAMEDATALEN - 1` in
/// `src/include/pg_config_manual.h`). A table's array type has `_` before its name, cut at its end; of names
/// that begin alike the server finds none for the 257th (`makeArrayTypeName` in `src/backend/catalog/pg_type.c`).
pub(crate) const MAX_NAME_BYTES: usize = 62;

/// How many bytes a character takes in an identifier, in the encoding that those are in.
pub(crate) type Measure = fn(char) -> usize;

/// The suffix of the partition that begins at the instant `lower`: `_2025` for years, `_2025_q1` for other
/// multiples of 3 months (the quarter it begins in), `_2025_01`, `_2025_w05` for multiples of 7 days (ISO year
/// and week), `_2025_01_31`, `_2025_01_31_1300`, with seconds only where period or bound have any.
///
/// Where the zone shows that wall time twice, the UTC offset follows, `p` for plus (east) and `m` for minus:
/// `_2025_11_02_0100_m0400`. Years before 1 carry `bc`: `_0044bc_03`.
#[must_use]
pub(crate) fn time_suffix(period: Period, zone: &dyn Zone, lower: Micros) -> String {
    let clock = WallClock::at(zone.wall(lower));
    let (month, day) = (clock.date.month, clock.date.day);
    let year = year_text(clock.date.year);
    match period {
        Period::Months(n) if n.is_multiple_of(12) => format!("_{year}"),
        Period::Months(n) if n.is_multiple_of(3) => format!("_{year}_q{}", clock.date.quarter()),
        Period::Months(_) => format!("_{year}_{month:02}"),
        Period::Days(n) if n.is_multiple_of(7) => {
            let (year, week) = clock.date.iso_week();
            format!("_{}_w{week:02}", year_text(year))
        }
        Period::Days(_) => format!("_{year}_{month:02}_{day:02}"),
        Period::Micros(n) => {
            let mut suffix =
                format!("_{year}_{month:02}_{day:02}_{:02}{:02}", clock.hour, clock.minute);
            if i128::from(n) % MINUTE != 0 || clock.second != 0 {
                push(&mut suffix, format_args!("{:02}", clock.second));
            }
            if is_repeated(zone, lower) {
                suffix.push_str(&offset_suffix(zone.offset_at(lower)));
            }
            suffix
        }
    }
}

/// The suffix of an integer range, `_p<lower bound>`; a minus sign is written `m`.
#[must_use]
pub(crate) fn number_suffix(lower: i128) -> String {
    format!("_p{}", number_text(lower))
}

/// The suffix of a hash partition, `_p<remainder>`.
#[must_use]
pub(crate) fn remainder_suffix(remainder: u32) -> String {
    format!("_p{remainder}")
}

fn offset_suffix(offset: Micros) -> String {
    let sign = if offset < 0 { 'm' } else { 'p' };
    let offset = offset.abs();
    let mut text = format!("_{sign}{:02}{:02}", offset / HOUR, offset % HOUR / MINUTE);
    if offset % MINUTE != 0 {
        push(&mut text, format_args!("{:02}", offset % MINUTE / SECOND));
    }
    text
}

fn year_text(year: i128) -> String {
    if year > 0 { format!("{year:04}") } else { format!("{:04}bc", 1 - year) }
}

fn number_text(number: i128) -> String {
    let sign = if number < 0 { "m" } else { "" };
    format!("{sign}{}", number.unsigned_abs())
}

/// Appends formatted text.
fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail; the Result is the trait's.
    let _infallible = text.write_fmt(arguments);
}

/// What kind of set a name format is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// Ranges of time: the strftime directives.
    Time,
    /// Ranges of integers: `{lower}`.
    Number,
    /// Hashes: `{remainder}`.
    Remainder,
}

/// What tells one partition of a set from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameValue {
    /// The wall time of the lower bound.
    Time(Micros),
    /// The lower bound.
    Number(i128),
    /// The remainder.
    Remainder(u32),
}

/// Why a `name_format` was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NameFormatError {
    /// A `%` directive or `{…}` that does not exist, or not for this kind of set.
    #[error("name_format has no directive \"{directive}\" for this kind of set")]
    Unknown {
        /// As it was written.
        directive: String,
        /// The directives there are.
        valid: &'static str,
    },
    /// `{parent}` more than once.
    #[error("name_format may contain \"{{parent}}\" only once")]
    ParentTwice,
    /// Every partition would get the same name.
    #[error("name_format gives every partition the same name: it needs one of {valid}")]
    Constant {
        /// The directives that vary.
        valid: &'static str,
    },
}

impl NameKind {
    /// The directives that vary from one partition of such a set to the next.
    #[must_use]
    pub(crate) fn directives(self) -> &'static str {
        match self {
            Self::Time => "%Y %m %d %H %M %S %G %V %q",
            Self::Number => "{lower}",
            Self::Remainder => "{remainder}",
        }
    }
}

/// A parsed `name_format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameFormat(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Parent,
    /// One of the letters of `NameKind::Time`.
    Time(char),
    Lower,
    Remainder,
}

impl NameFormat {
    /// Parses a `name_format`: `{parent}`, `%%`, and the [directives](NameKind::directives) of `kind`; all
    /// else stands for itself.
    ///
    /// # Errors
    /// [`NameFormatError`] for an unknown directive, and for a format in which nothing varies.
    pub(crate) fn parse(format: &str, kind: NameKind) -> Result<Self, NameFormatError> {
        let unknown = |directive: &str| NameFormatError::Unknown {
            directive: directive.to_owned(),
            valid: kind.directives(),
        };
        let mut pieces = Vec::new();
        let mut rest = format;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '%' => rest.chars().take(2).map(char::len_utf8).sum(),
                '{' => rest.find('}').map_or(rest.len(), |end| end + 1),
                _ => rest.find(['%', '{']).unwrap_or(rest.len()),
            };
            let (token, after) = rest.split_at(length);
            rest = after;
            pieces.push(match (token, kind) {
                ("%%", _) => Piece::Literal("%".to_owned()),
                ("{parent}", _) if pieces.contains(&Piece::Parent) => {
                    return Err(NameFormatError::ParentTwice);
                }
                ("{parent}", _) => Piece::Parent,
                ("{lower}", NameKind::Number) => Piece::Lower,
                ("{remainder}", NameKind::Remainder) => Piece::Remainder,
                _ if first == '%' => match (token.chars().nth(1), kind) {
                    (Some(letter), NameKind::Time) if "YmdHMSGVq".contains(letter) => {
                        Piece::Time(letter)
                    }
                    _ => return Err(unknown(token)),
                },
                _ if first == '{' => return Err(unknown(token)),
                _ => Piece::Literal(token.to_owned()),
            });
        }
        let varies = |piece: &Piece| !matches!(piece, Piece::Literal(_) | Piece::Parent);
        if pieces.iter().any(varies) {
            Ok(Self(pieces))
        } else {
            Err(NameFormatError::Constant { valid: kind.directives() })
        }
    }

    /// The name of one partition of `parent`. `value` is of the kind that the format was parsed for; a
    /// directive of another kind renders as nothing.
    #[must_use]
    pub(crate) fn render(&self, parent: &str, value: NameValue) -> Name {
        let mut name = Name::default();
        for piece in &self.0 {
            let text = match (piece, value) {
                (Piece::Parent, _) => {
                    // What came before the parent has gathered in the tail.
                    name.head = std::mem::take(&mut name.tail);
                    parent.clone_into(&mut name.parent);
                    continue;
                }
                (Piece::Literal(text), _) => text.clone(),
                (Piece::Time(letter), NameValue::Time(wall)) => strftime(*letter, wall),
                (Piece::Lower, NameValue::Number(lower)) => number_text(lower),
                (Piece::Remainder, NameValue::Remainder(remainder)) => remainder.to_string(),
                _ => String::new(),
            };
            name.tail.push_str(&text);
        }
        name
    }
}

fn strftime(letter: char, wall: Micros) -> String {
    let clock = WallClock::at(wall);
    match letter {
        'Y' => year_text(clock.date.year),
        'G' => year_text(clock.date.iso_week().0),
        'V' => format!("{:02}", clock.date.iso_week().1),
        'q' => clock.date.quarter().to_string(),
        'm' => format!("{:02}", clock.date.month),
        'd' => format!("{:02}", clock.date.day),
        'H' => format!("{:02}", clock.hour),
        'M' => format!("{:02}", clock.minute),
        'S' => format!("{:02}", clock.second),
        _ => String::new(),
    }
}

/// A name before it is made to fit: its parts, so that the parent's is what gets shortened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    head: String,
    parent: String,
    tail: String,
}

impl Name {
    /// `<parent><suffix>`.
    #[must_use]
    pub(crate) fn new(parent: &str, suffix: String) -> Self {
        Self { head: String::new(), parent: parent.to_owned(), tail: suffix }
    }

    /// `<this name><suffix>`: what lies below it. Shortened like this one, at the end of the parent's name.
    #[must_use]
    pub(crate) fn followed_by(&self, suffix: &str) -> Self {
        Self { tail: format!("{}{suffix}", self.tail), ..self.clone() }
    }

    /// The name in at most [`MAX_NAME_BYTES`] bytes by `measure`, with `_<number>` at its end unless `number` is 0.
    ///
    /// The parent's name is shortened first, at its end and on a character boundary; only when nothing is
    /// left of it, what stands before it and then what stands after it, both from their beginning, since a
    /// period distinguishes itself at its end.
    #[must_use]
    pub(crate) fn fit(&self, number: u32, measure: Measure) -> String {
        let number = if number == 0 { String::new() } else { format!("_{number}") };
        let room = MAX_NAME_BYTES - number.len();
        let (tail, room) = last_bytes(&self.tail, room, measure);
        let (head, room) = last_bytes(&self.head, room, measure);
        let (parent, _) = first_bytes(&self.parent, room, measure);
        [head, parent, tail, &number].concat()
    }
}

/// The longest beginning of at most so many bytes, and how many are left.
fn first_bytes(text: &str, bytes: usize, measure: Measure) -> (&str, usize) {
    let (fits, left) = fitting(text.chars(), bytes, measure);
    (&text[..fits], left)
}

/// The longest end of at most so many bytes, and how many are left.
fn last_bytes(text: &str, bytes: usize, measure: Measure) -> (&str, usize) {
    let (fits, left) = fitting(text.chars().rev(), bytes, measure);
    (&text[text.len() - fits..], left)
}

/// How much of the text fits, in bytes of the text itself, and how much room is left.
fn fitting(
    characters: impl Iterator<Item = char>,
    room: usize,
    measure: Measure,
) -> (usize, usize) {
    let (mut fits, mut left) = (0, room);
    for character in characters {
        let Some(rest) = left.checked_sub(measure(character)) else { break };
        (fits, left) = (fits + character.len_utf8(), rest);
    }
    (fits, left)
}

#[cfg(test)]
mod tests;
