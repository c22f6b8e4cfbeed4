//! Any partitioned table, managed or not; and names in a schema.

use crate::error::{Error, Result};
use crate::pg::ident::{self, Qualified};
use crate::pg::{Oid, query};

/// How a table is partitioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    Range,
    Hash,
    List,
}

impl Strategy {
    /// As PARTITION BY has it.
    pub(crate) fn keyword(self) -> &'static str {
        match self {
            Self::Range => "RANGE",
            Self::Hash => "HASH",
            Self::List => "LIST",
        }
    }
}

/// A partitioned table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) oid: Oid,
    pub(crate) name: Qualified,
    pub(crate) owner: Oid,
    pub(crate) schema_oid: Oid,
    pub(crate) strategy: Strategy,
    /// Some part of its key is an expression: to read the key is to call the owner's code.
    pub(crate) has_expression_key: bool,
}

impl Table {
    /// Reads a table. Errors: it is not there (42P01), not partitioned, or temporary (42809).
    pub(crate) fn read(oid: Oid) -> Result<Self> {
        query::optional(
            "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relowner,
                    c.relnamespace, c.relkind::pg_catalog.text, pt.partstrat::pg_catalog.text,
                    c.relpersistence = 't', pt.partexprs IS NOT NULL
               FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               LEFT JOIN pg_catalog.pg_partitioned_table pt ON pt.partrelid = c.oid
              WHERE c.oid = $1",
            &[oid.into()],
            |row| {
                let name = Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?);
                let relation = name.to_string();
                let strategy = match row.optional::<String>(6)?.as_deref() {
                    None => {
                        let plain_table = row.required::<String>(5)? == "r";
                        return Err(Error::NotPartitioned { relation, plain_table });
                    }
                    Some("r") => Strategy::Range,
                    Some("h") => Strategy::Hash,
                    Some(_) => Strategy::List,
                };
                if row.required(7)? {
                    return Err(Error::Temporary { relation });
                }
                let (owner, schema_oid) = (row.required(3)?, row.required(4)?);
                let has_expression_key = row.required(8)?;
                Ok(Self { oid, name, owner, schema_oid, strategy, has_expression_key })
            },
        )?
        .ok_or(Error::NoSuchRelation { oid: ident::oid_number(oid) })
    }

    /// For messages and hints.
    pub(crate) fn display(&self) -> String {
        self.name.to_string()
    }

    /// No policy here.
    pub(crate) fn not_managed(&self) -> Error {
        let call = match self.strategy {
            Strategy::Hash => "manage_hash",
            Strategy::Range | Strategy::List => "manage_range",
        };
        Error::NotManaged { relation: self.display(), call }
    }

    /// Makes sure of the strategy that a call is for, and that the key is made of columns. Errors: another
    /// strategy (42809), an expression (55000).
    pub(crate) fn must_be(&self, wanted: Strategy) -> Result<()> {
        if self.strategy != wanted {
            return Err(Error::OtherStrategy {
                relation: self.display(),
                strategy: self.strategy.keyword(),
                wanted: wanted.keyword(),
            });
        }
        match self.has_expression_key {
            true => Err(Error::ExpressionKey { relation: self.display() }),
            false => Ok(()),
        }
    }
}

/// Reads name and schema of relations.
pub(crate) fn names(oids: &[Oid]) -> Result<Vec<(Oid, Qualified)>> {
    query::rows(
        "SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.oid = ANY ($1)",
        &[oids.to_vec().into()],
        |row| {
            Ok((
                row.required(1)?,
                Qualified::new(row.required::<String>(2)?, row.required::<String>(3)?),
            ))
        },
    )
}

/// A relation that has no partitions.
pub(crate) struct Leaf {
    pub(crate) oid: Oid,
    pub(crate) name: Qualified,
    /// It is a foreign table, whose rows only a query can read.
    pub(crate) is_foreign: bool,
}

/// What lies lowest below some relations, or they themselves.
pub(crate) fn leaves(oids: Vec<Oid>) -> Result<Vec<Leaf>> {
    query::rows(
        "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind = 'f', c.oid
           FROM (SELECT top.oid FROM pg_catalog.unnest($1) AS top (oid)
                 UNION
                 SELECT below.relid::pg_catalog.oid FROM pg_catalog.unnest($1) AS top (oid)
                  CROSS JOIN LATERAL pg_catalog.pg_partition_tree(top.oid) below) AS found
           JOIN pg_catalog.pg_class c ON c.oid = found.oid AND c.relkind <> 'p'
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
        &[oids.into()],
        |row| {
            let name = Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?);
            Ok(Leaf { oid: row.required(4)?, name, is_foreign: row.required(3)? })
        },
    )
}

/// A set's default partition.
pub(crate) fn default_partition(parent: Oid) -> Result<Option<Oid>> {
    query::optional(
        "SELECT p.partdefid FROM pg_catalog.pg_partitioned_table p
          WHERE p.partrelid = $1 AND p.partdefid <> 0",
        &[parent.into()],
        |row| row.required(1),
    )
}

/// A table and what lies below it.
pub(crate) fn tree(oid: Oid) -> Result<Vec<Oid>> {
    query::rows(
        "SELECT $1::pg_catalog.oid
         UNION SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree($1) t",
        &[oid.into()],
        |row| row.required(1),
    )
}

/// The name of one relation, if it is still there.
pub(crate) fn name(oid: Oid) -> Result<Option<Qualified>> {
    Ok(names(&[oid])?.into_iter().next().map(|(_, name)| name))
}

/// Which of these names are taken in a schema: by a relation or a type (a table makes both), or by
/// extended statistics.
pub(crate) fn taken(schema: Oid, candidates: Vec<String>) -> Result<Vec<String>> {
    query::rows(
        "SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c
          WHERE c.relnamespace = $1 AND c.relname = ANY ($2::pg_catalog.name[])
         UNION
         SELECT t.typname::pg_catalog.text FROM pg_catalog.pg_type t
          WHERE t.typnamespace = $1 AND t.typname = ANY ($2::pg_catalog.name[])
         UNION
         SELECT s.stxname::pg_catalog.text FROM pg_catalog.pg_statistic_ext s
          WHERE s.stxnamespace = $1 AND s.stxname = ANY ($2::pg_catalog.name[])",
        &[schema.into(), candidates.into()],
        |row| row.required(1),
    )
}
