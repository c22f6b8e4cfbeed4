//! How a new partition is made like its parent (architecture.md, rule 7).
//!
//! `CREATE TABLE … (LIKE …)` copies columns with their storage and compression, defaults, generated
//! columns, CHECK constraints, extended statistics and comments; `ATTACH PARTITION` adds indexes,
//! keys, foreign keys and row triggers (src/backend/commands/tablecmds.c, ATExecAttachPartition).
//! Here is the rest.

mod columns;
mod indexes;
mod privileges;

use columns::Statistics;
use indexes::{Index, ReplicaIdentity};
use privileges::Privileges;

use super::table::Table;
use crate::calendar::Name;
use crate::calendar::label;
use crate::error::Result;
use crate::pg::ident::{self, Qualified};
use crate::pg::{Oid, query};

/// What every partition of one set has in common; read once a plan.
pub(super) struct Blueprint {
    parent: Qualified,
    unlogged: bool,
    access_method: Option<String>,
    /// `name = 'value'` each.
    storage: Vec<String>,
    tablespace: Option<String>,
    /// `ALTER COLUMN …` each.
    columns: Vec<String>,
    privileges: Privileges,
    /// Those that LIKE does not copy.
    statistics: Vec<Statistics>,
    /// Keys and indexes that only the template has.
    indexes: Vec<Index>,
    replica_identity: ReplicaIdentity,
    /// The default partition and what lies below it.
    default_partition: Vec<String>,
    /// Tables that the parent's foreign keys point to, or whose foreign keys point to it.
    foreign: Vec<String>,
    /// Whether one of its foreign keys points to itself.
    references_itself: bool,
    /// Each partition is itself spread over so many by hash.
    subpartitions: Option<Subpartitions>,
    /// Said in the step's reason.
    pub(super) remark: Option<&'static str>,
}

/// How the partitions of a set are partitioned in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subpartitions {
    /// The column whose hash decides, unquoted.
    pub(super) column: String,
    /// Into how many.
    pub(super) count: u32,
}

/// Where a partition gets the parent's indexes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexes {
    /// ATTACH PARTITION makes them: the table is empty.
    ByAttach,
    /// LIKE copies them; ATTACH PARTITION finds them and takes them over
    /// (src/backend/commands/tablecmds.c, AttachPartitionEnsureIndexes).
    AtOnce,
}

/// The statements of one partition.
pub(super) struct Parts {
    /// Make it, complete; nobody sees it yet.
    pub(super) make: Vec<String>,
    /// ATTACH PARTITION.
    pub(super) attach: String,
    /// What has to wait until it is attached.
    pub(super) finish: Vec<String>,
}

impl Parts {
    fn in_order(self) -> Vec<String> {
        let Self { mut make, attach, finish } = self;
        make.push(attach);
        make.extend(finish);
        make
    }
}

impl Blueprint {
    /// Reads what the parent, its newest partition and the template give.
    pub(super) fn read(
        parent: &Table,
        newest: Option<Oid>,
        template: Option<Oid>,
        subpartitions: Option<Subpartitions>,
    ) -> Result<Self> {
        let (template, remark) = usable_template(parent, template)?;
        // The template, else the newest sibling, says what a parent cannot.
        let (unlogged, storage, model_access_method) = match template.or(newest) {
            Some(model) => physical(model)?,
            None => (false, Vec::new(), None),
        };
        let own_access_method = access_method_of_parent(parent.oid)?;
        Ok(Self {
            parent: parent.name.clone(),
            unlogged,
            access_method: own_access_method
                .or(template.and(model_access_method))
                .map(|name| ident::name(&name)),
            storage,
            tablespace: tablespace(parent.oid)?,
            columns: columns::actions(parent.oid)?,
            statistics: columns::statistics(parent.oid)?,
            privileges: Privileges::read(parent, template)?,
            indexes: template
                .map_or(Ok(Vec::new()), |template| indexes::of_template(template, parent.oid))?,
            replica_identity: indexes::replica_identity(parent.oid)?,
            default_partition: tables(DEFAULT_SQL, parent.oid)?,
            foreign: tables(FOREIGN_SQL, parent.oid)?,
            references_itself: references_itself(parent.oid)?,
            subpartitions,
            remark,
        })
    }

    /// The statements that make and attach one partition; `bound` is what follows its name in
    /// ATTACH PARTITION. `wanted` is the partition's name before it was made to fit; `free_name` picks
    /// a name that is not taken in the schema.
    pub(super) fn statements(
        &self,
        partition: &Qualified,
        wanted: &Name,
        bound: &str,
        free_name: impl FnMut(&Name) -> Result<String>,
    ) -> Result<Vec<String>> {
        Ok(self.parts(partition, wanted, bound, Indexes::ByAttach, free_name)?.in_order())
    }

    /// The same for a partition that gets rows before it is attached: it has the parent's indexes
    /// from the beginning, for to build them on a full table is nothing to do while others wait.
    pub(super) fn parts_to_fill(
        &self,
        partition: &Qualified,
        wanted: &Name,
        bound: &str,
        free_name: impl FnMut(&Name) -> Result<String>,
    ) -> Result<Parts> {
        // An index that the replica identity names is made under a name of its own; copied along
        // with the others it would be there twice. Then it is ATTACH that builds the rest.
        let indexes = match self.replica_identity {
            ReplicaIdentity::Index(_) => Indexes::ByAttach,
            _ => Indexes::AtOnce,
        };
        self.parts(partition, wanted, bound, indexes, free_name)
    }

    fn parts(
        &self,
        partition: &Qualified,
        wanted: &Name,
        bound: &str,
        indexes: Indexes,
        mut free_name: impl FnMut(&Name) -> Result<String>,
    ) -> Result<Parts> {
        let attach = format!("ALTER TABLE {} ATTACH PARTITION {partition} {bound}", self.parent);
        let Some(subpartitions) = &self.subpartitions else {
            let (make, identity) = self.leaf(partition, indexes, &mut free_name)?;
            return Ok(Parts { make, attach, finish: identity.into_iter().collect() });
        };
        // Complete before it is attached: only then does anybody see it.
        let mut make = vec![self.create(partition, Some(subpartitions), indexes)];
        let alter = |column: &String| format!("ALTER TABLE {partition} {column}");
        make.extend(self.columns.iter().map(alter));
        make.extend(self.privileges.statements(partition));
        let mut finish = Vec::new();
        for remainder in 0..subpartitions.count {
            let leaf = free_name(&wanted.followed_by(&label::remainder_suffix(remainder)))?;
            let leaf = Qualified::new(partition.schema.clone(), leaf);
            let (made, identity) = self.leaf(&leaf, Indexes::ByAttach, &mut free_name)?;
            make.extend(made);
            make.push(format!(
                "ALTER TABLE {partition} ATTACH PARTITION {leaf} FOR VALUES WITH \
                 (modulus {}, remainder {remainder})",
                subpartitions.count
            ));
            finish.extend(identity);
        }
        Ok(Parts { make, attach, finish })
    }

    /// The statements that make a table for rows, and the one that is for after it is attached.
    fn leaf(
        &self,
        table: &Qualified,
        indexes: Indexes,
        free_name: &mut impl FnMut(&Name) -> Result<String>,
    ) -> Result<(Vec<String>, Option<String>)> {
        let mut statements = vec![self.create(table, None, indexes)];
        let mut name = |suffix: &str| free_name(&Name::new(&table.name, suffix.into()));
        for column in &self.columns {
            statements.push(format!("ALTER TABLE {table} {column}"));
        }
        for one in &self.statistics {
            statements.extend(one.statements(table, &name("_stat")?));
        }
        for index in &self.indexes {
            statements.extend(index.statements(table, &name(index.suffix())?));
        }
        let identity = match &self.replica_identity {
            ReplicaIdentity::Default => None,
            ReplicaIdentity::Full => Some("FULL".to_owned()),
            ReplicaIdentity::Nothing => Some("NOTHING".to_owned()),
            ReplicaIdentity::Index(index) => {
                let name = name(index.suffix())?;
                statements.extend(index.statements(table, &name));
                Some(format!("USING INDEX {}", ident::name(&name)))
            }
        };
        statements.extend(self.privileges.statements(table));
        let identity =
            identity.map(|identity| format!("ALTER TABLE {table} REPLICA IDENTITY {identity}"));
        Ok((statements, identity))
    }

    /// `by`: a partitioned table, which has no storage of its own.
    fn create(&self, table: &Qualified, by: Option<&Subpartitions>, indexes: Indexes) -> String {
        let unlogged = if self.unlogged && by.is_none() { "UNLOGGED " } else { "" };
        let mut sql = format!(
            "CREATE {unlogged}TABLE {table} (LIKE {} INCLUDING ALL{} EXCLUDING IDENTITY{})",
            self.parent,
            if indexes == Indexes::ByAttach { " EXCLUDING INDEXES" } else { "" },
            if self.statistics.is_empty() { "" } else { " EXCLUDING STATISTICS" }
        );
        match by {
            Some(by) => sql.push_str(&format!(" PARTITION BY HASH ({})", ident::name(&by.column))),
            None => {
                if let Some(method) = &self.access_method {
                    sql.push_str(&format!(" USING {method}"));
                }
                if !self.storage.is_empty() {
                    sql.push_str(&format!(" WITH ({})", self.storage.join(", ")));
                }
            }
        }
        if let Some(tablespace) = &self.tablespace {
            sql.push_str(&format!(" TABLESPACE {tablespace}"));
        }
        sql
    }

    /// What the statements lock, the parent's lock first (documentation chapter "Explicit Locking"
    /// and ALTER TABLE's page).
    pub(super) fn locks(&self) -> String {
        // A key into itself makes the parent a referenced table: CloneForeignKeyConstraints
        // (src/backend/commands/tablecmds.c).
        let mode = match self.references_itself {
            true => "SHARE ROW EXCLUSIVE",
            false => "SHARE UPDATE EXCLUSIVE",
        };
        let mut locks = format!("{mode} on {}", self.parent);
        for table in &self.default_partition {
            locks.push_str(&format!(", ACCESS EXCLUSIVE on {table}"));
        }
        for table in &self.foreign {
            locks.push_str(&format!(", SHARE ROW EXCLUSIVE on {table}"));
        }
        locks
    }
}

/// The template, unless it is gone or has been given to another owner, whose index expressions
/// would then run with the rights of the set's owner; and a remark where it is passed over.
fn usable_template(
    parent: &Table,
    template: Option<Oid>,
) -> Result<(Option<Oid>, Option<&'static str>)> {
    let Some(oid) = template else { return Ok((None, None)) };
    let owner = query::optional(
        "SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = $1",
        &[oid.into()],
        |row| row.required::<Oid>(1),
    )?;
    Ok(match owner {
        Some(owner) if owner == parent.owner => (template, None),
        Some(_) => (None, Some("its template belongs to another role, so it is made without one")),
        None => (None, Some("its template is gone, so it is made without one")),
    })
}

/// Persistence, storage parameters (the toast table's too) and access method of a plain table, or of
/// the first below a partitioned one.
fn physical(table: Oid) -> Result<(bool, Vec<String>, Option<String>)> {
    let facts = query::optional(
        "SELECT c.relpersistence = 'u', am.amname::pg_catalog.text, c.reloptions, t.reloptions
           FROM pg_catalog.pg_class c
           LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
           LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
          WHERE c.oid = coalesce((SELECT min(l.relid::pg_catalog.oid)
                                    FROM pg_catalog.pg_partition_tree($1) l WHERE l.isleaf), $1)",
        &[table.into()],
        |row| {
            let own = row.optional::<Vec<String>>(3)?.unwrap_or_default();
            let toast = row.optional::<Vec<String>>(4)?.unwrap_or_default();
            let storage = own
                .iter()
                .filter(|option| !option.starts_with("pg_"))
                .map(|option| storage_option("", option))
                .chain(toast.iter().map(|option| storage_option("toast.", option)))
                .collect();
            Ok((row.required(1)?, storage, row.optional(2)?))
        },
    )?;
    Ok(facts.unwrap_or((false, Vec::new(), None)))
}

/// `fillfactor=70` as `fillfactor = '70'`.
fn storage_option(namespace: &str, option: &str) -> String {
    let (name, value) = option.split_once('=').unwrap_or((option, "true"));
    format!("{namespace}{} = {}", ident::name(name), ident::literal(value))
}

/// Since 17 a partitioned table can have an access method; before, relam is 0.
fn access_method_of_parent(parent: Oid) -> Result<Option<String>> {
    query::optional(
        "SELECT am.amname::pg_catalog.text FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_am am ON am.oid = c.relam WHERE c.oid = $1",
        &[parent.into()],
        |row| row.required(1),
    )
}

fn tablespace(parent: Oid) -> Result<Option<String>> {
    query::optional(
        "SELECT t.spcname::pg_catalog.text FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace WHERE c.oid = $1",
        &[parent.into()],
        |row| Ok(ident::name(&row.required::<String>(1)?)),
    )
}

/// The default partition, and where it is partitioned all that lies below.
const DEFAULT_SQL: &str = "
    SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
      FROM pg_catalog.pg_partitioned_table pt
     CROSS JOIN LATERAL pg_catalog.pg_partition_tree(pt.partdefid) t
      JOIN pg_catalog.pg_class c ON c.oid = t.relid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE pt.partrelid = $1 AND pt.partdefid <> 0 ORDER BY t.level, 1, 2";

/// Tables that the parent's foreign keys point to, and those whose foreign keys point to it.
const FOREIGN_SQL: &str = "
    SELECT DISTINCT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
      FROM pg_catalog.pg_constraint k
      JOIN pg_catalog.pg_class c
        ON c.oid = CASE WHEN k.conrelid = $1 THEN k.confrelid ELSE k.conrelid END
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE k.contype = 'f' AND k.conrelid <> k.confrelid
       AND (k.conrelid = $1 OR k.confrelid = $1 AND k.conparentid = 0)
     ORDER BY 1, 2";

fn tables(sql: &'static str, parent: Oid) -> Result<Vec<String>> {
    query::rows(sql, &[parent.into()], |row| {
        Ok(Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?).to_string())
    })
}

fn references_itself(parent: Oid) -> Result<bool> {
    query::one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                         WHERE k.contype = 'f' AND k.conrelid = $1 AND k.confrelid = $1)",
        &[parent.into()],
        |row| row.required(1),
    )
}
