//! How much room a relation takes, by its files: pg_total_relation_size() opens table, index and toast
//! table, and would wait for whoever has one of them locked.

use std::fs;

use super::{Oid, query};
use crate::error::Result;

/// What a relation's forks are called behind its number (src/common/relpath.c).
const FORKS: [&str; 4] = ["", "_fsm", "_vm", "_init"];

/// Bytes of a table, its indexes and its toast table, of this moment. Takes no lock; 0 for a relation that
/// is gone, or has no storage.
pub(crate) fn total_bytes(relation: Oid) -> Result<i64> {
    let paths: Vec<String> = query::rows(
        "WITH own (oid) AS (
             SELECT $1::pg_catalog.oid
             UNION ALL SELECT c.reltoastrelid FROM pg_catalog.pg_class c
                        WHERE c.oid = $1 AND c.reltoastrelid <> 0)
         SELECT pg_catalog.pg_relation_filepath(r.oid)
           FROM (SELECT own.oid FROM own
                 UNION ALL
                 SELECT x.indexrelid FROM own JOIN pg_catalog.pg_index x ON x.indrelid = own.oid) r
          WHERE pg_catalog.pg_relation_filepath(r.oid) IS NOT NULL",
        &[relation.into()],
        |row| row.required(1),
    )?;
    Ok(paths.iter().map(|path| bytes(path)).sum())
}

/// Of one relation. A server process works in the data directory, which these paths begin in.
fn bytes(path: &str) -> i64 {
    let segment = |fork: &str, number: u32| {
        let dot = if number == 0 { String::new() } else { format!(".{number}") };
        let file = fs::metadata(format!("{path}{fork}{dot}")).ok()?;
        i64::try_from(file.len()).ok()
    };
    let of_fork = |fork: &&str| -> i64 { (0..).map_while(|number| segment(fork, number)).sum() };
    FORKS.iter().map(of_fork).sum()
}
