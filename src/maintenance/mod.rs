//! What maintenance does to a set: what it lacks is made, what is too old leaves or moves. Dry run,
//! run by hand and unattended run are the same plan; only what happens to it differs.

mod api;
mod apply;

pub(crate) use apply::carry_out;

use crate::error::Result;
use crate::partition::{self, Work};
use crate::pg::Oid;
use crate::retention;

/// Reads a managed set and plans it at an instant; changes nothing. What failed before and waits for
/// its next attempt is part of it when that is due at `retry_at`. Creation comes first.
pub(crate) fn prepare(parent: Oid, at: i64, retry_at: i64) -> Result<Work> {
    let mut work = partition::prepare(parent, at)?;
    retention::extend(&mut work, retry_at)?;
    Ok(work)
}
