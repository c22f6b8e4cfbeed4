//! `steward.drain_default()`: rows that wait in the default partition get partitions of their own, a
//! period a transaction, oldest first.
//!
//! Here is the walk from period to period; `period` moves the rows of one, `guards` keeps
//! others out of it.

mod guards;
mod period;

use std::time::Instant;

use super::catalog::{self, Set};
use super::plan::{self, Edge, Range};
use super::{horizon, policy, steps};
use crate::error::{Error, Result};
use crate::key::{Encoding, Key, KeyType};
use crate::partition::apply::{Outcome, retried};
use crate::partition::steps::Action;
use crate::partition::table::{self, Table};
use crate::pg::bounds::RangeBounds;
use crate::pg::ident::{self, Qualified};
use crate::pg::transaction::Transactions;
use crate::pg::{Oid, clock, encoding, guc, identity, query, report};
use crate::settings;
use period::{Order, Relocated, relocate};

pub(in crate::partition) use guards::refuse_referenced;

/// What came of a call.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// Periods that got their partition, and those that did not.
    pub(crate) outcome: Outcome,
    /// Rows moved.
    pub(crate) rows: u64,
    /// Rows that stay, for no period holds their key.
    pub(crate) left: i64,
}

/// A set with a default partition, and the next period that rows wait for.
struct Waiting {
    set: Set,
    default: DefaultPartition,
    period: Option<Period>,
}

/// The default partition.
struct DefaultPartition {
    oid: Oid,
    name: Qualified,
    /// The key as the set compares it, in SQL.
    key: String,
}

/// A period that rows wait for.
struct Period {
    range: Range,
    /// What its partition is to be called, if the name is free.
    partition: Qualified,
    /// Retention takes it out of the set at the next maintenance: how much is kept.
    leaves: Option<String>,
}

/// Moves what can be moved. A period that fails is told, and the rest goes on; `drained` has what was
/// done also when an error ends it: a cancel, or a set that cannot be read any more.
pub(crate) fn drain(
    transactions: &Transactions<'_>,
    parent: Oid,
    drained: &mut Drained,
) -> Result<()> {
    let attended = transactions.attended();
    let mut after = None;
    loop {
        let look = || look(parent, after.as_deref());
        let Some(waiting) = retried(transactions, parent, || transactions.on_our_tables(look))?
        else {
            let name = transactions.on_our_tables(|| table::name(parent))?;
            let name = name.map_or_else(|| "the set".to_owned(), |name| name.to_string());
            report::step(attended, &format!("{name} has no default partition: nothing to move"));
            return Ok(());
        };
        let Some(period) = &waiting.period else {
            return tell_what_is_left(transactions, parent, &waiting, drained);
        };
        let started = Instant::now();
        match move_period(transactions, &waiting, period) {
            Ok(Relocated { partition, rows }) => {
                let (noun, seconds) =
                    (if rows == 1 { "row" } else { "rows" }, started.elapsed().as_secs_f64());
                let message = format!("moved {rows} {noun} to {partition} in {seconds:.2} s");
                report::step(attended, &message);
                if let Some(keep) = &period.leaves {
                    let leaves = Error::DrainedLeaves { keep: keep.clone() };
                    report::failure(&partition.to_string(), &leaves);
                }
                drained.outcome.done.push((Action::Create, partition.to_string()));
                drained.rows += rows;
            }
            Err(error) if error.is_cancel() => return Err(error),
            Err(error) => {
                let partition = period.partition.to_string();
                report::failure(&partition, &error);
                drained.outcome.failed.push((partition, error));
            }
        }
        after = match &period.range.upper {
            Edge::At { literal, .. } => Some(literal.clone()),
            _ => return tell_what_is_left(transactions, parent, &waiting, drained),
        };
    }
}

fn move_period(
    transactions: &Transactions<'_>,
    waiting: &Waiting,
    period: &Period,
) -> Result<Relocated> {
    let mut order = Order::CopyFirst;
    retried(transactions, waiting.set.parent.table.oid, || {
        let relocated = |order: Order| {
            transactions.isolated(order.isolation(), || relocate(waiting, period, order))
        };
        match relocated(order) {
            // Its rows are being changed: a copy made beside that would lose the race again.
            Err(error) if error.is_overtaken() && order == Order::CopyFirst => {
                order = Order::LockFirst;
                relocated(order)
            }
            outcome => outcome,
        }
    })
}

/// The first period at or after a key (all of them, without one) that rows wait for. None: the set has
/// no default partition.
fn look(parent: Oid, after: Option<&str>) -> Result<Option<Waiting>> {
    guc::with_lock_timeout(settings::lock_timeout_milliseconds(), || {
        let parent = catalog::parent(Table::read(parent)?)?;
        let not_managed = || parent.table.not_managed();
        let (request, _) = policy::stored(parent.table.oid)?.ok_or_else(not_managed)?;
        let set = policy::interpret(parent, &request)?;
        let no_such = || Error::NoSuchRelation { oid: ident::oid_number(set.parent.table.oid) };
        let bounds = set.bounds()?.ok_or_else(no_such)?;
        let Some(oid) = bounds.default_partition() else { return Ok(None) };
        let Some(name) = table::name(oid)? else { return Ok(None) };
        let (key, collation) = key_as_compared(&set)?;
        let default = DefaultPartition { oid, name, key };
        let period = next_period(&set, &bounds, &default, collation, after)?;
        Ok(Some(Waiting { set, default, period }))
    })
}

/// The key column with the collation that partitions are compared under, where it has another one.
fn key_as_compared(set: &Set) -> Result<(String, Oid)> {
    let column = set.parent.key_sql();
    query::optional(
        "SELECT pt.partcollation[0], n.nspname::pg_catalog.text, c.collname::pg_catalog.text
           FROM pg_catalog.pg_partitioned_table pt
           JOIN pg_catalog.pg_attribute a
             ON a.attrelid = pt.partrelid AND a.attnum = pt.partattrs[0]
           LEFT JOIN pg_catalog.pg_collation c
             ON c.oid = pt.partcollation[0] AND c.oid <> a.attcollation
           LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
          WHERE pt.partrelid = $1",
        &[set.parent.table.oid.into()],
        |row| {
            let collation = match (row.optional::<String>(2)?, row.optional::<String>(3)?) {
                (Some(schema), Some(name)) => format!(" COLLATE {}", Qualified::new(schema, name)),
                _ => String::new(),
            };
            Ok((format!("{column}{collation}"), row.required(1)?))
        },
    )?
    .ok_or(Error::NoSuchRelation { oid: ident::oid_number(set.parent.table.oid) })
}

fn next_period(
    set: &Set,
    bounds: &RangeBounds,
    default: &DefaultPartition,
    collation: Oid,
    after: Option<&str>,
) -> Result<Option<Period>> {
    let DefaultPartition { name, key, .. } = default;
    let key_type = &set.parent.key_type_name;
    let literal = |text: &str| format!("{}::{key_type}", ident::literal(text));
    let mut from = after.map(|after| format!("{key} >= {}", literal(after)));
    loop {
        let readable = readable(&set.policy.key, set, key);
        // Sorted below the cast, whose result would have the column's name and be sorted by.
        let sql = format!(
            "SELECT lowest.key::pg_catalog.text
               FROM (SELECT {key} AS key FROM {name} WHERE {key} IS NOT NULL AND {readable} AND {}
                      ORDER BY {key} LIMIT 1) lowest",
            from.as_deref().unwrap_or("true")
        );
        let found = identity::as_owner(set.parent.table.owner, |scope| {
            scope.optional(&sql, &[], |row| row.required::<String>(1))
        })?;
        let Some(found) = found else { return Ok(None) };
        let stray = bounds.stray(found, collation)?;
        let edge = |raw: &Option<_>| raw.as_ref().map(|raw| set.edge(raw)).transpose();
        let (below, above) = (edge(&stray.below)?, edge(&stray.above)?);
        let position = stray.raw.as_ref().and_then(|raw| set.policy.key.decode(raw));
        let range =
            position.and_then(|at| plan::period_at(&set.policy, &set.zone, at, below, above));
        if let Some(range) = range {
            let parent = &set.parent.table.name;
            let name = steps::wanted_name(set, range.lower.position()).fit(0, encoding::bytes_of);
            let partition = Qualified::new(parent.schema.clone(), name);
            let leaves = kept(set, bounds, &range)?;
            return Ok(Some(Period { range, partition, leaves }));
        }
        from = Some(format!("{key} > {}", literal(&stray.literal)));
    }
}

/// How much the set's retention keeps, where that leaves a range out.
fn kept(set: &Set, bounds: &RangeBounds, range: &Range) -> Result<Option<String>> {
    let Some((retention, _)) = &set.retention else { return Ok(None) };
    let at = clock::now();
    let position = steps::position(set, bounds, at)?;
    let horizon = horizon::horizon(set, bounds, position, at)?;
    let ends = range.upper.position();
    Ok((ends <= position && Some(ends) <= horizon).then(|| retention.keep.clone()))
}

/// SQL that is true of the keys that say which period they belong to: one junk key after the other
/// would be a query each.
fn readable(key: &Key, set: &Set, column: &str) -> String {
    let (first, last) = key.limits();
    match key.key_type() {
        KeyType::Timestamptz | KeyType::Timestamp | KeyType::Date => {
            format!("pg_catalog.isfinite({column})")
        }
        // NaN and the infinities are beyond both ends.
        KeyType::Numeric => {
            let literal = |at| key.encode(&set.zone, at).map(|text| ident::literal(&text));
            match (literal(first), literal(last)) {
                (Some(first), Some(last)) => format!(
                    "{column} BETWEEN {first}::pg_catalog.numeric AND {last}::pg_catalog.numeric"
                ),
                _ => "true".into(),
            }
        }
        KeyType::Text | KeyType::Bytea => match (key.encoding(), key.key_type()) {
            (Encoding::Ulid, KeyType::Text) => {
                format!("{column} COLLATE pg_catalog.\"C\" ~ '^[0-7][0-9A-HJKMNP-TV-Z]{{25}}$'")
            }
            (Encoding::Ulid, _) => format!("pg_catalog.octet_length({column}) = 16"),
            // Not of such a type (`Encoding::suits`): none of these rows moves.
            (
                Encoding::Plain
                | Encoding::EpochSeconds
                | Encoding::EpochMilliseconds
                | Encoding::EpochMicroseconds
                | Encoding::EpochNanoseconds
                | Encoding::UuidV7
                | Encoding::Snowflake { .. },
                _,
            ) => "false".into(),
        },
        KeyType::SmallInt | KeyType::Integer | KeyType::BigInt | KeyType::Uuid => "true".into(),
    }
}

/// Says what no period holds, or that there was nothing to do.
fn tell_what_is_left(
    transactions: &Transactions<'_>,
    parent: Oid,
    waiting: &Waiting,
    drained: &mut Drained,
) -> Result<()> {
    let Waiting { set, default: DefaultPartition { name, key, .. }, .. } = waiting;
    let readable = readable(&set.policy.key, set, key);
    let sql = format!(
        "SELECT pg_catalog.count(*) FILTER (WHERE {key} IS NULL),
                pg_catalog.count(*) FILTER (WHERE NOT ({readable})),
                pg_catalog.row_security_active({}::pg_catalog.regclass) FROM {name}",
        ident::literal(&name.to_string())
    );
    let counted = || {
        guc::with_lock_timeout(settings::lock_timeout_milliseconds(), || {
            identity::as_owner(set.parent.table.owner, |scope| {
                scope.one(&sql, &[], |row| {
                    Ok((row.required(1)?, row.required(2)?, row.required(3)?))
                })
            })
        })
    };
    let (nulls, unreadable, filtered): (i64, i64, bool) =
        retried(transactions, parent, || transactions.on_user_tables(counted))?;
    drained.left = nulls + unreadable;
    if drained.left > 0 {
        let default_partition = name.to_string();
        report::failure(
            &set.parent.display(),
            &Error::KeysWithoutPeriod { default_partition, nulls, unreadable },
        );
    } else if drained.outcome.done.is_empty() && drained.outcome.failed.is_empty() {
        report::step(transactions.attended(), &format!("no rows wait in {name}"));
    }
    if filtered {
        let hides = format!("row security of {name} may hide rows from its owner: those stay");
        report::step(transactions.attended(), &hides);
    }
    Ok(())
}
