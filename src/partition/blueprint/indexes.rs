//! Keys and indexes that ATTACH PARTITION does not make: a template's own, and the one that the
//! parent's replica identity names, which has to have a name that is known beforehand.

use crate::error::Result;
use crate::pg::ident::{self, Qualified};
use crate::pg::{Oid, query};

/// A key or an index, ready to be made on a partition.
pub(super) struct Index {
    kind: Kind,
    /// What a key's definition leaves out: `name = 'value'` each.
    storage: Vec<String>,
    /// What both definitions leave out.
    tablespace: Option<String>,
}

enum Kind {
    /// `PRIMARY KEY (a)` and the like.
    Key(String),
    /// From USING on.
    Plain { unique: bool, definition: String },
}

impl Index {
    /// The end of its name.
    pub(super) fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Key(_) => "_key",
            Kind::Plain { .. } => "_idx",
        }
    }

    /// The statements that make it on a partition. The index is still empty when it is moved.
    pub(super) fn statements(&self, partition: &Qualified, name: &str) -> Vec<String> {
        let index = Qualified::new(partition.schema.clone(), name);
        let name = ident::name(name);
        let mut statements = vec![match &self.kind {
            Kind::Key(definition) => {
                format!("ALTER TABLE {partition} ADD CONSTRAINT {name} {definition}")
            }
            Kind::Plain { unique, definition } => {
                let unique = if *unique { "UNIQUE " } else { "" };
                format!("CREATE {unique}INDEX {name} ON {partition} {definition}")
            }
        }];
        if !self.storage.is_empty() {
            statements.push(format!("ALTER INDEX {index} SET ({})", self.storage.join(", ")));
        }
        if let Some(tablespace) = &self.tablespace {
            statements.push(format!("ALTER INDEX {index} SET TABLESPACE {tablespace}"));
        }
        statements
    }

    fn read(row: &query::Row<'_>) -> Result<Self> {
        let options = row.optional::<Vec<String>>(4)?.unwrap_or_default();
        let kind = match row.optional(1)? {
            Some(constraint) => Kind::Key(constraint),
            None => Kind::Plain { unique: row.required(2)?, definition: row.required(3)? },
        };
        let storage = match kind {
            Kind::Key(_) => options.iter().map(|o| super::storage_option("", o)).collect(),
            Kind::Plain { .. } => Vec::new(),
        };
        let tablespace = row.optional::<String>(5)?.map(|name| ident::name(&name));
        Ok(Self { kind, storage, tablespace })
    }
}

/// The indexes of one table, as [`Index::read`] wants them. A definition from USING on: what
/// precedes it is rebuilt exactly as pg_get_indexdef_worker (src/backend/utils/adt/ruleutils.c)
/// writes it, and cut off.
macro_rules! indexes_sql {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "SELECT pg_catalog.pg_get_constraintdef(k.oid) AS constraint_definition, i.indisunique,
                   pg_catalog.substr(pg_catalog.pg_get_indexdef(i.indexrelid), 1 + pg_catalog.length(
                       pg_catalog.format('CREATE %sINDEX %I ON %s%I.%I ',
                           CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, ic.relname,
                           CASE WHEN ic.relkind = 'I' THEN 'ONLY ' ELSE '' END, tn.nspname, tc.relname)))
                       AS definition,
                   ic.reloptions, ts.spcname::pg_catalog.text AS tablespace, i.indrelid, i.indisreplident,
                   i.indisvalid, ic.relname
              FROM pg_catalog.pg_index i
              JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
              JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid
              JOIN pg_catalog.pg_namespace tn ON tn.oid = tc.relnamespace
              LEFT JOIN pg_catalog.pg_tablespace ts ON ts.oid = ic.reltablespace
              LEFT JOIN pg_catalog.pg_constraint k
                ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')",
            $after
        )
    };
}

/// Keys and indexes of the template that the parent does not have; keys first. Where the parent has a primary key
/// it is that: a table has one.
pub(super) fn of_template(template: Oid, parent: Oid) -> Result<Vec<Index>> {
    query::rows(
        indexes_sql!(
            "WITH x AS (",
            ")
             SELECT own.* FROM x own
              WHERE own.indrelid = $1 AND own.indisvalid
                AND NOT (coalesce(own.constraint_definition LIKE 'PRIMARY KEY %', false)
                         AND EXISTS (SELECT FROM x had
                                      WHERE had.indrelid = $2
                                        AND had.constraint_definition LIKE 'PRIMARY KEY %'))
                AND NOT EXISTS (SELECT FROM x had
                                 WHERE had.indrelid = $2
                                   AND had.constraint_definition IS NOT DISTINCT FROM
                                       own.constraint_definition
                                   AND (own.constraint_definition IS NOT NULL
                                        OR had.definition = own.definition
                                           AND had.indisunique = own.indisunique))
              ORDER BY own.constraint_definition IS NULL, own.relname"
        ),
        &[template.into(), parent.into()],
        Index::read,
    )
}

/// What logical replication finds the parent's rows by.
pub(super) enum ReplicaIdentity {
    Default,
    Full,
    Nothing,
    Index(Index),
}

/// The parent's replica identity, which a partition does not inherit.
pub(super) fn replica_identity(parent: Oid) -> Result<ReplicaIdentity> {
    let kind: Option<String> = query::optional(
        "SELECT c.relreplident::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid = $1",
        &[parent.into()],
        |row| row.required(1),
    )?;
    Ok(match kind.as_deref() {
        Some("f") => ReplicaIdentity::Full,
        Some("n") => ReplicaIdentity::Nothing,
        Some("i") => {
            let index = query::optional(
                indexes_sql!("SELECT x.* FROM (", ") x WHERE x.indrelid = $1 AND x.indisreplident"),
                &[parent.into()],
                Index::read,
            )?;
            // Its index is gone: the parent has none then, and the server treats it so.
            index.map_or(ReplicaIdentity::Nothing, ReplicaIdentity::Index)
        }
        _ => ReplicaIdentity::Default,
    })
}
