//! Steps: exactly what will run, under which lock, and why. What every kind of set shares.

use std::collections::HashSet;

use super::blueprint::{Blueprint, Parts, Subpartitions};
use super::range::{Past, Seen};
use super::table::{self, Table};
use crate::calendar::Name;
use crate::error::{Error, Result};
use crate::jobs;
use crate::pg::ident::Qualified;
use crate::pg::{Oid, encoding, identity};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Create,
    Detach,
    Finalize,
    Archive,
    Drop,
    Move,
}

impl Action {
    /// As `steward.step` has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Detach => "detach",
            Self::Finalize => "finalize",
            Self::Archive => "archive",
            Self::Drop => "drop",
            Self::Move => "move",
        }
    }
}

/// A foreign key that points to a set.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    /// The referencing table.
    pub(crate) table: Oid,
    pub(crate) name: Qualified,
    /// What inherits from it is not meant.
    pub(crate) only: bool,
    /// The key's columns there and in the set, and the operator that compares them.
    pub(crate) columns: Vec<(String, String, Qualified)>,
}

/// One thing maintenance does; a row of `steward.step`.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The set.
    pub(crate) parent: Oid,
    pub(crate) action: Action,
    /// The partition it is about.
    pub(crate) partition: Qualified,
    /// Exactly what runs with the rights of the set's owner, in one transaction.
    pub(crate) sql: String,
    /// The strongest lock on the parent, and what else is locked.
    pub(crate) lock: String,
    /// Why.
    pub(crate) reason: String,
    /// Why it cannot be done now.
    pub(crate) blocked: Option<Error>,
    /// Where a partition to be made begins on the key's axis; None for the default partition.
    pub(crate) begins: Option<i128>,
    /// The relation that it is about, where that exists already.
    pub(crate) subject: Option<Oid>,
    /// The statement has to run by itself, outside of any transaction block: a CONCURRENTLY one.
    pub(crate) alone: bool,
    /// It is about a period that has yet to leave the set.
    pub(crate) leaving: bool,
    /// Foreign keys that point to the set, into which it looks before.
    pub(crate) references: Vec<Reference>,
    /// How many bytes it copies, under ACCESS EXCLUSIVE on the partition.
    pub(crate) copies: Option<i64>,
    /// What runs before that in the same transaction, with the rights of others: whose, and what.
    pub(crate) as_others: Vec<(Oid, String)>,
    /// What runs after it in the same transaction, where an archive function has said true.
    pub(crate) then: String,
}

impl Step {
    /// All that runs, whoever's rights it runs with.
    pub(crate) fn whole_sql(&self) -> String {
        let others = self.as_others.iter().map(|(_, sql)| sql.as_str());
        let own = [self.sql.as_str(), self.then.as_str()].into_iter().filter(|sql| !sql.is_empty());
        others.chain(own).collect::<Vec<_>>().join("\n")
    }

    /// It cannot be taken now, and says why.
    pub(crate) fn block(&mut self, error: Error) {
        self.reason.push_str(&format!("; blocked: {error}"));
        self.blocked = Some(error);
        self.copies = None;
    }

    /// One that is about nothing which exists.
    pub(crate) fn new(parent: Oid, action: Action, partition: Qualified, sql: String) -> Self {
        Self {
            parent,
            action,
            partition,
            sql,
            lock: String::new(),
            reason: String::new(),
            blocked: None,
            begins: None,
            subject: None,
            alone: false,
            leaving: false,
            references: Vec::new(),
            copies: None,
            as_others: Vec::new(),
            then: String::new(),
        }
    }
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
    pub(crate) make_up_from: Option<i128>,
    /// What the policy remembered of that from an earlier run.
    pub(crate) remembered: Option<i128>,
    /// What the set's retention and tiering are about; None: it has neither.
    pub(crate) past: Option<Past>,
    pub(super) has_clock: bool,
    /// Of keys without a clock: where the set stands, for the views.
    pub(super) seen: Option<Seen>,
}

impl Work {
    /// Whether a clock says when it is due again; else it is looked at every so often.
    pub(crate) fn has_clock(&self) -> bool {
        self.has_clock
    }

    /// Whether there is nothing to do, and nothing left over from an earlier run to note.
    pub(crate) fn is_idle(&self) -> bool {
        self.steps.is_empty() && self.remembered == self.make_up_from && self.refused.is_none()
    }

    /// Whether some of it cannot be done in a procedure's transaction.
    pub(crate) fn needs_worker(&self) -> bool {
        self.steps.iter().any(|step| step.alone && step.blocked.is_none())
    }
}

/// The lower of two positions that may not be there.
pub(crate) fn lowest(one: Option<i128>, other: Option<i128>) -> Option<i128> {
    one.into_iter().chain(other).min()
}

/// Integer keys and hashes know no clock: their sets are looked at this often, unless their owner says how often.
const NO_CLOCK_MICROSECONDS: i64 = 60_000_000;

/// When a set without a clock is looked at again, after a look at that instant: as its job's schedule has it.
pub(super) fn look_again_at(parent: Oid, at: i64) -> Result<i64> {
    let every = identity::as_steward(|| jobs::looks_every(parent))?;
    Ok(at.saturating_add(every.unwrap_or(NO_CLOCK_MICROSECONDS)))
}

/// Turns partitions that are wanted into steps.
pub(super) struct StepBuilder<'a> {
    table: &'a Table,
    blueprint: Blueprint,
    /// Names given in this plan.
    given: HashSet<String>,
    /// Names that earlier steps of this plan set free.
    freed: HashSet<String>,
}

/// A partition that is wanted, with a name that is free.
pub(super) struct Named {
    /// The name before it was made to fit.
    wanted: Name,
    pub(super) partition: Qualified,
}

impl<'a> StepBuilder<'a> {
    /// `model`: the partition to take after where there is no template.
    pub(super) fn new(
        table: &'a Table,
        model: Option<Oid>,
        template: Option<Oid>,
        subpartitions: Option<Subpartitions>,
    ) -> Result<Self> {
        let blueprint = Blueprint::read(table, model, template, subpartitions)?;
        Ok(Self { table, blueprint, given: HashSet::new(), freed: HashSet::new() })
    }

    /// For a plan whose earlier steps drop partitions of these names.
    pub(super) fn after_dropping(self, names: impl Iterator<Item = String>) -> Self {
        Self { freed: names.collect(), ..self }
    }

    /// A free name for each, asked of the catalog together.
    pub(super) fn names(&mut self, wanted: Vec<Name>) -> Result<Vec<Named>> {
        let first_choices = wanted.iter().map(|name| name.fit(0, encoding::bytes_of)).collect();
        let schema = self.table.schema_oid;
        let mut taken: HashSet<String> = table::taken(schema, first_choices)?.into_iter().collect();
        taken.retain(|name| !self.freed.contains(name));
        wanted
            .into_iter()
            .map(|wanted| {
                let first = wanted.fit(0, encoding::bytes_of);
                let name = if taken.contains(&first) || self.given.contains(&first) {
                    free_name(schema, &mut self.given, &wanted)?
                } else {
                    self.given.insert(first.clone());
                    first
                };
                let partition = Qualified::new(self.table.name.schema.clone(), name);
                Ok(Named { wanted, partition })
            })
            .collect()
    }

    /// The step that makes and attaches a partition; `bound` is what follows its name in ATTACH
    /// PARTITION.
    pub(super) fn create(
        &mut self,
        named: Named,
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
        let (schema, given) = (self.table.schema_oid, &mut self.given);
        let Named { wanted, partition } = named;
        let statements = self
            .blueprint
            .statements(&partition, &wanted, bound, |name| free_name(schema, given, name))?;
        let sql = statements.join(";\n") + ";";
        let lock = format!("{}, ACCESS EXCLUSIVE on the new partition", self.blueprint.locks());
        Ok(Step {
            lock,
            reason,
            blocked,
            ..Step::new(self.table.oid, Action::Create, partition, sql)
        })
    }
}

impl StepBuilder<'_> {
    /// What makes and attaches a partition that gets rows in between, and its name.
    pub(super) fn create_to_fill(
        &mut self,
        named: Named,
        bound: &str,
    ) -> Result<(Qualified, Parts)> {
        let (schema, given) = (self.table.schema_oid, &mut self.given);
        let Named { wanted, partition } = named;
        let parts = self
            .blueprint
            .parts_to_fill(&partition, &wanted, bound, |name| free_name(schema, given, name))?;
        Ok((partition, parts))
    }
}

/// The first of a name's spellings that neither the schema nor this plan has; given from now on.
fn free_name(schema: Oid, given: &mut HashSet<String>, name: &Name) -> Result<String> {
    let mut number = 0;
    loop {
        let choices: Vec<String> =
            (number..number + 16).map(|n| name.fit(n, encoding::bytes_of)).collect();
        let taken = table::taken(schema, choices.clone())?;
        let mut free =
            choices.into_iter().filter(|choice| !taken.contains(choice) && !given.contains(choice));
        if let Some(choice) = free.next() {
            given.insert(choice.clone());
            return Ok(choice);
        }
        number += 16;
    }
}
