//! One period: its partition, and its rows out of the default partition, in one transaction.
//!
//! Why the parent has to be locked with ACCESS EXCLUSIVE in the end, where ATTACH alone would be
//! content with SHARE UPDATE EXCLUSIVE: a query locks the parent, reads which partitions there are, and
//! then locks each of them (src/backend/optimizer/util/inherit.c, expand_partitioned_rtentry). One that
//! comes while we hold the default partition knows the old list and waits for us; when it gets on it
//! takes its snapshot, in which the rows have left the default partition, and never looks into the
//! new one: rows are missing from its answer, or from what it updates, and an insert that was routed to the
//! default partition is refused. Behind a lock on the parent it
//! reads the list afterwards; a kept plan is made anew once its locks are had
//! (src/backend/utils/cache/plancache.c, CheckCachedPlan).
//!
//! That lock is had at the end, when the rows have been copied, and before it nothing is held that
//! anybody waits for: not a row, not a lock that keeps writers out. Who waits for such a thing would hold
//! the parent, and we would wait for each other.
//!
//! What was changed since the copy shows in that the transaction is REPEATABLE READ: a row that was
//! copied and changed since cannot be deleted (40001), and rows that came since are moved after the
//! others, under a snapshot of that instant.
//!
//! Where the set is published, its rows wait in a table beside until the partition is attached: see
//! [`is_published`].

use super::guards::{lock_out, refuse_referenced, without_triggers};
use super::{DefaultPartition, Period, Waiting};
use crate::error::{Error, Result};
use crate::partition::blueprint::Parts;
use crate::partition::range::catalog::Set;
use crate::partition::range::plan::{Edge, Range};
use crate::partition::range::steps;
use crate::partition::steps::StepBuilder;
use crate::partition::table::Table;
use crate::pg::ident::{self, Qualified};
use crate::pg::identity::AsOwner;
use crate::pg::transaction::{self, Isolation};
use crate::pg::{Oid, guc, identity, query};
use crate::settings;

/// What was done first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The rows are copied while everybody works on. The rule.
    CopyFirst,
    /// Everybody is kept out from the beginning: what is copied cannot change meanwhile.
    LockFirst,
}

impl Order {
    pub(super) fn isolation(self) -> Isolation {
        match self {
            Self::CopyFirst => Isolation::RepeatableRead,
            // The locks come before the first snapshot that counts.
            Self::LockFirst => Isolation::ReadCommitted,
        }
    }
}

/// A period that has its partition.
pub(super) struct Relocated {
    pub(super) partition: Qualified,
    pub(super) rows: u64,
}

/// Makes a period's partition and moves its rows, in the current transaction.
pub(super) fn relocate(waiting: &Waiting, period: &Period, order: Order) -> Result<Relocated> {
    let Waiting { set, default, .. } = waiting;
    let table = &set.parent.table;
    guc::with_lock_timeout(settings::lock_timeout_milliseconds(), || {
        if order == Order::LockFirst {
            lock_out(&set.parent, default)?;
        }
        let Draft { partition, parts, staging } = draft(set, &period.range)?;
        identity::as_owner(table.owner, |scope| {
            let moving = Moving::new(set, default, &period.range, &partition, staging)?;
            scope.run(&script(&parts.make))?;
            let copied = moving.copy(scope)?;
            if order == Order::CopyFirst {
                lock_out(&set.parent, default)?;
            }
            // A key may have been made until now; from here on none can.
            transaction::with_latest_snapshot(|| refuse_referenced(table))?;
            let rows =
                without_triggers(scope, &moving.default, || moving.take_away(scope, copied))?;
            scope.run(&script(&[vec![parts.attach], parts.finish].concat()))?;
            moving.unstage(scope, rows)?;
            Ok(Relocated { partition, rows })
        })
    })
}

fn script(statements: &[String]) -> String {
    statements.join(";\n")
}

/// What is going to be made.
struct Draft {
    partition: Qualified,
    parts: Parts,
    /// Where the rows wait while the partition is attached, if they have to.
    staging: Option<Qualified>,
}

/// Reads what goes into the statements. The bounds are given back: ALTER TABLE refuses a table that is
/// in use.
fn draft(set: &Set, range: &Range) -> Result<Draft> {
    let table = &set.parent.table;
    let missing = || Error::NoSuchRelation { oid: ident::oid_number(table.oid) };
    let newest = {
        let bounds = set.bounds()?.ok_or_else(missing)?;
        (0..bounds.positions()).rev().find_map(|place| bounds.at(place)).map(|range| range.oid)
    };
    let mut drafting = StepBuilder::new(table, newest, set.template, set.subpartitions()?)?;
    let mut free = |name| {
        let named = drafting.names(vec![name])?.into_iter().next();
        named.ok_or(Error::UnexpectedNull { column: 1 })
    };
    let name = steps::wanted_name(set, range.lower.position());
    let staging = match is_published(table)? {
        true => Some(free(name.followed_by("_moving"))?.partition),
        false => None,
    };
    let named = free(name)?;
    let bound = steps::bound(&range.lower, &range.upper);
    let (partition, parts) = drafting.create_to_fill(named, &bound)?;
    Ok(Draft { partition, parts, staging })
}

/// Whether changes of the set go to subscribers. Those would hear of rows that leave the default partition,
/// but not, or under the name of another table, of rows that arrive in one that is not attached yet.
fn is_published(table: &Table) -> Result<bool> {
    query::one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication p WHERE p.puballtables)
             OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace s WHERE s.pnnspid = $2)
             OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel r
                         WHERE r.prrelid = $1
                            OR r.prrelid IN (SELECT a.relid::pg_catalog.oid
                                               FROM pg_catalog.pg_partition_ancestors($1) a))",
        &[table.oid.into(), table.schema_oid.into()],
        |row| row.required(1),
    )
}

/// The statements that move the rows.
struct Moving {
    /// From where, and to where in the end; for messages.
    default: String,
    partition: String,
    stage: Option<String>,
    copy: String,
    delete: String,
    /// For after ATTACH: from the staging table into the partition, and away with it.
    unstage: Option<(String, String)>,
}

impl Moving {
    fn new(
        set: &Set,
        default: &DefaultPartition,
        range: &Range,
        partition: &Qualified,
        staging: Option<Qualified>,
    ) -> Result<Self> {
        let DefaultPartition { name, key, .. } = default;
        let key_type = &set.parent.key_type_name;
        let side = |operator: &str, edge: &Edge| match edge {
            Edge::At { literal, .. } => {
                format!("{key} {operator} {}::{key_type}", ident::literal(literal))
            }
            Edge::MinValue | Edge::MaxValue => format!("{key} IS NOT NULL"),
        };
        let within = format!("{} AND {}", side(">=", &range.lower), side("<", &range.upper));
        let columns = columns(set.parent.table.oid)?.join(", ");
        let insert = |to: &Qualified, from: &Qualified, condition: &str| {
            format!(
                "INSERT INTO {to} ({columns}) OVERRIDING SYSTEM VALUE
                 SELECT {columns} FROM {from}{condition}"
            )
        };
        Ok(Self {
            default: name.to_string(),
            partition: partition.to_string(),
            // Changes of an unlogged table go to nobody.
            stage: staging.as_ref().map(|staging| {
                format!(
                    "CREATE UNLOGGED TABLE {staging} AS SELECT {columns} FROM {name} WITH NO DATA"
                )
            }),
            copy: insert(staging.as_ref().unwrap_or(partition), name, &format!(" WHERE {within}")),
            delete: format!("DELETE FROM {name} WHERE {within}"),
            unstage: staging
                .map(|staging| (insert(partition, &staging, ""), format!("DROP TABLE {staging}"))),
        })
    }

    /// Copies the rows; gives how many.
    fn copy(&self, scope: &AsOwner) -> Result<u64> {
        if let Some(stage) = &self.stage {
            scope.run(stage)?;
        }
        scope.change(&self.copy)
    }

    /// Deletes what was copied and moves what came since; gives how many there are now.
    fn take_away(&self, scope: &AsOwner, copied: u64) -> Result<u64> {
        self.all(copied, scope.change(&self.delete)?)?;
        let came = scope.change_latest(&self.copy)?;
        if came > 0 {
            self.all(came, scope.change_latest(&self.delete)?)?;
        }
        Ok(copied + came)
    }

    /// Brings rows that were staged where they belong. By now the partition has its parent's triggers.
    ///
    /// Its foreign keys, too: those that are checked at the commit are checked at once, for the server lets
    /// nothing be deferred that is done with somebody else's rights (trigger.c, AfterTriggerSaveEvent).
    fn unstage(&self, scope: &AsOwner, rows: u64) -> Result<()> {
        let Some((insert, drop)) = &self.unstage else { return Ok(()) };
        scope.run("SET CONSTRAINTS ALL IMMEDIATE")?;
        let brought = without_triggers(scope, &self.partition, || scope.change(insert))?;
        self.all(rows, brought)?;
        scope.run(drop)
    }

    /// Makes sure that none was left behind: by a rule, or a row security policy.
    fn all(&self, rows: u64, followed: u64) -> Result<()> {
        if rows == followed {
            return Ok(());
        }
        let (default_partition, partition) = (self.default.clone(), self.partition.clone());
        Err(Error::RowsKept { default_partition, partition, rows, followed })
    }
}

/// The parent's columns that are not computed, as SQL wants them.
fn columns(parent: Oid) -> Result<Vec<String>> {
    query::rows(
        "SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
          ORDER BY a.attnum",
        &[parent.into()],
        |row| Ok(ident::name(&row.required::<String>(1)?)),
    )
}
