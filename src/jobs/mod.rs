//! Jobs: one for each policy, when it is due, and the log of its runs.

mod api;
mod catalog;
mod plan;

pub(crate) use api::check_owner;
pub(crate) use catalog::{
    Job, call_back, claim, close_abandoned_runs, create, delete, due, find, find_by_target,
    finish_run, keep_runs_away, make_due, next_due_at, note_progress, overdue, owned,
    record_idle_run, registry, renew_lock, reschedule, running, start_run, trim_history,
};
pub(crate) use plan::{Ending, backoff, next_run_at};
