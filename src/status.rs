//! What the views `steward.status` and `steward.node`, and triggers, cannot read with SQL alone.

use pgrx::prelude::*;

use crate::pg::{shared_memory, signals, wakeup, workers};

/// Whether this server loaded us at its start.
#[pg_extern(sql = false)]
fn preloaded() -> bool {
    shared_memory::is_preloaded()
}

/// The launcher's pid; NULL when none runs.
#[pg_extern(sql = false)]
fn launcher_pid() -> Option<i32> {
    Some(shared_memory::launcher_pid()).filter(|pid| signals::is_alive(*pid))
}

/// Whether this process applies what a subscription brings.
#[pg_extern(sql = false)]
fn is_subscription() -> bool {
    workers::applies_subscription()
}

/// Asks for a look at this database when the transaction commits.
#[pg_extern(sql = false)]
fn wake_at_commit() {
    wakeup::at_commit();
}
