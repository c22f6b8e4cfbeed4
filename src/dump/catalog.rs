//! `steward.restored`, and the tables that its rows go to. All of it runs as steward.

use crate::error::Result;
use crate::jobs::{self, Kind};
use crate::pg::ident::Qualified;
use crate::pg::{Oid, query};

/// A set that a dump has brought, and whose table is there.
pub(super) struct Restored {
    pub(super) table: Oid,
    pub(super) name: Qualified,
    is_range: bool,
    policy: String,
    job: Option<String>,
    retired: Option<String>,
}

/// What became of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The table had a policy already, which stays.
    pub(super) was_managed: bool,
    /// Its template is not there, or is not its owner's.
    pub(super) lost_template: bool,
    /// How many tables that retention had detached are not there.
    pub(super) lost_retired: i64,
}

/// Whether there is nothing to do, as nearly always.
pub(super) fn is_empty() -> Result<bool> {
    query::one("SELECT NOT EXISTS (SELECT FROM steward.restored)", &[], |row| row.required(1))
}

/// Takes out the sets whose table is there: of that name, and partitioned as it was.
pub(super) fn take_found() -> Result<Vec<Restored>> {
    query::changed_rows(
        "DELETE FROM steward.restored r
          USING pg_catalog.pg_namespace n
           JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
           JOIN pg_catalog.pg_partitioned_table k ON k.partrelid = c.oid
          WHERE n.nspname = r.schema_name AND c.relname = r.table_name
            AND k.partstrat = CASE r.strategy WHEN 'range' THEN 'r' ELSE 'h' END::pg_catalog.\"char\"
         RETURNING c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
                   r.strategy = 'range', r.policy::pg_catalog.text, r.job::pg_catalog.text,
                   r.retired::pg_catalog.text",
        &[],
        |row| {
            Ok(Restored {
                table: row.required(1)?,
                name: Qualified::new(row.required::<String>(2)?, row.required::<String>(3)?),
                is_range: row.required(4)?,
                policy: row.required(5)?,
                job: row.optional(6)?,
                retired: row.optional(7)?,
            })
        },
    )
}

/// Takes out the rest.
pub(super) fn take_lost() -> Result<Vec<Qualified>> {
    query::changed_rows(
        "DELETE FROM steward.restored r
         RETURNING r.schema_name::pg_catalog.text, r.table_name::pg_catalog.text",
        &[],
        |row| Ok(Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?)),
    )
}

/// Gives a table the policy, the job and the notes that it was dumped with.
pub(super) fn put_in_place(set: &Restored) -> Result<Outcome> {
    match &set.job {
        Some(job) => jobs::restore(set.table, job)?,
        None => jobs::create(Kind::Partition, set.table)?,
    }
    let kept = match set.is_range {
        true => keep_range(set)?,
        false => keep_hash(set)?,
    };
    let Some(lost_template) = kept else {
        return Ok(Outcome { was_managed: true, ..Outcome::default() });
    };
    let lost_retired = match &set.retired {
        Some(retired) => keep_retired(set.table, retired)?,
        None => 0,
    };
    Ok(Outcome { was_managed: false, lost_template, lost_retired })
}

/// The template that a policy $2 of the table $1 names, if that may be one: what its owner writes into its
/// indexes runs with the rights of the set's owner.
macro_rules! template_sql {
    () => {
        "(SELECT t.oid FROM pg_catalog.pg_class t JOIN pg_catalog.pg_class s ON s.oid = $1
           WHERE t.oid = steward.named_in_dump($2::pg_catalog.text::pg_catalog.jsonb -> 'template')
             AND t.relkind = 'r' AND t.relowner = s.relowner)"
    };
}

/// None: the table has a policy. True: its template is lost.
fn keep_range(set: &Restored) -> Result<Option<bool>> {
    let kept = query::changed_rows(
        concat!(
            "INSERT INTO steward.range_policy AS p
             SELECT d.* FROM pg_catalog.jsonb_populate_record(NULL::steward.range_policy,
                 $2::pg_catalog.text::pg_catalog.jsonb || pg_catalog.jsonb_build_object(
                     'parent', $1::pg_catalog.oid, 'template', ",
            template_sql!(),
            ", 'subpartition_key',
                     (SELECT a.attnum FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = $1 AND NOT a.attisdropped
                         AND a.attname = ($2::pg_catalog.text::pg_catalog.jsonb
                                          ->> 'subpartition_by')::pg_catalog.name))) d
             ON CONFLICT (parent) DO NOTHING
             RETURNING p.template IS NULL AND $2::pg_catalog.text::pg_catalog.jsonb ? 'template'"
        ),
        &[set.table.into(), set.policy.as_str().into()],
        |row| row.required(1),
    )?;
    Ok(kept.into_iter().next())
}

/// The same of a hash set.
fn keep_hash(set: &Restored) -> Result<Option<bool>> {
    let kept = query::changed_rows(
        concat!(
            "INSERT INTO steward.hash_policy AS p
             SELECT d.* FROM pg_catalog.jsonb_populate_record(NULL::steward.hash_policy,
                 $2::pg_catalog.text::pg_catalog.jsonb || pg_catalog.jsonb_build_object(
                     'parent', $1::pg_catalog.oid, 'template', ",
            template_sql!(),
            ")) d
             ON CONFLICT (parent) DO NOTHING
             RETURNING p.template IS NULL AND $2::pg_catalog.text::pg_catalog.jsonb ? 'template'"
        ),
        &[set.table.into(), set.policy.as_str().into()],
        |row| row.required(1),
    )?;
    Ok(kept.into_iter().next())
}

/// What retention has noted of tables that it has detached; how many of them are not there.
fn keep_retired(parent: Oid, retired: &str) -> Result<i64> {
    query::change(
        "INSERT INTO steward.retired_partition
         SELECT d.* FROM pg_catalog.jsonb_array_elements($2::pg_catalog.text::pg_catalog.jsonb) e (note)
          CROSS JOIN LATERAL (SELECT steward.named_in_dump(e.note -> 'partition') AS oid) t
          CROSS JOIN LATERAL pg_catalog.jsonb_populate_record(NULL::steward.retired_partition,
              e.note || pg_catalog.jsonb_build_object('parent', $1::pg_catalog.oid,
                                                      'partition', t.oid)) d
          WHERE t.oid IS NOT NULL
             ON CONFLICT (partition) DO NOTHING",
        &[parent.into(), retired.into()],
    )?;
    query::one(
        "SELECT pg_catalog.count(*)
           FROM pg_catalog.jsonb_array_elements($1::pg_catalog.text::pg_catalog.jsonb) e (note)
          WHERE steward.named_in_dump(e.note -> 'partition') IS NULL",
        &[retired.into()],
        |row| row.required(1),
    )
}
