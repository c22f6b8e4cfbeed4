//! The SQL face of maintenance: `plan`, and `alter_job`, for only the work itself knows whether it has a clock.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::prepare;
use crate::jobs::{self, Changes};
use crate::partition::{Table, check_owner, has_clock, in_time, managed, needed, rows};
use crate::pg::settings::Pinned;
use crate::pg::{Oid, extension, identity, report};

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
            name!(partition, String),
            name!(sql, String),
            name!(lock, String),
            name!(reason, String),
        ),
    >,
    ErrorReport,
> {
    let _pinned = Pinned::begin();
    let at = needed(at, "at")?.into_inner();
    extension::hold()?;
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
    Ok(rows(planned))
}

#[pg_extern(sql = false)]
fn alter_job(
    job_id: Option<i64>,
    schedule: Option<&str>,
    time_zone: Option<&str>,
    priority: Option<i32>,
    max_runtime: Option<Interval>,
    enabled: Option<bool>,
) -> std::result::Result<(), ErrorReport> {
    let _pinned = Pinned::begin();
    let changes = Changes { schedule, time_zone, priority, max_runtime, enabled };
    Ok(jobs::alter_job(job_id, changes, has_clock)?)
}
