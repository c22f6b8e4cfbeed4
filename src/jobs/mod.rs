//! Jobs: one for each policy, when it is due, and the log of its runs.

mod api;
mod backoff;
mod catalog;
mod runs;
mod task;

pub(crate) use api::{Changes, alter_job, check_owner};
pub(crate) use backoff::{Ending, backoff, in_turn, next_run_at};
pub(crate) use catalog::{
    Job, call_back, claim, create, due, find, find_by_target, forget, forget_gone, keep_runs_away,
    looks_every, make_due, make_due_at_once, next_due_at, owned, registry, renew_lock, reschedule,
    restore, target_name,
};
pub(crate) use runs::{
    close_abandoned_runs, finish_run, note_progress, overdue, record_idle_run, running, start_run,
    trim_history,
};
pub(crate) use task::{Ended, Kind, Look, Next, Planned, Status, Task};
