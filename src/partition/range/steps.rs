//! From facts and a plan to steps.

use super::catalog::{self, Set};
use super::horizon;
use super::plan::{self, Edge, Planned, Policy, Reason, Standing};
use super::policy::{self, Seen};
use super::stored;
use crate::calendar::Name;
use crate::calendar::label::{self, NameKind, NameValue};
use crate::error::{Error, Result};
use crate::key::{Axis, FOREVER};
use crate::partition::steps::{Named, Step, StepBuilder, Work, look_again_at};
use crate::partition::table::{self, Table};
use crate::pg::bounds::RangeBounds;
use crate::pg::ident;
use crate::pg::{Oid, transaction};

/// Reads a managed set and plans it at an instant; changes nothing.
pub(in crate::partition) fn prepare(table: Table, at: i64) -> Result<Work> {
    let parent = catalog::parent(table)?;
    let not_managed = || parent.table.not_managed();
    let (request, remembered) = policy::stored(parent.table.oid)?.ok_or_else(not_managed)?;
    let mut set = policy::interpret(parent, &request)?;
    set.policy.make_up_from = remembered;
    plan(&set, at)
}

/// Plans a set at an instant; changes nothing.
pub(super) fn plan(set: &Set, at: i64) -> Result<Work> {
    let parent = &set.parent;
    let no_such = || Error::NoSuchRelation { oid: ident::oid_number(parent.table.oid) };
    let bounds = set.bounds()?.ok_or_else(no_such)?;
    // The bounds are those of now, when the lock was had; so must be the names that go with them.
    transaction::with_latest_snapshot(|| plan_within(set, &bounds, at))
}

fn plan_within(set: &Set, bounds: &RangeBounds, at: i64) -> Result<Work> {
    let position = position(set, bounds, at)?;
    let past = horizon::past(set, bounds, position, at)?;
    let horizon = past.as_ref().and_then(|past| past.horizon);
    let policy = Policy { horizon, ..set.policy.clone() };
    let existing = set.tail(bounds, plan::look_from(&policy, &set.zone, position))?;
    let (planned, too_many_from) = match plan::plan(&policy, &set.zone, &existing, position) {
        Ok(planned) => (planned, None),
        // The current period and those ahead must not wait until somebody has sorted this out.
        Err(plan::TooMany { from }) => {
            let policy = Policy { start: Some(position), make_up_from: None, ..policy };
            let planned = plan::plan(&policy, &set.zone, &existing, position).unwrap_or_default();
            (planned, Some(from))
        }
    };
    let missed = planned.iter().filter(|new| new.reason == Reason::Missed);
    let make_up_from = too_many_from.or(missed.map(|new| new.lower.position()).min());
    let due_again_at = match set.policy.key.axis() {
        Axis::Number => look_again_at(set.parent.table.oid, at)?,
        Axis::Instant | Axis::Wall => {
            set.instant_of(plan::next_boundary(&set.policy, &set.zone, position))
        }
    };
    let default_partition = bounds.default_partition();
    let wants_default = set.wants_default && default_partition.is_none();
    let steps = if planned.is_empty() && !wants_default {
        Vec::new()
    } else {
        let newest =
            (0..bounds.positions()).rev().find_map(|i| bounds.at(i)).map(|range| range.oid);
        RangeDrafting::new(set, newest, default_partition)?.steps(&planned, wants_default)?
    };
    Ok(Work {
        parent: set.parent.table.oid,
        owner: set.parent.table.owner,
        steps,
        refused: too_many_from.map(|from| too_many(set, from)),
        due_again_at,
        make_up_from,
        remembered: set.policy.make_up_from,
        has_clock: set.policy.key.axis() != Axis::Number,
        seen: (set.policy.key.axis() == Axis::Number).then(|| Seen {
            position: Some(position),
            horizon: horizon::last_expired(past.as_ref()),
        }),
        past,
    })
}

fn too_many(set: &Set, from: i128) -> Error {
    Error::TooManyMissed {
        relation: set.parent.display(),
        from: set.policy.key.encode(&set.zone, from).unwrap_or_default(),
        most: plan::MOST_PLANNED,
    }
}

/// Where "now" is on the set's axis. For plain integers [`plan::standing`] says.
pub(super) fn position(set: &Set, bounds: &RangeBounds, at: i64) -> Result<i128> {
    if set.policy.key.axis() != Axis::Number {
        return Ok(set.position_of(at));
    }
    let begins = match (0..bounds.positions()).find_map(|place| bounds.at(place)) {
        Some(raw) => match set.edge(&raw.lower)? {
            Edge::At { at, .. } if at < FOREVER => Some(at),
            _ => None,
        },
        None => None,
    };
    let (stored, given_out) = (last_occupied(set, bounds)?, stored::last_given_out(set)?);
    Ok(plan::standing(&set.policy, Standing { stored, given_out, begins }))
}

/// The last key of the highest partition, the default one aside, that holds a row.
fn last_occupied(set: &Set, bounds: &RangeBounds) -> Result<Option<i128>> {
    for place in (0..bounds.positions()).rev() {
        let Some(raw) = bounds.at(place) else { continue };
        if stored::holds_rows(set, raw.oid)? {
            let range = set.range(&raw)?;
            return Ok(Some(match (range.lower, range.upper) {
                (_, Edge::At { at, .. }) => at - 1,
                (Edge::At { at, .. }, _) => at,
                _ => 0,
            }));
        }
    }
    Ok(None)
}

/// Turns what is planned into steps.
struct RangeDrafting<'a> {
    set: &'a Set,
    drafting: StepBuilder<'a>,
    default_partition: Option<Oid>,
}

impl<'a> RangeDrafting<'a> {
    fn new(set: &'a Set, newest: Option<Oid>, default_partition: Option<Oid>) -> Result<Self> {
        let subpartitions = set.subpartitions()?;
        let drafting = StepBuilder::new(&set.parent.table, newest, set.template, subpartitions)?;
        Ok(Self { set, drafting, default_partition })
    }

    fn steps(mut self, planned: &[Planned], wants_default: bool) -> Result<Vec<Step>> {
        let wanted =
            planned.iter().map(|new| wanted_name(self.set, new.lower.position())).collect();
        let names = self.drafting.names(wanted)?;
        let waiting = match self.default_partition {
            Some(default) => stored::waiting(self.set, default, planned)?,
            None => vec![0; planned.len()],
        };
        let mut steps = Vec::with_capacity(planned.len() + 1);
        for ((new, named), rows) in planned.iter().zip(names).zip(waiting) {
            steps.push(self.create_range(new, named, rows)?);
        }
        if wants_default {
            steps.push(self.create_default()?);
        }
        Ok(steps)
    }

    /// `waiting`: rows in the default partition for this range, on which ATTACH would fail.
    fn create_range(&mut self, new: &Planned, named: Named, waiting: i64) -> Result<Step> {
        let bound = bound(&new.lower, &new.upper);
        let blocked = match self.default_partition.filter(|_| waiting > 0) {
            Some(default) => {
                let default = table::name(default)?.map(|name| name.to_string());
                Some(Error::RowsInDefault {
                    parent: self.set.parent.display(),
                    default_partition: default.unwrap_or_default(),
                    partition: named.partition.to_string(),
                    rows: waiting,
                })
            }
            None => None,
        };
        let reason = new.reason.to_string();
        let step = self.drafting.create(named, &bound, reason, blocked)?;
        Ok(Step { begins: Some(new.lower.position()), ..step })
    }

    fn create_default(&mut self) -> Result<Step> {
        let name = Name::new(&self.set.parent.table.name.name, "_default".into());
        let names = self.drafting.names(vec![name])?;
        let missing = || Error::UnexpectedNull { column: 1 };
        let named = names.into_iter().next().ok_or_else(missing)?;
        self.drafting.create(named, "DEFAULT", "a default partition is wanted".into(), None)
    }
}

/// What the partition that begins there is to be called.
pub(super) fn wanted_name(set: &Set, lower: i128) -> Name {
    let Policy { key, width, .. } = &set.policy;
    let parent = &set.parent.table.name.name;
    let calendar = key.calendar(&set.zone);
    let value = match Set::name_kind(key) {
        NameKind::Time => NameValue::Time(calendar.wall(lower)),
        NameKind::Number | NameKind::Remainder => NameValue::Number(lower),
    };
    match (&set.name_format, width.period()) {
        (Some(format), _) => format.render(parent, value),
        (None, Some(period)) => Name::new(parent, label::time_suffix(period, calendar, lower)),
        (None, None) => Name::new(parent, label::number_suffix(lower)),
    }
}

/// A range as ATTACH PARTITION wants it.
pub(super) fn bound(lower: &Edge, upper: &Edge) -> String {
    format!("FOR VALUES FROM ({}) TO ({})", sql(lower), sql(upper))
}

/// A bound's edge as SQL.
fn sql(edge: &Edge) -> String {
    match edge {
        Edge::MinValue => "MINVALUE".into(),
        Edge::At { literal, .. } => ident::literal(literal),
        Edge::MaxValue => "MAXVALUE".into(),
    }
}
