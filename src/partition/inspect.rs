//! What the views, and the import of pg_partman's sets, ask of any relation: without waiting for
//! anybody's lock, and without a call of anybody's code but as its owner.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::access::{check_owner, needed};
use super::table::{self, Table};
use crate::error::Error;
use crate::pg::guc::Pinned;
use crate::pg::{Oid, Text, called, files, heap, ident, identity, query};

/// For the views.
#[pg_extern(sql = false)]
fn relation_bytes(relation: Oid) -> std::result::Result<i64, ErrorReport> {
    called(|| Ok(files::total_bytes(relation)?))
}

/// Whether a set holds rows outside its default partition, whoever may see them.
#[pg_extern(sql = false)]
fn pg_partman_has_rows(parent: Option<Oid>) -> std::result::Result<bool, ErrorReport> {
    called(|| {
        let _pinned = Pinned::begin();
        let table = Table::read(needed(parent, "parent")?)?;
        check_owner(&table.display(), table.owner)?;
        let partitions = query::rows(
            "SELECT i.inhrelid FROM pg_catalog.pg_inherits i
           JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = i.inhparent
          WHERE i.inhparent = $1 AND i.inhrelid <> p.partdefid",
            &[table.oid.into()],
            |row| row.required(1),
        )?;
        let leaves = table::leaves(partitions)?;
        let holds_rows = identity::as_owner(table.owner, |scope| {
            leaves.iter().try_fold(false, |found, leaf| {
                Ok(found || leaf.is_foreign || heap::holds_rows(scope, leaf.oid)?)
            })
        });
        Ok(holds_rows?)
    })
}

/// The rows of one of pg_partman's own tables, read as its owner: who owns the table can have written code
/// into its indexes.
#[pg_extern(sql = false)]
fn pg_partman_rows(
    relation: Oid,
) -> std::result::Result<SetOfIterator<'static, Text>, ErrorReport> {
    called(|| {
        let _pinned = Pinned::begin();
        let found = query::optional(
            "SELECT c.relowner, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
                pg_catalog.has_table_privilege(c.oid, 'SELECT')
                AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
           FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_catalog.pg_depend d
             ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
           JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_partman'
          WHERE c.oid = $1 AND c.relkind = 'r'",
            &[relation.into()],
            |row| {
                let name =
                    ident::Qualified::new(row.required::<String>(2)?, row.required::<String>(3)?);
                Ok((row.required::<Oid>(1)?, name, row.required::<bool>(4)?))
            },
        )?;
        let (owner, name, may_read) =
            found.ok_or(Error::NoSuchRelation { oid: ident::oid_number(relation) })?;
        if !may_read {
            return Err(Error::MayNotRead { relation: name.to_string() }.into());
        }
        let rows = identity::as_owner(owner, |scope| {
            scope.rows(
                &format!("SELECT pg_catalog.to_jsonb(p)::pg_catalog.text FROM {name} p"),
                &[],
                |row| row.required::<String>(1).map(Text::from),
            )
        })?;
        Ok(SetOfIterator::new(rows))
    })
}
