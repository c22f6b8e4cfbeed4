//! Which partitions a range set lacks. Decides only: what exists and an instant in, partitions out.

use std::fmt;

use crate::calendar::Zone;
use crate::key::Width;
use crate::key::{FOREVER, Key};

/// One end of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// MINVALUE.
    MinValue,
    /// A value.
    At {
        /// Its position on the axis, rounded down ([`Key::decode`]).
        at: i128,
        /// Its exact text, unquoted: what a neighbour must begin or end with, even where it is finer
        /// than the axis.
        literal: String,
    },
    /// MAXVALUE.
    MaxValue,
}

impl Edge {
    /// The position on the axis, `±FOREVER` for MINVALUE and MAXVALUE.
    #[must_use]
    pub(crate) fn position(&self) -> i128 {
        match self {
            Self::MinValue => -FOREVER,
            Self::At { at, .. } => *at,
            Self::MaxValue => FOREVER,
        }
    }
}

/// The range of a partition that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// Inclusive.
    pub(crate) lower: Edge,
    /// Exclusive.
    pub(crate) upper: Edge,
}

/// What a set's owner asked for. Positions are on the key's axis.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The partition key.
    pub(crate) key: Key,
    /// How wide a new partition is.
    pub(crate) width: Width,
    /// Partitions beyond the current one.
    pub(crate) premake: u32,
    /// Nothing is planned before the period that holds this.
    pub(crate) start: Option<i128>,
    /// Retention's: missed periods that end at or before it are not made up.
    pub(crate) horizon: Option<i128>,
    /// Holes from here on are filled although they lie behind the current period. Without it they were
    /// somebody's choice. Meant for what is known to be unfinished: the lower edge of the oldest
    /// [`Reason::Missed`] of a run that has not got through all of them (the current partition goes first, and
    /// would make a hole of the rest), or `start` when a set that has partitions is first put under management.
    pub(crate) make_up_from: Option<i128>,
}

/// Why a partition is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// It belongs to the current period.
    Current,
    /// It lies so many periods beyond the current one.
    Ahead(u32),
    /// It fills a hole ahead, between partitions that exist.
    Hole,
    /// It lies behind the current period and should have been made before.
    Missed,
}

/// A short sentence for `steward.step.reason`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("the current period has no partition"),
            Self::Ahead(1) => f.write_str("1 period ahead of the current one"),
            Self::Ahead(n) => write!(f, "{n} periods ahead of the current one"),
            Self::Hole => f.write_str("fills a hole between existing partitions"),
            Self::Missed => f.write_str("makes up for a missed period"),
        }
    }
}

/// A partition to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Inclusive; always [`Edge::At`].
    pub(crate) lower: Edge,
    /// Exclusive; [`Edge::At`] or [`Edge::MaxValue`].
    pub(crate) upper: Edge,
    /// Why.
    pub(crate) reason: Reason,
}

/// More partitions are lacking than anybody can mean: a wrong interval or start, or a set whose last
/// partition is from another age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Where they would begin.
    pub(crate) from: i128,
}

/// Most partitions in one plan. Ten thousand ahead ([`Policy::premake`]) are allowed, and as many missed.
pub(crate) const MOST_PLANNED: usize = 20_000;

/// What is known of where a set of plain integers stands, on the key's axis.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// In, or above, the range with the highest key stored outside the default partition.
    pub(crate) stored: Option<i128>,
    /// The highest value that a sequence of the key's has given out.
    pub(crate) given_out: Option<i128>,
    /// Where the lowest partition begins.
    pub(crate) begins: Option<i128>,
}

/// Where "now" is for plain integers: at the greater of what is stored and what was given out. Of an empty
/// set not before it starts: where the policy says so; else at 0, or, if that lies below all that there is,
/// where the lowest partition begins.
#[must_use]
pub(crate) fn standing(policy: &Policy, known: Standing) -> i128 {
    let (first, last) = policy.key.limits();
    let given_out = known.given_out.map(|at| at.clamp(first, last));
    match known.stored.max(given_out) {
        Some(at) if known.stored.is_some() => at,
        Some(at) => policy.start.map_or(at, |start| at.max(start)),
        None => policy.start.unwrap_or_else(|| known.begins.unwrap_or(0).max(0)),
    }
}

/// The position from which [`plan`] has to know every range: the start of the current period, or of the one
/// that holds `make_up_from` if that is earlier.
#[must_use]
pub(crate) fn look_from(policy: &Policy, zone: &dyn Zone, position: i128) -> i128 {
    let position = policy.make_up_from.map_or(position, |from| from.min(position));
    policy.width.floor(policy.key.calendar(zone), position)
}

/// The next boundary after `position`: when a time set has to be looked at again. On the axis, so for
/// `timestamp` and `date` keys a wall time.
#[must_use]
pub(crate) fn next_boundary(policy: &Policy, zone: &dyn Zone, position: i128) -> i128 {
    policy.width.next(policy.key.calendar(zone), position)
}

/// The partitions that a set lacks at `position`, in the order in which to create them: the one that holds
/// `position`, the rest of the current period, those ahead in order, and those missed from the newest back.
///
/// - `zone`: the set's zone, whatever the key.
/// - `existing`: ranges of the set, in order and without overlap; not the default partition. At least every
///   range whose upper edge is at or after [`look_from`], and in any case the last one: an empty slice means an
///   empty set. Handing over all of them is right too.
/// - `position`: now, on the key's axis. For plain integers [`standing`].
///
/// Takes time linear in what exists and what is planned.
///
/// # Errors
/// [`TooMany`]: more than [`MOST_PLANNED`].
pub(crate) fn plan(
    policy: &Policy,
    zone: &dyn Zone,
    existing: &[Range],
    position: i128,
) -> Result<Vec<Planned>, TooMany> {
    let zone = policy.key.calendar(zone);
    let walk = Walk::new(policy, zone, position);
    let from = walk.begin(existing);
    let mut planned = walk.fill(existing, from);
    if planned.len() > MOST_PLANNED {
        return Err(TooMany { from });
    }
    // A neighbour can cut the first one so short that it ends before the horizon.
    planned
        .retain(|new| new.reason != Reason::Missed || Some(new.upper.position()) > policy.horizon);
    planned.sort_by_key(|new| walk.turn(new));
    Ok(planned)
}

/// The period that holds a key for which there is no partition, cut at the partitions on both sides.
///
/// - `position`: the key's ([`Key::decode`]).
/// - `below`: where the partition before the key ends, `above`: where the next one begins; exactly, not
///   by their rounded positions. None where there is none.
///
/// None: the key is an infinity, or beyond what the key's type can say; no period holds it.
#[must_use]
pub(crate) fn period_at(
    policy: &Policy,
    zone: &dyn Zone,
    position: i128,
    below: Option<Edge>,
    above: Option<Edge>,
) -> Option<Range> {
    let zone = policy.key.calendar(zone);
    let (first, last) = policy.key.limits();
    if !(first..=last).contains(&position) {
        return None;
    }
    let edge = |at| match policy.key.encode(zone, at) {
        Some(literal) => Edge::At { at, literal },
        None => Edge::MaxValue,
    };
    let floor = policy.width.floor(zone, position).max(first);
    let next = policy.width.next(zone, position);
    Some(Range {
        lower: below.filter(|edge| edge.position() >= floor).unwrap_or_else(|| edge(floor)),
        upper: above.filter(|edge| edge.position() <= next).unwrap_or_else(|| edge(next)),
    })
}

/// One pass over the axis.
struct Walk<'a> {
    policy: &'a Policy,
    zone: &'a dyn Zone,
    position: i128,
    /// The start of the current period.
    current: i128,
    /// The ends of the current period and of each one ahead.
    ends: Vec<i128>,
}

impl<'a> Walk<'a> {
    fn new(policy: &'a Policy, zone: &'a dyn Zone, position: i128) -> Self {
        let last = policy.key.limits().1;
        let next = |from: &i128| (*from <= last).then(|| policy.width.next(zone, *from));
        let end = policy.width.next(zone, position);
        let ends = std::iter::successors(Some(end), next)
            .take(usize::try_from(policy.premake).unwrap_or(usize::MAX).saturating_add(1))
            .collect();
        Self { policy, zone, position, current: policy.width.floor(zone, position), ends }
    }

    /// Where filling begins.
    fn begin(&self, existing: &[Range]) -> i128 {
        let floor = |at: i128| self.policy.width.floor(self.zone, at);
        let start = self.policy.start.map(floor);
        // What was missed is what lies between the last partition and now. One that ends at -infinity
        // is no place to count from.
        let last = existing.last().map(|last| last.upper.position());
        let mut begin = match last {
            None => start.unwrap_or(self.current),
            Some(last) if last > -FOREVER => self.current.min(last),
            Some(_) => self.current,
        };
        if let Some(from) = self.policy.make_up_from {
            begin = begin.min(floor(from));
        }
        if let Some(start) = start {
            begin = begin.max(start);
        }
        if let Some(horizon) = self.policy.horizon {
            begin = begin.max(floor(horizon).min(self.current));
        }
        begin.max(self.policy.key.limits().0)
    }

    /// What is uncovered from `begin` to the end of the last period ahead, cut at the boundaries.
    fn fill(&self, existing: &[Range], begin: i128) -> Vec<Planned> {
        let until = self.ends.last().copied().unwrap_or(self.current);
        let mut planned = Vec::new();
        let mut covered = self.edge(begin);
        for range in existing {
            if range.upper.position() < covered.position() {
                continue;
            }
            self.cut(&mut planned, covered, until, Some(&range.lower));
            covered = range.upper.clone();
        }
        self.cut(&mut planned, covered, until, None);
        planned
    }

    /// Cuts what lies between `lower` and the next partition (`neighbour`), or else `until`.
    fn cut(&self, planned: &mut Vec<Planned>, lower: Edge, until: i128, neighbour: Option<&Edge>) {
        let stop = neighbour.map_or(FOREVER, Edge::position);
        let mut lower = lower;
        while lower.position() < until.min(stop)
            && lower.position() <= self.policy.key.limits().1
            && planned.len() <= MOST_PLANNED
        {
            let from = lower.position();
            let boundary = self.policy.width.next(self.zone, from);
            let upper = match neighbour {
                Some(neighbour) if boundary >= stop => neighbour.clone(),
                _ => self.edge(boundary),
            };
            let reason = self.reason(from, upper.position(), neighbour.is_some());
            planned.push(Planned { lower, upper: upper.clone(), reason });
            lower = upper;
        }
    }

    fn edge(&self, at: i128) -> Edge {
        match self.policy.key.encode(self.zone, at) {
            Some(literal) => Edge::At { at, literal },
            None => Edge::MaxValue,
        }
    }

    fn reason(&self, lower: i128, upper: i128, in_hole: bool) -> Reason {
        if upper <= self.current {
            return Reason::Missed;
        }
        match self.ends.partition_point(|end| *end <= lower) {
            0 => Reason::Current,
            _ if in_hole => Reason::Hole,
            n => Reason::Ahead(u32::try_from(n).unwrap_or(u32::MAX)),
        }
    }

    /// A sort key: the order in which to create.
    fn turn(&self, new: &Planned) -> (u8, i128) {
        let (lower, upper) = (new.lower.position(), new.upper.position());
        match new.reason {
            Reason::Current if lower <= self.position && self.position < upper => (0, 0),
            Reason::Current => (1, lower),
            Reason::Ahead(_) | Reason::Hole => (2, lower),
            Reason::Missed => (3, -lower),
        }
    }
}

#[cfg(test)]
mod tests;
