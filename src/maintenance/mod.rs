//! What maintenance does to a set: what it lacks is made, what is too old leaves or moves. Dry run,
//! run by hand and unattended run are the same plan; only what happens to it differs.

mod api;
mod apply;

pub(crate) use apply::{Outcome, carry_out, naming};

use crate::error::Result;
use crate::partition::{self, Work};
use crate::pg::Oid;
use crate::retention::{self, Occasion};

/// Reads a managed set and plans it at an instant; changes nothing. Creation comes first.
pub(crate) fn prepare(parent: Oid, at: i64, occasion: Occasion) -> Result<Work> {
    let mut work = partition::prepare(parent, at)?;
    retention::extend(&mut work, at, occasion)?;
    Ok(work)
}
