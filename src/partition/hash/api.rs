//! The SQL face of hash sets: `manage_hash`, `alter_hash`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::plan;
use super::policy::{self, Request, Set};
use super::steps;
use crate::error::{Error, Result};
use crate::partition::access::{in_time, needed, owned_table};
use crate::partition::api::rows;
use crate::partition::policy::put_in_force;
use crate::partition::table::Strategy;
use crate::partition::template::chosen_template;
use crate::pg::guc::Pinned;
use crate::pg::{Oid, Text, called, clock, transaction};

#[pg_extern(sql = false)]
fn manage_hash(
    parent: Option<Oid>,
    partitions: Option<i32>,
    name_format: Option<Text>,
    template: Option<Oid>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(ordinal, i32),
            name!(parent, Oid),
            name!(action, &'static str),
            name!(partition, Text),
            name!(sql, Text),
            name!(lock, Text),
            name!(reason, Text),
        ),
    >,
    ErrorReport,
> {
    called(|| {
        let name_format = name_format.as_deref();
        let _pinned = Pinned::begin();
        let table = owned_table(needed(parent, "parent")?, "manage_hash()")?;
        table.must_be(Strategy::Hash)?;
        if stored(table.oid)?.is_some() {
            return Err(
                Error::AlreadyManaged { relation: table.display(), call: "alter_hash" }.into()
            );
        }
        let request = Request {
            partitions: needed(partitions, "partitions")?,
            name_format: name_format.map(str::to_owned),
            template: chosen_template(&table, template)?,
        };
        let set = policy::interpret(table, &request)?;
        let fits = |modulus: &u32| set.partitions.is_multiple_of(*modulus);
        if let Some(modulus) = modulus_in_use(&set)?.filter(|modulus| !fits(modulus)) {
            steps::check_modulus(&set.table, modulus)?;
            return Err(Error::InvalidArgument {
            relation: set.table.display(),
            argument: "partitions",
            problem: format!(
                "{} is no multiple of {modulus}, the modulus of partitions that are there",
                set.partitions
            ),
            hint: format!(
                "Take it over as it is, with partitions => {modulus}, or with a multiple of that."
            ),
        }
        .into());
        }
        let taken = put_in_force(
            &set.table,
            || policy::store(set.table.oid, &request),
            || steps::plan(&set, clock::now()),
        )?;
        Ok(rows(taken))
    })
}

#[pg_extern(sql = false)]
fn alter_hash(
    parent: Option<Oid>,
    partitions: Option<i32>,
    name_format: Option<Text>,
    template: Option<Oid>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(ordinal, i32),
            name!(parent, Oid),
            name!(action, &'static str),
            name!(partition, Text),
            name!(sql, Text),
            name!(lock, Text),
            name!(reason, Text),
        ),
    >,
    ErrorReport,
> {
    called(|| {
        let name_format = name_format.as_deref();
        let _pinned = Pinned::begin();
        let table = owned_table(needed(parent, "parent")?, "alter_hash()")?;
        table.must_be(Strategy::Hash)?;
        let kept = stored(table.oid)?.ok_or_else(|| table.not_managed())?;
        let request = Request {
            partitions: partitions.unwrap_or(kept.partitions),
            name_format: match name_format {
                Some("") => None,
                Some(text) => Some(text.to_owned()),
                None => kept.name_format,
            },
            template: match template {
                Some(_) => chosen_template(&table, template)?,
                None => kept.template,
            },
        };
        let same_number = partitions.is_none_or(|partitions| partitions == kept.partitions);
        let set = policy::interpret(table, &request)?;
        let anew = match modulus_in_use(&set)?.filter(|modulus| *modulus != set.partitions) {
            // It was taken over as it is, or somebody has changed it by hand since; nobody asks for another
            // number now.
            Some(modulus) if same_number && set.partitions.is_multiple_of(modulus) => false,
            Some(_) if partitions.is_none() => false,
            Some(_) => {
                in_time(&set.table.display(), || steps::make_sure_it_is_empty(&set.table))?;
                true
            }
            None => false,
        };
        let taken = put_in_force(
            &set.table,
            || policy::store(set.table.oid, &request),
            || match anew {
                true => steps::plan_anew(&set, clock::now()),
                false => steps::plan(&set, clock::now()),
            },
        )?;
        Ok(rows(taken))
    })
}

/// What is stored as of now, when the set's lock was had.
fn stored(parent: Oid) -> Result<Option<Request>> {
    transaction::with_latest_snapshot(|| policy::stored(parent))
}

/// The greatest modulus that a set has; None: it has no partitions.
fn modulus_in_use(set: &Set) -> Result<Option<u32>> {
    let existing = in_time(&set.table.display(), || steps::partitions(&set.table))?;
    let classes: Vec<_> = existing.iter().map(steps::class).collect();
    Ok(plan::greatest_modulus(&classes))
}
