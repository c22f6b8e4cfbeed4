//! How long a run may take: what is then in progress is cancelled, as by statement_timeout.

use pgrx::pg_sys;

use super::clock;
use super::version::server;
use crate::error::Result;

/// `STATEMENT_TIMEOUT` of src/include/utils/timeout.h. Every process that connects to a database has
/// it registered (postinit.c, InitPostgres); a worker has no statements that would start it.
const STATEMENT_TIMEOUT: u32 = 3;

/// In force until dropped; then the one before it is again.
pub(crate) struct Deadline {
    at: i64,
    before: Option<pg_sys::TimestampTz>,
}

impl Deadline {
    /// So many microseconds from now.
    pub(crate) fn after(microseconds: i64) -> Self {
        let milliseconds = i32::try_from(microseconds / 1000).unwrap_or(i32::MAX).max(1);
        let before = Self::in_force();
        // SAFETY: the timeout is registered; its handler sends this process a SIGINT.
        unsafe {
            server::disable_timeout(STATEMENT_TIMEOUT, false);
            server::enable_timeout_after(STATEMENT_TIMEOUT, milliseconds);
        }
        Self { at: clock::now().saturating_add(microseconds), before }
    }

    /// When what is in progress is cancelled already.
    fn in_force() -> Option<pg_sys::TimestampTz> {
        // SAFETY: reads what this process has registered.
        unsafe {
            server::get_timeout_active(STATEMENT_TIMEOUT)
                .then(|| server::get_timeout_finish_time(STATEMENT_TIMEOUT))
        }
    }

    /// Whether it has passed; ends it.
    pub(crate) fn has_passed(self) -> bool {
        clock::now() >= self.at
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            server::disable_timeout(STATEMENT_TIMEOUT, false);
            // One that fired after the last statement must not cancel the next run.
            pg_sys::QueryCancelPending = 0;
            if let Some(before) = self.before {
                server::enable_timeout_at(STATEMENT_TIMEOUT, before);
            }
        }
    }
}

/// Does `work` for at most so many milliseconds. None: it took longer, and was cancelled.
pub(crate) fn within<T>(milliseconds: i32, work: impl FnOnce() -> Result<T>) -> Option<Result<T>> {
    let microseconds = i64::from(milliseconds) * 1000;
    let ours = clock::now().saturating_add(microseconds);
    if Deadline::in_force().is_some_and(|other| other <= ours) {
        return Some(work());
    }
    let deadline = Deadline::after(microseconds);
    let outcome = work();
    match outcome {
        Err(error) if error.is_cancel() && deadline.has_passed() => None,
        outcome => Some(outcome),
    }
}
