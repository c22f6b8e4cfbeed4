//! Older periods move to another tablespace: table, toast and indexes.

use super::{catalog, plan, steps};
use crate::error::{Error, Result};
use crate::partition::range::{Past, Tiering};
use crate::partition::steps::{Action, Step, Work};
use crate::pg::ident::{self, Qualified};
use crate::pg::{Oid, identity, query};

/// Steps for the periods that are cold and lie elsewhere, oldest first.
pub(super) fn steps(work: &Work, past: &Past) -> Result<Vec<Step>> {
    let Some(policy) = &past.tiering else { return Ok(Vec::new()) };
    let leaving: Vec<Oid> = steps::expired(past).map(|period| period.oid).collect();
    let cold = past.periods.iter().filter(|period| {
        plan::is_cold(period.ends, past.cold, past.position) && !leaving.contains(&period.oid)
    });
    let cold: Vec<_> = cold.collect();
    if cold.is_empty() {
        return Ok(Vec::new());
    }
    let Some(tablespace) = tablespace(&policy.tablespace)? else {
        // Said once: each of them has the same to wait for.
        let period = cold[0];
        let error = Error::NoSuchTablespace { tablespace: policy.tablespace.clone() };
        let step = Step::new(work.parent, Action::Move, period.name.clone(), String::new());
        return Ok(vec![Step {
            reason: format!("blocked: {error}"),
            blocked: Some(error),
            subject: Some(period.oid),
            ..step
        }]);
    };
    let owner = identity::role_name(work.owner)?;
    let others =
        catalog::others(cold.iter().map(|period| period.oid).collect(), work.owner, false)?;
    let elsewhere = elsewhere(cold.iter().map(|period| period.oid).collect(), tablespace)?;
    let mut steps = Vec::new();
    for period in cold {
        let parts: Vec<&Part> = elsewhere.iter().filter(|part| part.of == period.oid).collect();
        if parts.is_empty() {
            continue;
        }
        let mut step = Step {
            subject: Some(period.oid),
            ..step(work, policy, &period.name, &period.upper, &parts)
        };
        if let Some(partition_owner) = others.get(&period.oid) {
            step.block(Error::PartitionOwner {
                partition: period.name.to_string(),
                partition_owner: partition_owner.clone(),
                owner: owner.clone(),
            });
        }
        steps.push(step);
    }
    Ok(steps)
}

fn step(work: &Work, policy: &Tiering, period: &Qualified, upper: &str, parts: &[&Part]) -> Step {
    let tablespace = ident::name(&policy.tablespace);
    let statement =
        |part: &&Part| format!("ALTER {} {} SET TABLESPACE {tablespace};", part.kind, part.name);
    let sql = parts.iter().map(statement).collect::<Vec<_>>().join("\n");
    let bytes: i64 = parts.iter().map(|part| part.bytes).sum();
    Step {
        lock: format!("none on the set, ACCESS EXCLUSIVE on {period} while it is copied"),
        reason: format!(
            "it ends at {upper} and is older than {}; {bytes} bytes to copy",
            policy.older_than
        ),
        copies: Some(bytes),
        ..Step::new(work.parent, Action::Move, period.clone(), sql)
    }
}

/// A relation of a period that lies elsewhere.
struct Part {
    of: Oid,
    kind: &'static str,
    name: Qualified,
    bytes: i64,
}

/// As pg_class has it: 0 is the database's own one. None: there is no such tablespace.
fn tablespace(name: &str) -> Result<Option<Oid>> {
    query::optional(
        "SELECT CASE WHEN t.oid = d.dattablespace THEN 0::pg_catalog.oid ELSE t.oid END
           FROM pg_catalog.pg_tablespace t
           JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
          WHERE t.spcname = $1",
        &[name.into()],
        |row| row.required(1),
    )
}

/// The tables and indexes of these periods that do not lie in a tablespace. A toast table follows its
/// table (tablecmds.c, ATExecSetTableSpace); a foreign table lies nowhere.
fn elsewhere(periods: Vec<Oid>, tablespace: Oid) -> Result<Vec<Part>> {
    query::rows(
        "WITH below (period, oid) AS (
             SELECT p.oid, p.oid FROM pg_catalog.unnest($1) AS p (oid)
             UNION
             SELECT p.oid, t.relid::pg_catalog.oid FROM pg_catalog.unnest($1) AS p (oid)
              CROSS JOIN LATERAL pg_catalog.pg_partition_tree(p.oid) t)
         SELECT r.period, c.relkind::pg_catalog.text, n.nspname::pg_catalog.text,
                c.relname::pg_catalog.text,
                CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_table_size(c.oid)
                     ELSE pg_catalog.pg_relation_size(c.oid) END
           FROM (SELECT b.period, b.oid, 0 AS place FROM below b
                 UNION ALL
                 SELECT b.period, x.indexrelid, 1 FROM below b
                   JOIN pg_catalog.pg_index x ON x.indrelid = b.oid) r
           JOIN pg_catalog.pg_class c ON c.oid = r.oid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.reltablespace <> $2 AND c.relkind IN ('r', 'p', 'i', 'I')
          ORDER BY r.period, r.place, c.relname",
        &[periods.into(), tablespace.into()],
        |row| {
            let kind = match row.required::<String>(2)?.as_str() {
                "i" | "I" => "INDEX",
                _ => "TABLE",
            };
            let name = Qualified::new(row.required::<String>(3)?, row.required::<String>(4)?);
            let bytes = row.optional(5)?.unwrap_or_default();
            Ok(Part { of: row.required(1)?, kind, name, bytes })
        },
    )
}
