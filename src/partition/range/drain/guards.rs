//! What keeps others, their triggers and their foreign keys out of a move.

use std::time::{Duration, Instant};

use super::DefaultPartition;
use crate::error::{Error, Result};
use crate::partition::range::catalog::Parent;
use crate::partition::table::Table;
use crate::pg::ident::{self, Qualified};
use crate::pg::identity::AsOwner;
use crate::pg::locks::{self, TableLock};
use crate::pg::{Oid, guc, query, transaction};
use crate::settings;

/// Keeps everybody out until the commit. All that ATTACH is going to lock is locked here, the parent
/// first, as every query does it; for all of it together lock_timeout is waited once: as soon as we wait for
/// the parent, everybody waits for us.
pub(super) fn lock_out(parent: &Parent, default: &DefaultPartition) -> Result<()> {
    let whole = u64::from(settings::lock_timeout_milliseconds().unsigned_abs());
    let until = Instant::now() + Duration::from_millis(whole);
    let hold = |table, lock| {
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        // 0 would mean for ever.
        let left = i32::try_from(left).unwrap_or(i32::MAX).max(1);
        guc::with_lock_timeout(left, || locks::hold_table(table, lock));
    };
    hold(parent.table.oid, TableLock::AccessExclusive);
    transaction::with_latest_snapshot(|| {
        for table in tree(default.oid)? {
            hold(table, TableLock::AccessExclusive);
        }
        for table in referenced(parent.table.oid)? {
            hold(table, TableLock::ShareRowExclusive);
        }
        Ok(())
    })
}

/// A partition and what lies below it, from the top.
fn tree(top: Oid) -> Result<Vec<Oid>> {
    query::rows(
        "SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree($1) t
          ORDER BY t.level, t.relid::pg_catalog.oid",
        &[top.into()],
        |row| row.required(1),
    )
}

/// Tables that the parent's foreign keys point to.
fn referenced(parent: Oid) -> Result<Vec<Oid>> {
    query::rows(
        "SELECT DISTINCT k.confrelid FROM pg_catalog.pg_constraint k
          WHERE k.contype = 'f' AND k.conrelid = $1 AND k.confrelid <> $1 ORDER BY 1",
        &[parent.into()],
        |row| row.required(1),
    )
}

/// Refuses a set whose rows others point to: to move a row is to delete it, which its foreign keys would
/// refuse, or hand on. Errors: 2BP01.
pub(in crate::partition) fn refuse_referenced(table: &Table) -> Result<()> {
    let found = query::optional(
        "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
           FROM pg_catalog.pg_constraint k
           JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE k.contype = 'f'
            AND (k.confrelid = $1
                 OR k.confrelid IN (SELECT t.relid::pg_catalog.oid
                                      FROM pg_catalog.pg_partitioned_table pt
                                     CROSS JOIN LATERAL pg_catalog.pg_partition_tree(pt.partdefid) t
                                     WHERE pt.partrelid = $1 AND pt.partdefid <> 0))
          ORDER BY k.conparentid <> 0, 1, 2 LIMIT 1",
        &[table.oid.into()],
        |row| Ok(Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?)),
    )?;
    match found {
        None => Ok(()),
        Some(referencing) => Err(Error::ReferencedBy {
            relation: table.display(),
            referencing: referencing.to_string(),
        }),
    }
}

/// Does `work` while no trigger of a user's fires on a table and what lies below it, and then lets them
/// fire as before: a row that moves is neither deleted nor new. session_replication_role would be shorter; it is a
/// superuser's, and would switch off foreign keys as well, for every function that is called meanwhile.
pub(super) fn without_triggers<T>(
    scope: &AsOwner,
    table: &str,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let triggers = transaction::with_latest_snapshot(|| firing_triggers(table))?;
    let alter = |action: &dyn Fn(&Trigger) -> &'static str| {
        let statement = |one: &Trigger| {
            format!("ALTER TABLE ONLY {} {} TRIGGER {}", one.table, action(one), one.name)
        };
        triggers.iter().map(statement).collect::<Vec<_>>()
    };
    if !triggers.is_empty() {
        scope.run(&alter(&|_| "DISABLE").join(";\n"))?;
    }
    let value = work()?;
    if !triggers.is_empty() {
        scope.run(&alter(&|one| one.enable).join(";\n"))?;
    }
    Ok(value)
}

struct Trigger {
    table: Qualified,
    name: String,
    /// What brings it back to where it was.
    enable: &'static str,
}

/// The users' own triggers that are not disabled, on a table and below it; those of foreign keys
/// are the server's.
fn firing_triggers(top: &str) -> Result<Vec<Trigger>> {
    query::rows(
        "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, g.tgname::pg_catalog.text,
                g.tgenabled::pg_catalog.text
           FROM pg_catalog.pg_partition_tree($1::pg_catalog.text::pg_catalog.regclass) t
           JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.relid
           JOIN pg_catalog.pg_class c ON c.oid = t.relid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE NOT g.tgisinternal AND g.tgenabled <> 'D'
          ORDER BY t.level, 1, 2, 3",
        &[top.into()],
        |row| {
            Ok(Trigger {
                table: Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?),
                name: ident::name(&row.required::<String>(3)?),
                enable: match row.required::<String>(4)?.as_str() {
                    "R" => "ENABLE REPLICA",
                    "A" => "ENABLE ALWAYS",
                    _ => "ENABLE",
                },
            })
        },
    )
}
