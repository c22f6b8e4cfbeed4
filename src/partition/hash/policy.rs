//! What a hash set's owner asked for: validating it, storing it, reading it back.

use super::plan::MOST_PARTITIONS;
use crate::calendar::NameFormat;
use crate::calendar::label::NameKind;
use crate::error::{Error, Result};
use crate::partition::table::Table;
use crate::pg::{Oid, identity, query};

/// The arguments of manage_hash as they were given, or as they are kept.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) partitions: i32,
    pub(super) name_format: Option<String>,
    pub(super) template: Option<Oid>,
}

/// A managed hash set.
pub(super) struct Set {
    pub(super) table: Table,
    /// How many partitions an empty set gets; of a set that has some, the modulus of what it lacks.
    pub(super) partitions: u32,
    pub(super) name_format: Option<NameFormat>,
    /// The template, which may be gone by now.
    pub(super) template: Option<Oid>,
}

/// Turns a request into a set, checking every part of it but the template. Changes nothing.
pub(super) fn interpret(table: Table, request: &Request) -> Result<Set> {
    let invalid = |argument, problem: String, hint: &str| Error::InvalidArgument {
        relation: table.display(),
        argument,
        problem,
        hint: hint.to_owned(),
    };
    let partitions = u32::try_from(request.partitions).unwrap_or(0);
    if !(1..=MOST_PARTITIONS).contains(&partitions) {
        return Err(invalid(
            "partitions",
            format!("{} is not between 1 and {MOST_PARTITIONS}", request.partitions),
            "partitions is how many the keys are spread over, for example 16.",
        ));
    }
    let name_format = request
        .name_format
        .as_deref()
        .map(|format| NameFormat::parse(format, NameKind::Remainder))
        .transpose()
        .map_err(|error| {
            invalid("name_format", error.to_string(), "For example '{parent}_{remainder}'.")
        })?;
    Ok(Set { partitions, name_format, template: request.template, table })
}

/// Stores a request, new or changed.
pub(super) fn store(parent: Oid, request: &Request) -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "INSERT INTO steward.hash_policy AS p (parent, partitions, name_format, template)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (parent) DO UPDATE
                SET partitions = excluded.partitions, name_format = excluded.name_format,
                    template = excluded.template",
            &[
                parent.into(),
                request.partitions.into(),
                request.name_format.as_deref().into(),
                request.template.into(),
            ],
        )
        .map(|_| ())
    })
}

/// What is stored for a set; None when it is not managed.
pub(super) fn stored(parent: Oid) -> Result<Option<Request>> {
    identity::as_steward(|| {
        query::optional(
            "SELECT p.partitions, p.name_format, p.template::pg_catalog.oid
               FROM steward.hash_policy p WHERE p.parent = $1",
            &[parent.into()],
            |row| {
                Ok(Request {
                    partitions: row.required(1)?,
                    name_format: row.optional(2)?,
                    template: row.optional(3)?,
                })
            },
        )
    })
}
