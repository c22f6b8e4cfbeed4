//! Takes a step: the same for a person who waits and for a worker.

use super::steps::{Step, Work};
use crate::error::Result;
use crate::pg::{identity, query, settings as pg_settings};
use crate::settings;

/// Runs a step's statements as the set's owner, in the current transaction.
pub(crate) fn take(work: &Work, step: &Step) -> Result<()> {
    if let Some(blocked) = &step.blocked {
        return Err(blocked.clone());
    }
    pg_settings::with_lock_timeout(settings::lock_timeout_milliseconds(), || {
        identity::as_owner(work.owner, || query::run(&step.sql))
    })
}
