//! Tables whose foreign keys point to a set: a period that no row of theirs points into can leave.
//!
//! The server looks for such rows itself before it detaches (tablecmds.c, ATDetachCheckNoForeignKeyRefs), while
//! it keeps everybody out of the set, and writers out of the other table. So the same question is asked before,
//! where nobody waits for the answer; what takes too long then is not begun.

use crate::error::{Error, Result, WhyReferenced};
use crate::partition::steps::{Reference, Step, Work};
use crate::pg::ident::{self, Qualified};
use crate::pg::locks::{self, TableLock};
use crate::pg::transaction::Transactions;
use crate::pg::{Oid, deadline, guc, identity, query};
use crate::settings;

/// Asks whether a row points into a partition, as SQL.
fn question(reference: &Reference, partition: &Qualified) -> String {
    let equal = reference.columns.iter().map(|(theirs, ours, operator)| {
        let (schema, theirs) = (ident::name(&operator.schema), ident::name(theirs));
        format!("pk.{} OPERATOR({schema}.{}) fk.{theirs}", ident::name(ours), operator.name)
    });
    let equal: Vec<String> = equal.collect();
    let only = if reference.only { "ONLY " } else { "" };
    let (table, equal) = (&reference.name, equal.join(" AND "));
    format!("SELECT EXISTS (SELECT FROM {only}{table} fk JOIN {partition} pk ON ({equal}))")
}

/// What points to a set: keys that can be looked into, or why none of its periods can leave.
pub(super) fn of(set: &Qualified, parent: Oid, owner: Oid) -> Result<Result<Vec<Reference>>> {
    let found = query::rows(
        "SELECT k.conrelid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind <> 'p',
                k.conrelid = k.confrelid,
                NOT EXISTS (SELECT FROM pg_catalog.pg_class t
                             WHERE t.relowner <> $2
                               AND (t.oid = k.conrelid OR t.oid IN
                                    (SELECT p.relid FROM pg_catalog.pg_partition_tree(k.conrelid) p))),
                ARRAY(SELECT a.attname::pg_catalog.text
                        FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u (n, i)
                        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n
                       ORDER BY u.i),
                ARRAY(SELECT a.attname::pg_catalog.text
                        FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY u (n, i)
                        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n
                       ORDER BY u.i),
                ARRAY(SELECT s.nspname::pg_catalog.text
                        FROM pg_catalog.unnest(k.conpfeqop) WITH ORDINALITY u (o, i)
                        JOIN pg_catalog.pg_operator o ON o.oid = u.o
                        JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
                       ORDER BY u.i),
                ARRAY(SELECT o.oprname::pg_catalog.text
                        FROM pg_catalog.unnest(k.conpfeqop) WITH ORDINALITY u (o, i)
                        JOIN pg_catalog.pg_operator o ON o.oid = u.o
                       ORDER BY u.i)
           FROM pg_catalog.pg_constraint k
           JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE k.contype = 'f' AND k.confrelid = $1
            -- Of a partitioned table that refers to it the one that its partitions' have come from.
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint u
                             WHERE u.oid = k.conparentid AND u.confrelid = k.confrelid)
          ORDER BY 2, 3, k.oid",
        &[parent.into(), owner.into()],
        |row| {
            let names = |column| row.required::<Vec<String>>(column);
            let operators = names(9)?.into_iter().zip(names(10)?);
            let pairs = names(7)?.into_iter().zip(names(8)?);
            let columns = pairs
                .zip(operators)
                .map(|((theirs, ours), (schema, name))| (theirs, ours, Qualified::new(schema, name)));
            let reference = Reference {
                table: row.required(1)?,
                name: Qualified::new(row.required::<String>(2)?, row.required::<String>(3)?),
                only: row.required(4)?,
                columns: columns.collect(),
            };
            let why = match (row.required(5)?, row.required(6)?) {
                (true, _) => Some(WhyReferenced::ByItself),
                (false, false) => Some(WhyReferenced::OtherOwner),
                (false, true) => None,
            };
            Ok((reference, why))
        },
    )?;
    let mut references = Vec::new();
    for (reference, why) in found {
        match why {
            Some(why) => return Ok(Err(refused(set.to_string(), &reference.name, why))),
            None => references.push(reference),
        }
    }
    Ok(Ok(references))
}

fn refused(relation: String, referencing: &Qualified, why: WhyReferenced) -> Error {
    Error::RetainedReferenced { relation, referencing: referencing.to_string(), why }
}

/// Makes sure that nothing points into the partition of a step, in a transaction that nobody waits for. Errors:
/// something does, or that takes longer to see than others may be kept waiting.
pub(super) fn look(transactions: &Transactions<'_>, work: &Work, step: &Step) -> Result<()> {
    for reference in &step.references {
        let points = in_time(step, || {
            transactions.on_user_tables(|| {
                identity::as_owner(work.owner, |scope| {
                    guc::refusing_hidden_rows(|| {
                        scope.one(&question(reference, &step.partition), &[], |row| row.required(1))
                    })
                })
            })
        })?;
        if points {
            let why = WhyReferenced::RowsPoint;
            return Err(refused(step.partition.to_string(), &reference.name, why));
        }
    }
    Ok(())
}

/// Does `work`, which the server cannot do before it has looked for rows that point into the partition.
pub(super) fn in_time<T>(step: &Step, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let milliseconds = settings::lock_timeout_milliseconds();
    deadline::within(milliseconds, work).unwrap_or_else(|| {
        let names: Vec<String> = step.references.iter().map(|each| each.name.to_string()).collect();
        Err(Error::SlowToSee {
            partition: step.partition.to_string(),
            referencing: names.join(", "),
            milliseconds,
        })
    })
}

/// Locks the referencing tables as the server is going to, before the set: whoever writes into one has it first,
/// too. Waits for less than it takes others to look for deadlocks, so that of two it is us who give up.
pub(super) fn lock(step: &Step) {
    for reference in &step.references {
        locks::hold_table(reference.table, TableLock::Share);
    }
}

/// How long to wait for each lock where there are references, in milliseconds.
pub(super) fn patience() -> i32 {
    settings::lock_timeout_milliseconds().min(locks::deadlock_timeout_milliseconds() / 2).max(1)
}
