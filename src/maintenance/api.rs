//! The SQL face of maintenance: `plan`, and `alter_job`, for only the work itself knows whether it has a clock.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::prepare;
use crate::error::Result;
use crate::jobs::{self, Changes};
use crate::partition::{
    Action, Step, Table, check_owner, has_clock, in_time, managed, needed, rows,
};
use crate::pg::settings::Pinned;
use crate::pg::{Oid, Text, called, identity, query, report};

#[pg_extern(sql = false)]
fn plan(
    parent: Option<Oid>,
    at: Option<TimestampWithTimeZone>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(ordinal, i32),
            name!(parent, Oid),
            name!(action, &'static str),
            name!(partition, Text),
            name!(sql, Text),
            name!(lock, Text),
            name!(reason, Text),
        ),
    >,
    ErrorReport,
> {
    called(|| {
        let _pinned = Pinned::begin();
        let at = needed(at, "at")?.into_inner();
        let mut planned = Vec::new();
        match parent {
            Some(parent) => {
                let table = Table::read(parent)?;
                check_owner(&table.display(), table.owner)?;
                planned.extend(in_time(&table.display(), || prepare(table.oid, at, at))?.steps);
            }
            None => {
                for oid in managed()? {
                    let Ok(table) = Table::read(oid) else { continue };
                    if !identity::caller_is(table.owner) {
                        continue;
                    }
                    match in_time(&table.display(), || prepare(oid, at, at)) {
                        Ok(work) => planned.extend(work.steps),
                        Err(error) => report::failure(&table.display(), &error),
                    }
                }
            }
        }
        if read_only_by_default()? {
            let leaves = |step: &&mut Step| step.action != Action::Create;
            planned.iter_mut().filter(leaves).for_each(|step| {
                step.reason.push_str(
                    "; deferred by the workers while default_transaction_read_only is on here",
                );
            });
        }
        Ok(rows(planned))
    })
}

/// Whether transactions of this database are to be read only unless they say otherwise, for whom nothing else is
/// set: what the workers find.
fn read_only_by_default() -> Result<bool> {
    query::one(
        "SELECT coalesce(
             (SELECT pg_catalog.split_part(c.c, '=', 2)::pg_catalog.bool
                FROM pg_catalog.pg_db_role_setting s
                JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase,
                     pg_catalog.unnest(s.setconfig) c (c)
               WHERE d.datname = pg_catalog.current_database() AND s.setrole = 0
                 AND c.c LIKE 'default_transaction_read_only=%'),
             (SELECT g.reset_val::pg_catalog.bool FROM pg_catalog.pg_settings g
               WHERE g.name = 'default_transaction_read_only'
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s,
                                             pg_catalog.unnest(s.setconfig) c (c)
                                  WHERE s.setrole <> 0 AND c.c LIKE 'default_transaction_read_only=%')),
             false)",
        &[],
        |row| row.required(1),
    )
}

#[pg_extern(sql = false)]
fn alter_job(
    job_id: Option<i64>,
    schedule: Option<Text>,
    time_zone: Option<Text>,
    priority: Option<i32>,
    max_runtime: Option<Interval>,
    enabled: Option<bool>,
) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let schedule = schedule.as_deref();
        let time_zone = time_zone.as_deref();
        let _pinned = Pinned::begin();
        let changes = Changes { schedule, time_zone, priority, max_runtime, enabled };
        Ok(jobs::alter_job(job_id, changes, has_clock)?)
    })
}
