//! The kinds of work there are. The one file that lists their rooms.

use crate::error::Result;
use crate::jobs::{Job, Kind, Look, Planned};
use crate::partition;
use crate::pg::Oid;

/// Looks at a job's target, in a transaction on our tables, and plans what there is to do.
pub(super) fn plan(job: &Job, look: &Look) -> Result<Planned> {
    match Kind::parse(&job.kind)? {
        Kind::Partition => partition::plan(job.target, look),
    }
}

/// Whether a clock says when the work is due again: then its job has no schedule.
pub(super) fn has_clock(kind: Kind, target: Oid) -> Result<bool> {
    match kind {
        Kind::Partition => partition::has_clock(target),
    }
}

/// Removes what is left of policies whose object is gone.
pub(super) fn tidy() -> Result<()> {
    partition::tidy()
}
