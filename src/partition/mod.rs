//! Partitioned tables kept complete: range sets ahead of time, hash sets with every remainder; and what becomes of
//! ranges that are old.
//!
//! `table` is any partitioned table, `blueprint` knows how a partition is made like its parent,
//! `range` and `hash` decide which partitions are missing, `retention` which leave or move, `steps` is what that
//! comes to, `apply` takes a step, `run` all of them, `task` is a run as the engine knows it, `api` the SQL face that
//! all share.

mod access;
mod api;
mod apply;
mod blueprint;
mod detail;
mod hash;
mod inspect;
mod policy;
mod range;
mod retention;
mod run;
mod steps;
mod table;
mod task;
mod template;

pub(crate) use policy::{drainable, owned_job};
pub(crate) use task::{drain, plan};

use crate::error::{Error, Result};
use crate::pg::Oid;
use steps::Work;
use table::{Strategy, Table};

/// Reads a managed set and plans it at an instant; changes nothing. What failed before and waits for
/// its next attempt is part of it when that is due at `retry_at`. Creation comes first.
fn prepare(parent: Oid, at: i64, retry_at: i64) -> Result<Work> {
    let table = Table::read(parent)?;
    let mut work = match table.strategy {
        Strategy::Range => range::prepare(table, at),
        Strategy::Hash => hash::prepare(table, at),
        Strategy::List => Err(refusal(table)),
    }?;
    retention::extend(&mut work, retry_at)?;
    Ok(work)
}

/// Whether a clock says when a managed set is due again; else it is looked at every so often.
pub(crate) fn has_clock(parent: Oid) -> Result<bool> {
    let table = Table::read(parent)?;
    match table.strategy {
        Strategy::Range => range::has_clock(table),
        Strategy::Hash => Ok(false),
        Strategy::List => Err(refusal(table)),
    }
}

/// Removes what is left of partitions that are gone, and jobs that are nobody's.
pub(crate) fn tidy() -> Result<()> {
    retention::forget_gone()?;
    policy::forget_strays()
}

/// Why a table without a policy has none: it is of a kind that cannot have one, or nobody made one.
fn refusal(table: Table) -> Error {
    let not_managed = table.not_managed();
    let possible = match table.strategy {
        Strategy::Range => range::check(table),
        Strategy::Hash => table.must_be(Strategy::Hash),
        Strategy::List => table.must_be(Strategy::Range),
    };
    possible.err().unwrap_or(not_managed)
}
