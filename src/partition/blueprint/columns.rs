//! What `CREATE TABLE … (LIKE …)` leaves out of columns and extended statistics.

use super::storage_option;
use crate::error::Result;
use crate::pg::ident::{self, Qualified};
use crate::pg::{Oid, query};

/// Statistics targets and the documented per-column options (n_distinct, n_distinct_inherited),
/// which neither LIKE nor ATTACH copies, as `ALTER COLUMN …` each. Others in attoptions are the
/// server's own bookkeeping: 15.20 keeps a `pg_attver` there.
pub(super) fn actions(parent: Oid) -> Result<Vec<String>> {
    let actions = query::rows(
        "SELECT a.attname::pg_catalog.text, nullif(a.attstattarget, -1)::pg_catalog.int4, o.options
           FROM pg_catalog.pg_attribute a
          CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(o.option) AS options
                                FROM pg_catalog.unnest(a.attoptions) AS o (option)
                               WHERE o.option LIKE 'n\\_distinct%') o
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
            AND (coalesce(a.attstattarget, -1) >= 0 OR o.options IS NOT NULL)
          ORDER BY a.attnum",
        &[parent.into()],
        |row| {
            let column = ident::name(&row.required::<String>(1)?);
            let target = row
                .optional::<i32>(2)?
                .map(|target| format!("ALTER COLUMN {column} SET STATISTICS {target}"));
            let options = row.optional::<Vec<String>>(3)?.map(|options| {
                let list: Vec<_> =
                    options.iter().map(|option| storage_option("", option)).collect();
                format!("ALTER COLUMN {column} SET ({})", list.join(", "))
            });
            Ok([target, options])
        },
    )?;
    Ok(actions.into_iter().flatten().flatten().collect())
}

/// An extended statistics object.
pub(super) struct Statistics {
    /// `(ndistinct, mcv) ` or nothing, as the grammar wants it.
    kinds: String,
    /// Columns and expressions.
    columns: String,
    target: Option<i32>,
}

impl Statistics {
    /// The statements that make it on a partition.
    pub(super) fn statements(&self, partition: &Qualified, name: &str) -> Vec<String> {
        let statistics = Qualified::new(partition.schema.clone(), name);
        let create = format!(
            "CREATE STATISTICS {statistics} {}ON {} FROM {partition}",
            self.kinds, self.columns
        );
        let target =
            self.target.map(|n| format!("ALTER STATISTICS {statistics} SET STATISTICS {n}"));
        std::iter::once(create).chain(target).collect()
    }
}

/// The parent's extended statistics if any of them has a target of its own, which LIKE does not copy
/// (src/backend/parser/parse_utilcmd.c, generateClonedExtStatsStmt); else none, and LIKE does it.
pub(super) fn statistics(parent: Oid) -> Result<Vec<Statistics>> {
    let found = query::rows(
        "SELECT coalesce('(' OPERATOR(pg_catalog.||) pg_catalog.string_agg(k.name, ', ' ORDER BY k.name)
                         OPERATOR(pg_catalog.||) ') ', ''),
                pg_catalog.pg_get_statisticsobjdef_columns(s.oid),
                nullif(s.stxstattarget, -1)::pg_catalog.int4
           FROM pg_catalog.pg_statistic_ext s
           LEFT JOIN LATERAL (VALUES ('d', 'ndistinct'), ('f', 'dependencies'), ('m', 'mcv')) k (letter, name)
             ON k.letter::pg_catalog.\"char\" = ANY (s.stxkind)
          WHERE s.stxrelid = $1
          GROUP BY s.oid, s.stxname, s.stxstattarget ORDER BY s.stxname",
        &[parent.into()],
        |row| {
            Ok(Statistics {
                kinds: row.required(1)?,
                columns: row.required(2)?,
                target: row.optional(3)?,
            })
        },
    )?;
    Ok(if found.iter().any(|one| one.target.is_some()) { found } else { Vec::new() })
}
