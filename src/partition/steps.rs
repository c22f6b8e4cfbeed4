//! From facts and a plan to steps: exactly what will run, under which lock, and why.

use std::collections::HashSet;

use super::blueprint::Blueprint;
use super::catalog::{self, Parent, Set};
use super::key::{Axis, Width};
use super::plan::{self, Edge, Planned, Policy, Reason};
use super::policy;
use crate::calendar::Name;
use crate::calendar::label::{self, NameKind, NameValue};
use crate::error::{Error, Result};
use crate::pg::bounds::RangeBounds;
use crate::pg::ident::{self, Qualified};
use crate::pg::{Oid, identity, query, transaction};

/// One thing maintenance does; a row of `steward.step`.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The set.
    pub(crate) parent: Oid,
    /// `create`.
    pub(crate) action: &'static str,
    /// The partition it is about.
    pub(crate) partition: Qualified,
    /// Exactly what runs, in one transaction.
    pub(crate) sql: String,
    /// The strongest lock on the parent, and what else is locked.
    pub(crate) lock: String,
    /// Why.
    pub(crate) reason: String,
    /// Why it cannot be done now.
    pub(crate) blocked: Option<Error>,
    /// Where the partition begins on the key's axis; None for the default partition.
    pub(super) begins: Option<i128>,
}

/// What there is to do for one set.
pub(crate) struct Work {
    /// The set.
    pub(crate) parent: Oid,
    /// Whose rights the steps run with.
    pub(crate) owner: Oid,
    /// In the order in which to take them.
    pub(crate) steps: Vec<Step>,
    /// Missed periods that are too many to be made up.
    pub(crate) refused: Option<Error>,
    /// When to look again, in microseconds since 2000-01-01 UTC.
    pub(crate) due_again_at: i64,
    /// The lower edge of the oldest period that is being made up.
    pub(super) make_up_from: Option<i128>,
    /// What the policy remembered of that from an earlier run.
    pub(super) remembered: Option<i128>,
}

impl Work {
    /// Whether there is nothing to do, and nothing left over from an earlier run to note.
    pub(crate) fn is_idle(&self) -> bool {
        self.steps.is_empty() && self.remembered == self.make_up_from && self.refused.is_none()
    }
}

/// Integer keys know no clock: their sets are looked at this often.
const NUMBER_INTERVAL_MICROSECONDS: i64 = 60_000_000;

/// Reads a managed set and plans it at an instant; changes nothing.
pub(crate) fn prepare(parent: Oid, at: i64) -> Result<Work> {
    let parent = catalog::parent(parent)?;
    let not_managed = || Error::NotManaged { relation: parent.display() };
    let (request, remembered) = policy::stored(parent.oid)?.ok_or_else(not_managed)?;
    let mut set = policy::interpret(parent, &request)?;
    set.policy.make_up_from = remembered;
    plan(&set, at)
}

/// Plans a set at an instant; changes nothing.
pub(super) fn plan(set: &Set, at: i64) -> Result<Work> {
    let parent = &set.parent;
    let no_such = || Error::NoSuchRelation { oid: ident::oid_number(parent.oid) };
    let bounds = set.bounds().ok_or_else(no_such)?;
    // The bounds are those of now, when the lock was had; so must be the names that go with them.
    transaction::with_latest_snapshot(|| plan_within(set, &bounds, at))
}

fn plan_within(set: &Set, bounds: &RangeBounds, at: i64) -> Result<Work> {
    let position = position(set, bounds, at)?;
    let existing = set.tail(bounds, plan::look_from(&set.policy, &set.zone, position))?;
    let (planned, too_many_from) = match plan::plan(&set.policy, &set.zone, &existing, position) {
        Ok(planned) => (planned, None),
        // The current period and those ahead must not wait until somebody has sorted this out.
        Err(plan::TooMany { from }) => {
            let policy = Policy { start: Some(position), make_up_from: None, ..set.policy.clone() };
            let planned = plan::plan(&policy, &set.zone, &existing, position).unwrap_or_default();
            (planned, Some(from))
        }
    };
    let missed = planned.iter().filter(|new| new.reason == Reason::Missed);
    let make_up_from = too_many_from.or(missed.map(|new| new.lower.position()).min());
    let due_again_at = match set.policy.key.axis() {
        Axis::Number => at.saturating_add(NUMBER_INTERVAL_MICROSECONDS),
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
        let default_partition = default_partition.map(catalog::name).transpose()?.flatten();
        Drafting::new(set, newest, default_partition)?.steps(&planned, wants_default)?
    };
    Ok(Work {
        parent: set.parent.oid,
        owner: set.parent.owner,
        steps,
        refused: too_many_from.map(|from| too_many(set, from)),
        due_again_at,
        make_up_from,
        remembered: set.policy.make_up_from,
    })
}

fn too_many(set: &Set, from: i128) -> Error {
    Error::TooManyMissed {
        relation: set.parent.display(),
        from: set.policy.key.encode(&set.zone, from).unwrap_or_default(),
        most: plan::MOST_PLANNED,
    }
}

/// Where "now" is on the set's axis. For plain integers: inside the highest partition, the default
/// one aside, that holds a row; of an empty set, where it starts.
pub(super) fn position(set: &Set, bounds: &RangeBounds, at: i64) -> Result<i128> {
    if set.policy.key.axis() != Axis::Number {
        return Ok(set.position_of(at));
    }
    for place in (0..bounds.positions()).rev() {
        let Some(raw) = bounds.at(place) else { continue };
        let Some(name) = catalog::name(raw.oid)? else { continue };
        let holds_rows = identity::as_owner(set.parent.owner, || {
            query::one(format!("SELECT EXISTS (SELECT FROM {name})"), &[], |row| row.required(1))
        })?;
        if holds_rows {
            let range = set.range(&raw)?;
            return Ok(match (range.lower, range.upper) {
                (_, Edge::At { at, .. }) => at - 1,
                (Edge::At { at, .. }, _) => at,
                _ => 0,
            });
        }
    }
    Ok(set.policy.start.unwrap_or(0))
}

/// Turns what is planned into steps.
struct Drafting<'a> {
    set: &'a Set,
    blueprint: Blueprint,
    default_partition: Option<Qualified>,
    default_holds_rows: bool,
    /// Names given in this plan.
    given: HashSet<String>,
}

impl<'a> Drafting<'a> {
    fn new(set: &'a Set, newest: Option<Oid>, default: Option<Qualified>) -> Result<Self> {
        let parent = &set.parent;
        let blueprint = Blueprint::read(parent, newest, set.template)?;
        let default_holds_rows = match &default {
            Some(name) => identity::as_owner(parent.owner, || {
                query::one(format!("SELECT EXISTS (SELECT FROM {name})"), &[], |row| {
                    row.required(1)
                })
            })?,
            None => false,
        };
        Ok(Self {
            set,
            blueprint,
            default_partition: default,
            default_holds_rows,
            given: HashSet::new(),
        })
    }

    fn steps(mut self, planned: &[Planned], wants_default: bool) -> Result<Vec<Step>> {
        let names = self.names(planned)?;
        let mut steps = Vec::with_capacity(planned.len() + 1);
        for (new, name) in planned.iter().zip(names) {
            steps.push(self.create_range(new, name)?);
        }
        if wants_default {
            steps.push(self.create_default()?);
        }
        Ok(steps)
    }

    /// A free name for each, asked of the catalog together.
    fn names(&mut self, planned: &[Planned]) -> Result<Vec<String>> {
        let wanted: Vec<Name> = planned.iter().map(|new| self.wanted_name(new)).collect();
        let first_choices = wanted.iter().map(|name| name.fit(0)).collect();
        let schema = self.set.parent.schema_oid;
        let taken: HashSet<String> = catalog::taken(schema, first_choices)?.into_iter().collect();
        wanted
            .into_iter()
            .map(|name| {
                let first = name.fit(0);
                if taken.contains(&first) || self.given.contains(&first) {
                    return free_name(schema, &mut self.given, &name);
                }
                self.given.insert(first.clone());
                Ok(first)
            })
            .collect()
    }

    fn wanted_name(&self, new: &Planned) -> Name {
        let Policy { key, width, .. } = &self.set.policy;
        let parent = &self.set.parent.name.name;
        let lower = new.lower.position();
        let calendar = key.calendar(&self.set.zone);
        let value = match Set::name_kind(key) {
            NameKind::Time => NameValue::Time(calendar.wall(lower)),
            NameKind::Number => NameValue::Number(lower),
        };
        match (&self.set.name_format, width) {
            (Some(format), _) => format.render(parent, value),
            (None, Width::Time(period)) => {
                Name::new(parent, label::time_suffix(*period, calendar, lower))
            }
            (None, Width::Number(_)) => Name::new(parent, label::number_suffix(lower)),
        }
    }

    fn create_range(&mut self, new: &Planned, name: String) -> Result<Step> {
        let partition = Qualified::new(self.set.parent.name.schema.clone(), name);
        let bound = format!("FOR VALUES FROM ({}) TO ({})", sql(&new.lower), sql(&new.upper));
        let blocked = self.blocked(new, &partition)?;
        let step = self.create(partition, &bound, new.reason.to_string(), blocked)?;
        Ok(Step { begins: Some(new.lower.position()), ..step })
    }

    fn create_default(&mut self) -> Result<Step> {
        let parent = &self.set.parent;
        let name = Name::new(&parent.name.name, "_default".into());
        let name = free_name(parent.schema_oid, &mut self.given, &name)?;
        let partition = Qualified::new(parent.name.schema.clone(), name);
        self.create(partition, "DEFAULT", "a default partition is wanted".into(), None)
    }

    fn create(
        &mut self,
        partition: Qualified,
        bound: &str,
        mut reason: String,
        blocked: Option<Error>,
    ) -> Result<Step> {
        if let Some(remark) = self.blueprint.remark {
            reason.push_str(&format!("; {remark}"));
        }
        if let Some(error) = &blocked {
            reason.push_str(&format!("; blocked: {error}"));
        }
        let (schema, given) = (self.set.parent.schema_oid, &mut self.given);
        let statements =
            self.blueprint.statements(&partition, bound, |name| free_name(schema, given, name))?;
        Ok(Step {
            parent: self.set.parent.oid,
            action: "create",
            lock: format!("{}, ACCESS EXCLUSIVE on the new partition", self.blueprint.locks()),
            sql: statements.join(";\n") + ";",
            partition,
            reason,
            blocked,
            begins: None,
        })
    }

    /// Rows that wait in the default partition for this range: ATTACH would fail on them.
    fn blocked(&self, new: &Planned, partition: &Qualified) -> Result<Option<Error>> {
        let Some(default) = self.default_partition.as_ref().filter(|_| self.default_holds_rows)
        else {
            return Ok(None);
        };
        let Parent { owner, key_type_name, .. } = &self.set.parent;
        let key = self.set.parent.key_sql();
        let side = |operator: &str, edge: &Edge| match edge {
            Edge::At { literal, .. } => {
                format!("{key} {operator} {}::{key_type_name}", ident::literal(literal))
            }
            Edge::MinValue | Edge::MaxValue => "true".to_owned(),
        };
        let rows: i64 = identity::as_owner(*owner, || {
            query::one(
                format!(
                    "SELECT pg_catalog.count(*) FROM {default} WHERE {} AND {}",
                    side(">=", &new.lower),
                    side("<", &new.upper)
                ),
                &[],
                |row| row.required(1),
            )
        })?;
        Ok((rows > 0).then(|| Error::RowsInDefault {
            default_partition: default.to_string(),
            partition: partition.to_string(),
            rows,
        }))
    }
}

/// The first of a name's spellings that neither the schema nor this plan has; given from now on.
fn free_name(schema: Oid, given: &mut HashSet<String>, name: &Name) -> Result<String> {
    let mut number = 0;
    loop {
        let choices: Vec<String> = (number..number + 16).map(|n| name.fit(n)).collect();
        let taken = catalog::taken(schema, choices.clone())?;
        let mut free =
            choices.into_iter().filter(|choice| !taken.contains(choice) && !given.contains(choice));
        if let Some(choice) = free.next() {
            given.insert(choice.clone());
            return Ok(choice);
        }
        number += 16;
    }
}

/// A bound's edge as SQL.
fn sql(edge: &Edge) -> String {
    match edge {
        Edge::MinValue => "MINVALUE".into(),
        Edge::At { literal, .. } => ident::literal(literal),
        Edge::MaxValue => "MAXVALUE".into(),
    }
}
