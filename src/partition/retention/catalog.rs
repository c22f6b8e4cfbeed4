//! The facts about periods that leave: what we wrote down of them, and what the server's catalogs say.

use std::collections::HashMap;

use pgrx::datum::TimestampWithTimeZone;

use super::plan::Standing;
use crate::error::{Error, Result};
use crate::partition::range::{Period, Retention, RetentionAction};
use crate::pg::ident::Qualified;
use crate::pg::{Oid, clock, identity, query};

/// A period that is on its way out of a set, or out already.
#[derive(Clone, Debug)]
pub(super) struct RetiredPartition {
    pub(super) oid: Oid,
    pub(super) name: Qualified,
    pub(super) standing: Standing,
    /// What it was marked for; None: somebody else began to detach it.
    pub(super) fate: Option<RetentionAction>,
    pub(super) to_schema: Option<String>,
    pub(super) upper: String,
    pub(super) ends: i128,
    pub(super) archived: bool,
    /// When the archive function is asked again.
    pub(super) ask_at: Option<i64>,
}

/// Those of a set that are not settled: pending, or detached with something left to be done.
pub(super) fn leaving(parent: Oid) -> Result<Vec<RetiredPartition>> {
    identity::as_steward(|| {
        query::rows(
            "SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
                    i.inhrelid IS NOT NULL, q.action, q.to_schema::pg_catalog.text, q.upper_bound,
                    q.ends::pg_catalog.text, q.archived_at IS NOT NULL, q.next_attempt_at
               FROM (SELECT q.partition::pg_catalog.oid FROM steward.retired_partition q
                      WHERE q.parent = $1 AND NOT q.settled
                     UNION
                     SELECT i.inhrelid FROM pg_catalog.pg_inherits i
                      WHERE i.inhparent = $1 AND i.inhdetachpending) AS found (oid)
               JOIN pg_catalog.pg_class c ON c.oid = found.oid
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
               LEFT JOIN steward.retired_partition q ON q.partition = c.oid
              WHERE i.inhrelid IS NULL OR (i.inhparent = $1 AND i.inhdetachpending)
              ORDER BY q.ends NULLS FIRST",
            &[parent.into()],
            |row| {
                let standing = match row.required(4)? {
                    true => Standing::Pending,
                    false => Standing::Detached,
                };
                let fate = row.optional::<String>(5)?;
                let ends = row.optional::<String>(8)?;
                let ask_at = row.optional::<TimestampWithTimeZone>(10)?;
                Ok(RetiredPartition {
                    oid: row.required(1)?,
                    name: Qualified::new(row.required::<String>(2)?, row.required::<String>(3)?),
                    standing,
                    fate: fate.as_deref().and_then(RetentionAction::named),
                    to_schema: row.optional(6)?,
                    upper: row.optional(7)?.unwrap_or_default(),
                    ends: ends.and_then(|text| text.parse().ok()).unwrap_or(i128::MAX),
                    archived: row.required(9)?,
                    ask_at: ask_at.map(|at| at.into_inner()),
                })
            },
        )
    })
}

/// Writes down that a period is about to leave, and what for.
pub(super) fn mark(parent: Oid, period: &Period, policy: &Retention, settled: bool) -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "INSERT INTO steward.retired_partition
                    (partition, parent, lower_bound, upper_bound, ends, action, to_schema, settled)
             VALUES ($1, $2, $3, $4, $5::pg_catalog.text::pg_catalog.numeric, $6, $7, $8)
             ON CONFLICT (partition) DO UPDATE
                SET parent = excluded.parent, lower_bound = excluded.lower_bound,
                    upper_bound = excluded.upper_bound, ends = excluded.ends,
                    action = excluded.action, to_schema = excluded.to_schema,
                    settled = excluded.settled, archived_at = NULL, asked_at = NULL, attempts = 0,
                    next_attempt_at = NULL, sqlstate = NULL, error_message = NULL",
            &[
                period.oid.into(),
                parent.into(),
                period.lower.as_str().into(),
                period.upper.as_str().into(),
                period.ends.to_string().into(),
                policy.fate.as_str().into(),
                policy.to_schema.as_deref().into(),
                settled.into(),
            ],
        )
        .map(|_| ())
    })
}

/// Forgets those of a set that are partitions like any other, or gone without a word: no event trigger
/// fires where session_replication_role is replica. An OID that nobody has may be somebody else's one
/// day; in a restored dump it may be so at once. For when no run works on the set: what that has
/// announced is still a partition.
pub(crate) fn unmark(parent: Oid) -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "DELETE FROM steward.retired_partition q
              WHERE q.parent = $1
                AND (EXISTS (SELECT FROM pg_catalog.pg_inherits i
                              WHERE i.inhrelid = q.partition
                                AND NOT (i.inhparent = $1 AND i.inhdetachpending))
                     OR NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = q.partition))",
            &[parent.into()],
        )
        .map(|_| ())
    })
}

/// Forgets those of any set that are gone without a word.
pub(crate) fn forget_gone() -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "DELETE FROM steward.retired_partition q
              WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = q.partition)",
            &[],
        )
        .map(|_| ())
    })
}

/// Whether the archive function has said true.
pub(super) fn is_archived(partition: Oid) -> Result<bool> {
    identity::as_steward(|| {
        query::one(
            "SELECT EXISTS (SELECT FROM steward.retired_partition q
                             WHERE q.partition = $1 AND q.archived_at IS NOT NULL)",
            &[partition.into()],
            |row| row.required(1),
        )
    })
}

/// Notes that the archive function is about to be called, unless somebody was faster and it has said
/// true meanwhile. True: it was before, and its process was
/// ended without an answer.
pub(super) fn ask(partition: Oid) -> Result<bool> {
    identity::as_steward(|| {
        let unanswered = query::optional(
            "SELECT q.asked_at IS NOT NULL FROM steward.retired_partition q WHERE q.partition = $1",
            &[partition.into()],
            |row| row.required::<bool>(1),
        )?;
        query::change(
            "UPDATE steward.retired_partition SET asked_at = pg_catalog.clock_timestamp()
              WHERE partition = $1 AND archived_at IS NULL",
            &[partition.into()],
        )?;
        Ok(unanswered.unwrap_or_default())
    })
}

/// It was not called after all.
pub(super) fn not_asked(partition: Oid) -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "UPDATE steward.retired_partition SET asked_at = NULL WHERE partition = $1",
            &[partition.into()],
        )
        .map(|_| ())
    })
}

/// The archive function has said true.
pub(super) fn note_archived(partition: Oid) -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "UPDATE steward.retired_partition
                SET archived_at = pg_catalog.clock_timestamp(), asked_at = NULL,
                    next_attempt_at = NULL, sqlstate = NULL, error_message = NULL
              WHERE partition = $1",
            &[partition.into()],
        )
        .map(|_| ())
    })
}

/// How often the archive function has failed before.
pub(super) fn failures(partition: Oid) -> Result<u32> {
    identity::as_steward(|| {
        query::optional(
            "SELECT q.attempts FROM steward.retired_partition q WHERE q.partition = $1",
            &[partition.into()],
            |row| Ok(row.required::<i32>(1)?.unsigned_abs()),
        )
        .map(Option::unwrap_or_default)
    })
}

/// The archive function has failed, or not said true; it is asked again then.
pub(super) fn note_failure(partition: Oid, error: &Error, ask_at: i64) -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "UPDATE steward.retired_partition
                SET attempts = attempts + 1, asked_at = NULL, next_attempt_at = $2,
                    sqlstate = $3, error_message = $4
              WHERE partition = $1",
            &[
                partition.into(),
                clock::timestamp(ask_at)?.into(),
                error.sqlstate().into(),
                error.recorded().into(),
            ],
        )
        .map(|_| ())
    })
}

/// Nothing is left to be done with it.
pub(super) fn done(partition: Oid) -> Result<()> {
    identity::as_steward(|| {
        query::change(
            "UPDATE steward.retired_partition SET settled = true WHERE partition = $1",
            &[partition.into()],
        )
        .map(|_| ())
    })
}

/// Which of these are foreign tables.
pub(super) fn foreign_tables(oids: Vec<Oid>) -> Result<Vec<Oid>> {
    query::rows(
        "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1) AND c.relkind = 'f'",
        &[oids.into()],
        |row| row.required(1),
    )
}

/// Tables whose foreign keys point to one of these periods by itself: by what they point to.
pub(super) fn referencing(periods: Vec<Oid>) -> Result<HashMap<Oid, String>> {
    let found = query::rows(
        "SELECT k.confrelid, k.conrelid::pg_catalog.regclass::pg_catalog.text
           FROM pg_catalog.pg_constraint k
          WHERE k.contype = 'f'
            AND k.confrelid = ANY ($1) AND k.conparentid = 0
          ORDER BY k.oid DESC",
        &[periods.into()],
        |row| Ok((row.required(1)?, row.required(2)?)),
    )?;
    Ok(found.into_iter().collect())
}

/// Which of these the set's owner could detach, but do no more with, and whose they are: ALTER TABLE … OWNER
/// TO of a set hands over none of its partitions. An owner of the schema may drop what is in it (dropcmds.c,
/// RangeVarCallbackForDropRelation).
pub(super) fn others(
    oids: Vec<Oid>,
    owner: Oid,
    only_dropped: bool,
) -> Result<HashMap<Oid, String>> {
    let found = query::rows(
        "SELECT c.oid, pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.oid = ANY ($1) AND NOT pg_catalog.pg_has_role($2, c.relowner, 'USAGE')
            AND NOT ($3 AND pg_catalog.pg_has_role($2, n.nspowner, 'USAGE'))",
        &[oids.into(), owner.into(), only_dropped.into()],
        |row| Ok((row.required(1)?, row.required(2)?)),
    )?;
    Ok(found.into_iter().collect())
}

/// Tables that a set's foreign keys point to, as SQL writes them.
pub(super) fn referenced(parent: Oid) -> Result<Vec<String>> {
    query::rows(
        "SELECT DISTINCT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
           FROM pg_catalog.pg_constraint k
           JOIN pg_catalog.pg_class c ON c.oid = k.confrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE k.conrelid = $1 AND k.contype = 'f' AND k.confrelid <> $1
          ORDER BY 1, 2",
        &[parent.into()],
        |row| {
            let name = Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?);
            Ok(name.to_string())
        },
    )
}

/// Whether its DETACH … CONCURRENTLY was broken off half way.
pub(super) fn is_pending(parent: Oid, partition: Oid) -> Result<bool> {
    query::one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_inherits i
                         WHERE i.inhrelid = $2 AND i.inhparent = $1 AND i.inhdetachpending)",
        &[parent.into(), partition.into()],
        |row| row.required(1),
    )
}

/// A partition's name now, and whether it is one still; None: it is gone.
pub(super) fn state(partition: Oid) -> Result<Option<(Qualified, bool)>> {
    query::optional(
        "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relispartition
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.oid = $1",
        &[partition.into()],
        |row| {
            let name = Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?);
            Ok((name, row.required(3)?))
        },
    )
}

/// A function that is asked whether a table is archived.
pub(super) struct ArchiveFunction {
    pub(super) oid: Oid,
    pub(super) name: Qualified,
}

/// A function's name and argument type, as they are stored; None: there is none of that OID.
pub(super) fn signature(function: Oid) -> Result<Option<String>> {
    query::optional(
        "SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text FROM pg_catalog.pg_proc p
          WHERE p.oid = $1",
        &[function.into()],
        |row| row.required(1),
    )
}

/// A function that may be asked whether a table is archived. Errors: there is none, it does not answer yes
/// or no (22023), the set's owner may not execute it, or it is somebody else's (42501), who could have it
/// do anything with the rights of the set's owner.
pub(super) fn archive_function(
    relation: &str,
    signature: &str,
    owner: Oid,
) -> Result<ArchiveFunction> {
    let invalid = |problem: String| Error::InvalidArgument {
        relation: relation.to_owned(),
        argument: "archive_function",
        problem,
        hint: "It takes a regclass and returns a boolean, for example \
               public.archive(regclass)."
            .into(),
    };
    let found = query::optional(
        "SELECT n.nspname::pg_catalog.text, p.proname::pg_catalog.text,
                p.prokind = 'f' AND NOT p.proretset AND p.pronargs = 1
                AND p.prorettype = 'pg_catalog.bool'::pg_catalog.regtype
                AND p.proargtypes[0] = 'pg_catalog.regclass'::pg_catalog.regtype,
                p.proowner = $2 OR r.rolsuper, r.rolname::pg_catalog.text, p.oid,
                pg_catalog.has_function_privilege($2, p.oid, 'EXECUTE')
           FROM pg_catalog.pg_proc p
           JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
           JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
          WHERE p.oid = pg_catalog.to_regprocedure($1)",
        &[signature.into(), owner.into()],
        |row| {
            Ok((
                Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?),
                row.required::<bool>(3)?,
                row.required::<bool>(4)?,
                row.required::<String>(5)?,
                row.required::<Oid>(6)?,
                row.required::<bool>(7)?,
            ))
        },
    )?;
    match found {
        None => Err(invalid(format!("there is no function {signature}"))),
        Some((_, false, ..)) => {
            Err(invalid(format!("{signature} is no function (regclass) RETURNS boolean")))
        }
        Some((_, _, false, function_owner, ..)) => Err(Error::FunctionOwner {
            relation: relation.to_owned(),
            function: signature.to_owned(),
            function_owner,
            owner: identity::role_name(owner)?,
        }),
        Some((.., false)) => Err(Error::MayNotExecute {
            function: signature.to_owned(),
            owner: identity::role_name(owner)?,
        }),
        Some((name, true, true, _, oid, true)) => Ok(ArchiveFunction { oid, name }),
    }
}
