//! What lies behind a set: how old is too old for it, and the periods that are.

use std::collections::HashMap;

use pgrx::PgSqlErrorCode;
use pgrx::datum::TimestampWithTimeZone;

use super::catalog::Set;
use super::plan;
use super::policy::Invalid;
use super::stored;
use crate::error::Result;
use crate::key::{Axis, Key};
use crate::partition::table;
use crate::pg::bounds::{RangeBounds, RawEdge, RawRange};
use crate::pg::ident::Qualified;
use crate::pg::{Oid, clock, guc, query, subtransaction};

/// When the calendar does not say when a period will be too old, in microseconds.
const LOOK_AGAIN_MICROSECONDS: i64 = 3_600_000_000;

/// What ends from here on, in the year 284000, will be too old at no time that the server knows: ages are as
/// long as history at most ([`check`]), for which room is left up to the year 294276.
const NEVER: i128 = 8_899_200_000_000_000_000;

/// How old a period has to be, counted from now or from the highest key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// As the server reads an interval.
    Interval(String),
    Keys(i128),
}

/// What happens to a period that retention is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetentionAction {
    Drop,
    /// It stays, as a table of its own.
    Detach,
}

impl RetentionAction {
    /// As set_retention() has it; None: something else.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Drop, Self::Detach].into_iter().find(|fate| fate.as_str() == name)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Detach => "detach",
        }
    }
}

/// What set_retention() was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) keep: String,
    pub(crate) fate: RetentionAction,
    /// Unquoted.
    pub(crate) to_schema: Option<String>,
    /// Name and argument type, as a regprocedure is written.
    pub(crate) archive_function: Option<String>,
}

/// What set_tiering() was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiering {
    pub(crate) older_than: String,
    /// Unquoted.
    pub(crate) tablespace: String,
}

/// A period that is past one of the set's horizons.
#[derive(Clone, Debug)]
pub(crate) struct Period {
    pub(crate) oid: Oid,
    pub(crate) name: Qualified,
    /// Its bounds as SQL writes them.
    pub(crate) lower: String,
    pub(crate) upper: String,
    /// The upper bound on the key's axis.
    pub(crate) ends: i128,
    /// The set has none above it.
    pub(crate) is_last: bool,
}

/// What retention and tiering have to know of a set.
pub(crate) struct Past {
    pub(crate) retention: Option<Retention>,
    /// Periods that end at or before it are not kept; None: nothing can be so old.
    pub(crate) horizon: Option<i128>,
    pub(crate) tiering: Option<Tiering>,
    /// Periods that end at or before it are cold.
    pub(crate) cold: Option<i128>,
    /// Now, on the key's axis.
    pub(crate) position: i128,
    /// Those that end at or before one of the two, lowest first.
    pub(crate) periods: Vec<Period>,
    /// When the next one will be past one of them; None: no clock says.
    pub(crate) next_at: Option<i64>,
    /// A DETACH … CONCURRENTLY is half done.
    pub(crate) is_pending: bool,
    /// About how many partitions the set has: holes count.
    pub(crate) partitions: usize,
    /// How often a new period begins, in microseconds; None: keys know no clock.
    pub(crate) every: Option<i64>,
    /// There is a default partition, with which nothing can be detached CONCURRENTLY.
    pub(crate) has_default: bool,
}

/// Reads an age. Errors: it is none, or not more than nothing (22023).
pub(super) fn age(
    axis: Axis,
    argument: &'static str,
    text: &str,
    invalid: &Invalid<'_>,
) -> Result<Age> {
    let text = text.trim();
    if axis == Axis::Number {
        return match text.parse::<i128>() {
            Ok(keys) if keys > 0 => Ok(Age::Keys(keys)),
            _ => Err(invalid(
                argument,
                format!("'{text}' is not a whole number of keys, and more than zero"),
                "Say how many keys below the highest one in use, for example '1000000'.",
            )),
        };
    }
    Ok(Age::Interval(text.to_owned()))
}

/// Whether an interval is one, and leads into a past that keys can hold, as a number of keys does: for when
/// it is given. Reading it again is part of every look.
pub(super) fn check(
    age: &Age,
    key: &Key,
    argument: &'static str,
    invalid: &Invalid<'_>,
) -> Result<()> {
    const EXAMPLE: &str = "Say for example '12 months'.";
    let longer = |text: &str| {
        format!("'{text}' is more than a partition key of type {} holds", key.key_type().name())
    };
    let text = match age {
        Age::Keys(keys) if *keys > key.span() => {
            const EXAMPLE: &str =
                "Say how many keys below the highest one in use, for example '1000'.";
            return Err(invalid(argument, longer(&keys.to_string()), EXAMPLE));
        }
        Age::Keys(_) => return Ok(()),
        Age::Interval(text) => text,
    };
    let positive = subtransaction::run(|| {
        query::one(
            "SELECT pg_catalog.isfinite(i.i) AND i.i > '0'::pg_catalog.interval
                    AND pg_catalog.now() - i.i < pg_catalog.now(),
                    1000000 * extract(epoch FROM i.i) <= $2::pg_catalog.text::pg_catalog.numeric
               FROM (SELECT $1::pg_catalog.text::pg_catalog.interval) i (i)",
            &[text.as_str().into(), key.span().to_string().into()],
            |row| Ok((row.required::<bool>(1)?, row.required::<bool>(2)?)),
        )
    });
    match positive {
        Ok((true, true)) => Ok(()),
        Ok((true, false)) => Err(invalid(argument, longer(text), EXAMPLE)),
        Ok((false, _)) => {
            Err(invalid(argument, format!("'{text}' is not more than no time at all"), EXAMPLE))
        }
        Err(error) => Err(error.about_value(|| {
            invalid(
                argument,
                format!("'{text}' is no interval, or longer than there have been times"),
                EXAMPLE,
            )
        })),
    }
}

/// The set's horizons and what is past them. None: it has neither retention nor tiering, and no detach
/// that was broken off half way and is to be finished.
pub(super) fn past(
    set: &Set,
    bounds: &RangeBounds,
    position: i128,
    at: i64,
) -> Result<Option<Past>> {
    if set.retention.is_none() && set.tiering.is_none() && !bounds.is_pending() {
        return Ok(None);
    }
    let retention = set.retention.as_ref();
    let tiering = set.tiering.as_ref();
    let mut horizons = Horizons { set, bounds, at, position, highest: None };
    let horizon = retention.map(|(_, age)| horizons.of(age)).transpose()?.flatten();
    let cold = tiering.map(|(_, age)| horizons.of(age)).transpose()?.flatten();
    let mut next_at = None;
    for (age, horizon) in retention
        .map(|(_, age)| (age, horizon))
        .into_iter()
        .chain(tiering.map(|(_, age)| (age, cold)))
    {
        let next = horizons.next(age, horizon)?;
        next_at = next_at.into_iter().chain(next).min();
    }
    Ok(Some(Past {
        retention: retention.map(|(retention, _)| retention.clone()),
        horizon,
        tiering: tiering.map(|(tiering, _)| tiering.clone()),
        cold,
        position,
        periods: match horizon.max(cold) {
            Some(until) => periods(set, bounds, until)?,
            None => Vec::new(),
        },
        next_at,
        partitions: bounds.positions(),
        every: every(set, position),
        is_pending: bounds.is_pending(),
        has_default: bounds.default_partition().is_some(),
    }))
}

/// Where the last period ends that retention takes out of the set.
pub(super) fn last_expired(past: Option<&Past>) -> Option<i128> {
    let past = past?;
    let expired = |period: &&Period| {
        !period.is_last && period.ends <= past.position && Some(period.ends) <= past.horizon
    };
    past.periods.iter().rev().find(expired).map(|period| period.ends)
}

/// The horizon of the set's retention alone.
pub(super) fn horizon(
    set: &Set,
    bounds: &RangeBounds,
    position: i128,
    at: i64,
) -> Result<Option<i128>> {
    let Some((_, age)) = &set.retention else { return Ok(None) };
    Horizons { set, bounds, at, position, highest: None }.of(age)
}

/// Turns ages into positions.
struct Horizons<'a> {
    set: &'a Set,
    bounds: &'a RangeBounds,
    at: i64,
    position: i128,
    highest: Option<Option<i128>>,
}

impl Horizons<'_> {
    fn of(&mut self, age: &Age) -> Result<Option<i128>> {
        match age {
            Age::Interval(text) => self.before(text),
            Age::Keys(keys) => {
                // The exact highest key costs a look into a table: only where a period could be past
                // even the end of the one that holds it.
                let at_best = self.position.saturating_sub(*keys);
                if lowest(self.set, self.bounds)?.is_none_or(|ends| ends > at_best) {
                    return Ok(None);
                }
                Ok(self.highest_key()?.map(|highest| highest.saturating_sub(*keys)))
            }
        }
    }

    /// When the lowest period that is not yet so old will be.
    fn next(&self, age: &Age, horizon: Option<i128>) -> Result<Option<i64>> {
        let (Age::Interval(interval), Some(horizon)) = (age, horizon) else { return Ok(None) };
        for place in 0..self.bounds.positions() {
            let Some(raw) = self.bounds.at(place) else { continue };
            let ends = self.set.ends(&raw)?;
            if ends <= horizon {
                continue;
            }
            if ends >= NEVER {
                break;
            }
            let instant = self.set.instant_of(ends);
            let due = self.reckon(
                "SELECT $1::pg_catalog.timestamptz + $2::pg_catalog.text::pg_catalog.interval",
                instant,
                interval,
            )?;
            // A month after the last of January is not the day on which a month before is the last of
            // January: then look again soon.
            let soon = self.at.saturating_add(LOOK_AGAIN_MICROSECONDS);
            return Ok(Some(if due > self.at { due } else { soon }));
        }
        Ok(None)
    }

    /// So long before the instant, by the set's calendar; None: before all times.
    fn before(&self, interval: &str) -> Result<Option<i128>> {
        let reckon = || {
            self.reckon(
                "SELECT $1::pg_catalog.timestamptz - $2::pg_catalog.text::pg_catalog.interval",
                self.at,
                interval,
            )
        };
        // An age has been seen to lead from now to some time; from an instant that plan() was given it may
        // lead to none.
        let instant = match self.at < 0 {
            true => subtransaction::run(reckon),
            false => reckon(),
        };
        match instant {
            Err(error) if error.code() == PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW => {
                Ok(None)
            }
            instant => Ok(Some(self.set.position_of(instant?))),
        }
    }

    fn reckon(&self, sql: &'static str, from: i64, interval: &str) -> Result<i64> {
        guc::with_time_zone(&self.set.zone.name(), || {
            query::one(sql, &[clock::timestamp(from)?.into(), interval.into()], |row| {
                Ok(row.required::<TimestampWithTimeZone>(1)?.into_inner())
            })
        })
    }

    /// The highest key outside the default partition; None: there is none.
    fn highest_key(&mut self) -> Result<Option<i128>> {
        if let Some(known) = self.highest {
            return Ok(known);
        }
        let found = highest_key(self.set, self.bounds)?;
        self.highest = Some(found);
        Ok(found)
    }
}

fn highest_key(set: &Set, bounds: &RangeBounds) -> Result<Option<i128>> {
    for place in (0..bounds.positions()).rev() {
        let Some(raw) = bounds.at(place) else { continue };
        if let Some(highest) = stored::highest_key(set, raw.oid)? {
            return Ok(Some(highest));
        }
    }
    Ok(None)
}

fn every(set: &Set, position: i128) -> Option<i64> {
    if set.policy.key.axis() == Axis::Number {
        return None;
    }
    let from = plan::next_boundary(&set.policy, &set.zone, position);
    let until = plan::next_boundary(&set.policy, &set.zone, from);
    i64::try_from(until.saturating_sub(from)).ok()
}

/// Where the lowest period ends.
fn lowest(set: &Set, bounds: &RangeBounds) -> Result<Option<i128>> {
    let first = (0..bounds.positions()).find_map(|place| bounds.at(place));
    first.map(|raw| set.ends(&raw)).transpose()
}

/// The periods that end at or before `until`, lowest first.
fn periods(set: &Set, bounds: &RangeBounds, until: i128) -> Result<Vec<Period>> {
    let last = (0..bounds.positions()).rev().find(|place| bounds.at(*place).is_some());
    let mut found = Vec::new();
    for place in 0..bounds.positions() {
        let Some(raw) = bounds.at(place) else { continue };
        let ends = set.ends(&raw)?;
        if ends > until {
            break;
        }
        found.push((raw, ends, Some(place) == last));
    }
    let oids: Vec<Oid> = found.iter().map(|(raw, ..)| raw.oid).collect();
    let mut names: HashMap<_, _> = table::names(&oids)?.into_iter().collect();
    let period = |(raw, ends, is_last): (RawRange, _, _)| {
        let name = names.remove(&raw.oid)?;
        let (lower, upper) = (text(&raw.lower), text(&raw.upper));
        Some(Period { oid: raw.oid, name, lower, upper, ends, is_last })
    };
    Ok(found.into_iter().filter_map(period).collect())
}

/// An edge as SQL writes it.
pub(super) fn text(edge: &RawEdge) -> String {
    match edge {
        RawEdge::MinValue => "MINVALUE".into(),
        RawEdge::At { literal, .. } => literal.clone(),
        RawEdge::MaxValue => "MAXVALUE".into(),
        RawEdge::Far => "...".into(),
    }
}
