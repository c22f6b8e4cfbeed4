//! Partitioned tables kept complete: range sets ahead of time, hash sets with every remainder.
//!
//! `table` is any partitioned table, `blueprint` knows how a partition is made like its parent,
//! `range` and `hash` decide which partitions are missing, `steps` is what that comes to, `apply`
//! takes a step, `api` is the SQL face that both share.

mod api;
mod apply;
mod blueprint;
mod hash;
mod inspect;
mod range;
mod steps;
mod table;

pub(crate) use api::{
    check_owner, drainable, forget, forget_gone, in_time, managed, needed, owned_job, pair_jobs,
    rows,
};
pub(crate) use apply::{Outcome, explaining, naming, retried, take};
pub(crate) use range::{
    Drained, Fate, OwnedRange, Past, Period, RawKey, Retention, Tiering, drain, note_seen,
    remember_make_up,
};
pub(crate) use steps::{Action, Reference, Step, Work, lowest};
pub(crate) use table::{Table, default_partition, name, taken, tree};

use crate::error::{Error, Result};
use crate::pg::Oid;
use table::Strategy;

/// Reads a managed set and plans it at an instant; changes nothing.
pub(crate) fn prepare(parent: Oid, at: i64) -> Result<Work> {
    let table = Table::read(parent)?;
    match table.strategy {
        Strategy::Range => range::prepare(table, at),
        Strategy::Hash => hash::prepare(table, at),
        Strategy::List => Err(refusal(table)),
    }
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
