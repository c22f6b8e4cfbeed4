//! Where a detached table is kept: its schema, with everything that goes with it; and out of every
//! publication that names it.

use std::collections::HashSet;

use crate::calendar::Name;
use crate::error::{Error, Result};
use crate::partition::table::taken;
use crate::pg::ident::{self, Qualified};
use crate::pg::{Oid, encoding, query};

/// What brings one table there.
#[derive(Clone, Debug, Default)]
pub(super) struct Statements {
    /// With the rights of the set's owner.
    as_owner: Vec<String>,
    /// With the rights of the publications' owners.
    pub(super) as_others: Vec<(Oid, String)>,
    pub(super) blocked: Option<Error>,
}

impl Statements {
    pub(super) fn is_empty(&self) -> bool {
        self.as_owner.is_empty() && self.as_others.is_empty() && self.blocked.is_none()
    }

    /// The owner's part.
    pub(super) fn sql(&self) -> String {
        self.as_owner.join("\n")
    }
}

/// Names that this plan has given, in the schema that the tables go to.
#[derive(Default)]
pub(super) struct Relocation {
    given: HashSet<String>,
}

/// A relation that goes along.
struct Part {
    name: Qualified,
    /// `TABLE`, `FOREIGN TABLE`, `INDEX` or `SEQUENCE`.
    kind: &'static str,
}

impl Relocation {
    /// For a table, which may be partitioned in turn. Nothing where it is there already.
    pub(super) fn of(&mut self, table: Oid, to_schema: Option<&str>) -> Result<Statements> {
        let mut statements = Statements { as_others: unpublish(table)?, ..Statements::default() };
        let Some(schema) = to_schema else { return Ok(statements) };
        let parts = parts(table)?;
        if parts.iter().all(|part| part.name.schema == schema) {
            return Ok(statements);
        }
        let Some(schema_oid) = schema_oid(schema)? else {
            statements.blocked = Some(Error::NoSuchSchema { schema: schema.to_owned() });
            return Ok(statements);
        };
        for part in parts.iter().filter(|part| part.name.schema != schema) {
            self.bring(&mut statements, part, schema, schema_oid)?;
        }
        Ok(statements)
    }

    /// SET SCHEMA takes along a table's indexes, and the sequences of its columns (tablecmds.c,
    /// AlterTableNamespaceInternal); each has to have a name that is free there.
    fn bring(
        &mut self,
        statements: &mut Statements,
        part: &Part,
        schema: &str,
        schema_oid: Oid,
    ) -> Result<()> {
        let name = self.free_name(schema_oid, &part.name.name)?;
        if name != part.name.name {
            let kind = part.kind;
            statements.as_owner.push(format!(
                "ALTER {kind} {} RENAME TO {};",
                part.name,
                ident::name(&name)
            ));
        }
        if part.kind.ends_with("TABLE") {
            let now = Qualified::new(part.name.schema.clone(), name);
            let schema = ident::name(schema);
            statements.as_owner.push(format!("ALTER {} {now} SET SCHEMA {schema};", part.kind));
        }
        Ok(())
    }

    /// The name itself, or with the next free number at its end.
    fn free_name(&mut self, schema: Oid, wanted: &str) -> Result<String> {
        let wanted = Name::new(wanted, String::new());
        let mut number = 0;
        loop {
            let name = wanted.fit(number, encoding::bytes_of);
            if !self.given.contains(&name) && taken(schema, vec![name.clone()])?.is_empty() {
                self.given.insert(name.clone());
                return Ok(name);
            }
            number += 1;
        }
    }
}

fn schema_oid(schema: &str) -> Result<Option<Oid>> {
    query::optional(
        "SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = $1",
        &[schema.into()],
        |row| row.required(1),
    )
}

/// A table and what lies below it, each after what goes along with it, which is renamed where it is.
fn parts(table: Oid) -> Result<Vec<Part>> {
    query::rows(
        "WITH below (oid) AS (
             SELECT $1::pg_catalog.oid
             UNION SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree($1) t)
         SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text
           FROM (SELECT b.oid, b.oid AS goes_with, 1 AS place FROM below b
                 UNION ALL
                 SELECT x.indexrelid, b.oid, 0 FROM below b
                   JOIN pg_catalog.pg_index x ON x.indrelid = b.oid
                 UNION ALL
                 SELECT s.oid, b.oid, 0 FROM below b
                   JOIN pg_catalog.pg_depend d
                     ON d.refobjid = b.oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
                    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                   JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S') r
           JOIN pg_catalog.pg_class c ON c.oid = r.oid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          ORDER BY r.goes_with, r.place, r.oid",
        &[table.into()],
        |row| {
            let kind = match row.required::<String>(3)?.as_str() {
                "i" | "I" => "INDEX",
                "f" => "FOREIGN TABLE",
                "S" => "SEQUENCE",
                _ => "TABLE",
            };
            let name = Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?);
            Ok(Part { name, kind })
        },
    )
}

/// Takes a table, and what lies below it, out of the publications that name it: whose each is, and the
/// statement. FOR ALL TABLES and FOR TABLES IN SCHEMA name nothing.
fn unpublish(table: Oid) -> Result<Vec<(Oid, String)>> {
    query::rows(
        "SELECT p.pubowner, p.pubname::pg_catalog.text, n.nspname::pg_catalog.text,
                c.relname::pg_catalog.text
           FROM pg_catalog.pg_publication_rel r
           JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
           JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE r.prrelid = $1
             OR r.prrelid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree($1) t)
          ORDER BY p.pubname, c.oid",
        &[table.into()],
        |row| {
            let table = Qualified::new(row.required::<String>(3)?, row.required::<String>(4)?);
            let publication = ident::name(&row.required::<String>(2)?);
            Ok((row.required(1)?, format!("ALTER PUBLICATION {publication} DROP TABLE {table};")))
        },
    )
}
