//! What a set's owner asked for: validating it, storing it, reading it back.

use pgrx::AnyNumeric;

use super::boundary::{counted_from, position};
use super::catalog::{self, Parent, Set};
use super::horizon::{self, Retention, RetentionAction, Tiering};
use super::plan::Policy;
use crate::calendar::label::NameKind;
use crate::calendar::{NameFormat, Period};
use crate::error::{Error, Result};
use crate::key::Width;
use crate::key::{Axis, Key, KeyError};
use crate::partition::blueprint::Subpartitions;
use crate::partition::steps::Work;
use crate::partition::table::Table;
use crate::pg::time_zone::ServerZone;
use crate::pg::{Oid, identity, query, subtransaction};

/// The arguments of manage_range as they were given, or as they are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) partition_interval: String,
    pub(super) premake: i32,
    pub(super) time_zone: String,
    pub(super) start_at: Option<String>,
    pub(super) key_encoding: Option<String>,
    pub(super) name_format: Option<String>,
    pub(super) default_partition: bool,
    pub(super) template: Option<Oid>,
    pub(super) subpartition_by: Option<String>,
    pub(super) subpartitions: Option<i32>,
    pub(super) retention: Option<Retention>,
    pub(super) tiering: Option<Tiering>,
    pub(super) origin: Option<String>,
}

const MAX_PREMAKE: i32 = 10_000;
const MAX_SUBPARTITIONS: i32 = 1_000;
/// What manage_hash() has by default, too.
const DEFAULT_SUBPARTITIONS: i32 = 16;

/// Turns a request into a set, checking every part of it but the template, which is checked when it
/// is named ([`check_template`]): later it may have been dropped, and creation goes on without it.
/// Changes nothing.
pub(super) fn interpret(parent: Parent, request: &Request) -> Result<Set> {
    let relation = parent.display();
    let invalid = |argument, problem: String, hint: &str| Error::InvalidArgument {
        relation: relation.clone(),
        argument,
        problem,
        hint: hint.to_owned(),
    };
    let refused = |argument, error: KeyError| invalid(argument, error.to_string(), error.hint());

    let key_type = parent.key_type.ok_or_else(|| Error::UnsupportedKeyType {
        relation: relation.clone(),
        key_type: parent.key_type_name.clone(),
    })?;
    let encoding = catalog::encoding(request.key_encoding.as_deref(), &relation)?;
    let key = Key::new(key_type, encoding).map_err(|error| refused("key_encoding", error))?;
    let zone = ServerZone::named(&request.time_zone).map_err(|_| Error::TimeZoneGone {
        relation: relation.clone(),
        name: request.time_zone.clone(),
    })?;
    let width = width(&key, &request.partition_interval, &invalid)?;
    let width = match &request.origin {
        Some(text) => counted_from(width, &key, &zone, text, &invalid)?,
        None => width,
    };
    key.check_width(&width).map_err(|error| match error {
        KeyError::MidnightNeeded => refused("origin", error),
        _ => refused("partition_interval", error),
    })?;
    if !(1..=MAX_PREMAKE).contains(&request.premake) {
        return Err(invalid(
            "premake",
            format!("{} is not between 1 and {MAX_PREMAKE}", request.premake),
            "premake is the number of periods kept ready beyond the current one, for example 3.",
        ));
    }
    let name_format = request
        .name_format
        .as_deref()
        .map(|format| NameFormat::parse(format, Set::name_kind(&key)))
        .transpose()
        .map_err(|error| {
            let example = match Set::name_kind(&key) {
                NameKind::Time => "For example '{parent}_%Y_%m'.",
                NameKind::Number | NameKind::Remainder => "For example '{parent}_{lower}'.",
            };
            invalid("name_format", error.to_string(), example)
        })?;
    let start = request
        .start_at
        .as_deref()
        .map(|text| position(&key, &zone, "start_at", text, &invalid))
        .transpose()?;
    let subpartitions = subpartitions(request, &invalid)?;
    let retention = match &request.retention {
        Some(given) => {
            Some((given.clone(), horizon::age(key.axis(), "keep", &given.keep, &invalid)?))
        }
        None => None,
    };
    let tiering = match &request.tiering {
        Some(given) => {
            let age = horizon::age(key.axis(), "older_than", &given.older_than, &invalid)?;
            Some((given.clone(), age))
        }
        None => None,
    };
    let policy = Policy {
        key,
        width,
        premake: request.premake.unsigned_abs(),
        start,
        horizon: None,
        make_up_from: None,
    };
    Ok(Set {
        parent,
        policy,
        zone,
        name_format,
        wants_default: request.default_partition,
        template: request.template,
        subpartitions,
        retention,
        tiering,
    })
}

fn subpartitions(request: &Request, invalid: &Invalid<'_>) -> Result<Option<Subpartitions>> {
    let Some(column) = &request.subpartition_by else {
        return match request.subpartitions {
            None => Ok(None),
            Some(_) => Err(invalid(
                "subpartitions",
                "subpartition_by is not given".into(),
                "Name the column by whose hash each period is spread, or leave subpartitions out.",
            )),
        };
    };
    let count = request.subpartitions.unwrap_or(DEFAULT_SUBPARTITIONS);
    if !(1..=MAX_SUBPARTITIONS).contains(&count) {
        return Err(invalid(
            "subpartitions",
            format!("{count} is not between 1 and {MAX_SUBPARTITIONS}"),
            "subpartitions is how many each period is spread over, for example 8.",
        ));
    }
    Ok(Some(Subpartitions { column: column.clone(), count: count.unsigned_abs() }))
}

/// Whether the partitions of a table can be spread by the hash of a column: checked when it is named.
pub(super) fn check_subpartition_by(
    parent: &Parent,
    template: Option<Oid>,
    column: &str,
) -> Result<()> {
    let invalid = |problem: String, hint: &str| Error::InvalidArgument {
        relation: parent.display(),
        argument: "subpartition_by",
        problem,
        hint: hint.to_owned(),
    };
    match catalog::hashable(parent.table.oid, column)? {
        Some(true) => (),
        Some(false) => {
            return Err(invalid(
                format!("column \"{column}\" is generated, or of a type that cannot be hashed"),
                "Choose a column of its own, of a type such as bigint, text or uuid.",
            ));
        }
        None => {
            return Err(invalid(
                format!("there is no column \"{column}\""),
                "Name one of its columns, without quotes, for example 'user_id'.",
            ));
        }
    }
    let mut lacking = catalog::unique_without(parent.table.oid, column)?;
    if let Some(template) = template {
        lacking.extend(catalog::unique_without(template, column)?);
    }
    if let Some(index) = lacking.first() {
        return Err(invalid(
            format!("unique index {index} does not contain column \"{column}\""),
            "A unique key of a partitioned table has to contain every column it is partitioned by: \
             add the column to the key, or choose one that is in it.",
        ));
    }
    Ok(())
}

/// Makes the error of an argument.
pub(super) type Invalid<'a> = dyn Fn(&'static str, String, &str) -> Error + 'a;

fn width(key: &Key, text: &str, invalid: &Invalid<'_>) -> Result<Width> {
    const ARGUMENT: &str = "partition_interval";
    if key.axis() == Axis::Number {
        let number = text.trim().parse().map_err(|_| {
            let error = KeyError::NumberNeeded(key.key_type());
            invalid(ARGUMENT, format!("\"{text}\": {error}"), error.hint())
        })?;
        return Ok(Width::Number(number));
    }
    let fields = parsed(
        "SELECT (12 * extract(year FROM i) + extract(month FROM i))::pg_catalog.int4,
                extract(day FROM i)::pg_catalog.int4,
                (1000000 * (3600 * extract(hour FROM i) + 60 * extract(minute FROM i))
                 + extract(microseconds FROM i))::pg_catalog.int8
           FROM (SELECT $1::pg_catalog.interval) AS given (i)",
        text,
        |row| Ok((row.required(1)?, row.required(2)?, row.required(3)?)),
    );
    let (months, days, micros) = fields.map_err(|error| {
        error.about_value(|| {
            invalid(ARGUMENT, format!("\"{text}\" is not an interval"), "For example '1 month'.")
        })
    })?;
    let period = Period::from_interval(months, days, micros)
        .map_err(|error| invalid(ARGUMENT, format!("\"{text}\": {error}"), error.hint()))?;
    Ok(Width::Time(period))
}

/// Lets the server parse a text; the error is for the caller to phrase.
pub(super) fn parsed<T>(
    sql: &'static str,
    text: &str,
    read: impl Fn(&query::Row<'_>) -> Result<T>,
) -> Result<T> {
    subtransaction::run(|| query::one(sql, &[text.into()], read))
}

/// Stores a request, new or changed.
pub(super) fn store(parent: Oid, request: &Request) -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "INSERT INTO steward.range_policy AS p
                    (parent, partition_interval, premake, time_zone, start_at, key_encoding,
                     name_format, default_partition, template, subpartition_by, subpartitions,
                     origin, subpartition_key)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                     (SELECT a.attnum FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = $1 AND a.attname = $10 AND NOT a.attisdropped))
             ON CONFLICT (parent) DO UPDATE
                SET partition_interval = excluded.partition_interval, premake = excluded.premake,
                    time_zone = excluded.time_zone, start_at = excluded.start_at,
                    key_encoding = excluded.key_encoding, name_format = excluded.name_format,
                    default_partition = excluded.default_partition, template = excluded.template,
                    subpartition_by = excluded.subpartition_by,
                    subpartitions = excluded.subpartitions, origin = excluded.origin,
                    subpartition_key = excluded.subpartition_key",
            &[
                parent.into(),
                request.partition_interval.as_str().into(),
                request.premake.into(),
                request.time_zone.as_str().into(),
                request.start_at.as_deref().into(),
                request.key_encoding.as_deref().into(),
                request.name_format.as_deref().into(),
                request.default_partition.into(),
                request.template.into(),
                request.subpartition_by.as_deref().into(),
                request.subpartitions.into(),
                request.origin.as_deref().into(),
            ],
        )
        .map(|_| ())
    })
}

/// What is stored for a set; None when it is not managed.
pub(super) fn stored(parent: Oid) -> Result<Option<(Request, Option<i128>)>> {
    identity::as_steward(|| {
        query::optional(
            "SELECT p.partition_interval, p.premake, p.time_zone, p.start_at, p.key_encoding,
                    p.name_format, p.default_partition, p.template::pg_catalog.oid,
                    coalesce(a.attname::pg_catalog.text, p.subpartition_by), p.subpartitions,
                    p.make_up_from, p.keep, p.keep_action, p.to_schema::pg_catalog.text,
                    p.archive_function, p.cold_after, p.cold_tablespace::pg_catalog.text,
                    p.origin
               FROM steward.range_policy p
               LEFT JOIN pg_catalog.pg_attribute a
                 ON a.attrelid = p.parent AND a.attnum = p.subpartition_key AND NOT a.attisdropped
              WHERE p.parent = $1",
            &[parent.into()],
            |row| {
                let request = Request {
                    partition_interval: row.required(1)?,
                    premake: row.required(2)?,
                    time_zone: row.required(3)?,
                    start_at: row.optional(4)?,
                    key_encoding: row.optional(5)?,
                    name_format: row.optional(6)?,
                    default_partition: row.required(7)?,
                    template: row.optional(8)?,
                    subpartition_by: row.optional(9)?,
                    subpartitions: row.optional(10)?,
                    retention: retention(row)?,
                    tiering: tiering(row)?,
                    origin: row.optional(18)?,
                };
                let make_up_from = row
                    .optional::<AnyNumeric>(11)?
                    .and_then(|number| number.to_string().parse().ok());
                Ok((request, make_up_from))
            },
        )
    })
}

/// Whether a clock says when a managed set is due again.
pub(in crate::partition) fn has_clock(table: Table) -> Result<bool> {
    let parent = catalog::parent(table)?;
    let (request, _) = stored(parent.table.oid)?.ok_or_else(|| parent.table.not_managed())?;
    let encoding = catalog::encoding(request.key_encoding.as_deref(), &parent.display())?;
    let key = parent.key_type.and_then(|key_type| Key::new(key_type, encoding).ok());
    Ok(key.is_none_or(|key| key.axis() != Axis::Number))
}

/// The columns of [`stored`] from the twelfth on.
fn retention(row: &query::Row<'_>) -> Result<Option<Retention>> {
    let (keep, fate) = (row.optional::<String>(12)?, row.optional::<String>(13)?);
    let (Some(keep), Some(fate)) = (keep, fate.as_deref().and_then(RetentionAction::named)) else {
        return Ok(None);
    };
    let (to_schema, archive_function) = (row.optional(14)?, row.optional(15)?);
    Ok(Some(Retention { keep, fate, to_schema, archive_function }))
}

/// Those after them.
fn tiering(row: &query::Row<'_>) -> Result<Option<Tiering>> {
    let (older_than, tablespace) = (row.optional(16)?, row.optional(17)?);
    Ok(older_than
        .zip(tablespace)
        .map(|(older_than, tablespace)| Tiering { older_than, tablespace }))
}

/// Where a set of keys without a clock stands, as of a look at it: what is stored in it says so, and no
/// view reads that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// "Now" on the key's axis; None: nobody has looked yet.
    pub(super) position: Option<i128>,
    /// Where the last expired period ends.
    pub(super) horizon: Option<i128>,
}

/// Keeps what a look has found, where it is news.
pub(crate) fn note_seen(work: &Work) -> Result<()> {
    let Some(seen) = work.seen else { return Ok(()) };
    let text = |position: Option<i128>| position.map(|position| position.to_string());
    identity::as_steward(|| {
        query::change(
            "UPDATE steward.range_policy p
                SET seen_position = $2::pg_catalog.text::pg_catalog.numeric,
                    seen_horizon = $3::pg_catalog.text::pg_catalog.numeric
              WHERE p.parent = $1
                AND (p.seen_position IS DISTINCT FROM $2::pg_catalog.text::pg_catalog.numeric
                     OR p.seen_horizon IS DISTINCT FROM $3::pg_catalog.text::pg_catalog.numeric)",
            &[work.parent.into(), text(seen.position).into(), text(seen.horizon).into()],
        )
        .map(|_| ())
    })
}

/// What the last look has found.
pub(super) fn seen(parent: Oid) -> Result<Seen> {
    let number = |text: Option<AnyNumeric>| text.and_then(|number| number.to_string().parse().ok());
    let seen = identity::as_steward(|| {
        query::optional(
            "SELECT p.seen_position, p.seen_horizon FROM steward.range_policy p WHERE p.parent = $1",
            &[parent.into()],
            |row| {
                Ok(Seen { position: number(row.optional(1)?), horizon: number(row.optional(2)?) })
            },
        )
    })?;
    Ok(seen.unwrap_or_default())
}

/// Keeps where an unfinished make-up begins, so that a run that is cut off goes on there: the
/// current partition is made first and would turn the rest into a hole. None: all done.
pub(crate) fn remember_make_up(parent: Oid, from: Option<i128>) -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "UPDATE steward.range_policy SET make_up_from = $2::pg_catalog.text::pg_catalog.numeric
              WHERE parent = $1",
            &[parent.into(), from.map(|position| position.to_string()).into()],
        )
        .map(|_| ())
    })
}
