//! From facts and a plan to steps.

use super::plan::{self, Class};
use super::policy::{self, Set};
use crate::calendar::Name;
use crate::calendar::label::{self, NameValue};
use crate::error::{Error, Result};
use crate::partition::steps::{Action, Step, StepBuilder, Work, look_again_at};
use crate::partition::table::{self, Strategy, Table};
use crate::pg::bounds::{self, RawHash};
use crate::pg::{Oid, heap, ident, identity, transaction};

/// Reads a managed set and plans it at an instant; changes nothing.
pub(in crate::partition) fn prepare(table: Table, at: i64) -> Result<Work> {
    table.must_be(Strategy::Hash)?;
    let request = policy::stored(table.oid)?.ok_or_else(|| table.not_managed())?;
    let set = policy::interpret(table, &request)?;
    plan(&set, at)
}

/// Plans a set at an instant; changes nothing.
pub(super) fn plan(set: &Set, at: i64) -> Result<Work> {
    let existing = partitions(&set.table)?;
    // Names as of now, when the lock was had.
    transaction::with_latest_snapshot(|| {
        let classes: Vec<Class> = existing.iter().map(class).collect();
        let partitions = plan::completed_with(plan::greatest_modulus(&classes), set.partitions);
        check_modulus(&set.table, partitions)?;
        let missing = plan::missing(&classes, partitions);
        let model = existing.last().map(|last| last.oid);
        work(set, at, create(set, model, Vec::new(), &missing)?)
    })
}

/// Plans an empty set anew: what there is goes, and so many as are asked for come.
pub(super) fn plan_anew(set: &Set, at: i64) -> Result<Work> {
    let mut steps = Vec::new();
    let existing = partitions(&set.table)?;
    let model = existing.last().map(|last| last.oid);
    for old in existing {
        let missing = || Error::NoSuchRelation { oid: ident::oid_number(old.oid) };
        let partition = table::name(old.oid)?.ok_or_else(missing)?;
        let name = &set.table.name;
        // Detached first: a foreign key that points to the set depends on each partition.
        let sql =
            format!("ALTER TABLE {name} DETACH PARTITION {partition};\nDROP TABLE {partition};");
        steps.push(Step {
            lock: format!(
                "ACCESS EXCLUSIVE on {name}, ACCESS EXCLUSIVE on {partition} and on tables that \
                 foreign keys join to it"
            ),
            reason: format!("the set gets {} partitions; it is empty", set.partitions),
            ..Step::new(set.table.oid, Action::Drop, partition, sql)
        });
    }
    let wanted = plan::missing(&[], set.partitions);
    let names = steps.iter().map(|step| step.partition.name.clone()).collect();
    steps.extend(create(set, model, names, &wanted)?);
    work(set, at, steps)
}

/// A set of more partitions than anybody can mean is not completed.
pub(super) fn check_modulus(table: &Table, modulus: u32) -> Result<()> {
    match modulus {
        0..=plan::MOST_PARTITIONS => Ok(()),
        _ => Err(Error::TooManyRemainders {
            relation: table.display(),
            modulus,
            most: plan::MOST_PARTITIONS,
        }),
    }
}

/// The partitions that a set has.
pub(super) fn partitions(table: &Table) -> Result<Vec<RawHash>> {
    let no_such = || Error::NoSuchRelation { oid: ident::oid_number(table.oid) };
    identity::as_owner(table.owner, |scope| bounds::hash_partitions(scope, table.oid))?
        .ok_or_else(no_such)
}

pub(super) fn class(raw: &RawHash) -> Class {
    Class { modulus: raw.modulus, remainder: raw.remainder }
}

/// Locks everybody else out of a set, as the drops that follow would, and makes sure that nothing is in
/// it: every table below is read by itself, past row security and with those that are being detached,
/// which a query on the set leaves out.
pub(super) fn make_sure_it_is_empty(table: &Table) -> Result<()> {
    if transaction::sees_the_past() {
        return Err(Error::OldSnapshot { relation: table.display() });
    }
    identity::as_owner(table.owner, |scope| {
        scope.run(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", table.name))
    })?;
    let existing = partitions(table)?;
    let holds_rows = || Error::SetHoldsRows {
        relation: table.display(),
        partitions: u32::try_from(existing.len()).unwrap_or(u32::MAX),
    };
    let oids: Vec<Oid> = existing.iter().map(|raw| raw.oid).collect();
    let leaves = table::leaves(oids)?;
    // What is no plain table, a foreign one, is not taken for empty.
    if leaves.iter().any(|leaf| leaf.is_foreign) {
        return Err(holds_rows());
    }
    let full = identity::as_owner(table.owner, |scope| {
        leaves.iter().try_fold(false, |full, leaf| Ok(full || heap::holds_rows(scope, leaf.oid)?))
    })?;
    if full { Err(holds_rows()) } else { Ok(()) }
}

fn work(set: &Set, at: i64, steps: Vec<Step>) -> Result<Work> {
    Ok(Work {
        parent: set.table.oid,
        owner: set.table.owner,
        steps,
        refused: None,
        due_again_at: look_again_at(set.table.oid, at)?,
        make_up_from: None,
        remembered: None,
        past: None,
        has_clock: false,
        seen: None,
    })
}

fn create(
    set: &Set,
    model: Option<Oid>,
    dropped: Vec<String>,
    missing: &[Class],
) -> Result<Vec<Step>> {
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let mut drafting = StepBuilder::new(&set.table, model, set.template, None)?
        .after_dropping(dropped.into_iter());
    let names = drafting.names(missing.iter().map(|class| name(set, *class)).collect())?;
    let step = |(class, named): (&Class, _)| {
        let bound =
            format!("FOR VALUES WITH (modulus {}, remainder {})", class.modulus, class.remainder);
        let reason = format!("keys with {class} have no partition: their inserts fail until then");
        drafting.create(named, &bound, reason, None)
    };
    missing.iter().zip(names).map(step).collect()
}

fn name(set: &Set, class: Class) -> Name {
    let parent = &set.table.name.name;
    match &set.name_format {
        Some(format) => format.render(parent, NameValue::Remainder(class.remainder)),
        None => Name::new(parent, label::remainder_suffix(class.remainder)),
    }
}
