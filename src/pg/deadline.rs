//! How long a run may take: what is then in progress is cancelled, as by statement_timeout.

use pgrx::pg_sys;

use super::clock;

unsafe extern "C-unwind" {
    fn enable_timeout_after(which: u32, milliseconds: i32);
    fn disable_timeout(which: u32, keep_indicator: bool);
}

/// `STATEMENT_TIMEOUT` of src/include/utils/timeout.h. Every process that connects to a database has
/// it registered (postinit.c, InitPostgres); a worker has no statements that would start it.
const STATEMENT_TIMEOUT: u32 = 3;

/// In force until dropped.
pub(crate) struct Deadline {
    at: i64,
}

impl Deadline {
    /// So many microseconds from now.
    pub(crate) fn after(microseconds: i64) -> Self {
        let milliseconds = i32::try_from(microseconds / 1000).unwrap_or(i32::MAX).max(1);
        // SAFETY: the timeout is registered; its handler sends this process a SIGINT.
        unsafe { enable_timeout_after(STATEMENT_TIMEOUT, milliseconds) };
        Self { at: clock::now().saturating_add(microseconds) }
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
            disable_timeout(STATEMENT_TIMEOUT, false);
            // One that fired after the last statement must not cancel the next run.
            pg_sys::QueryCancelPending = 0;
        }
    }
}
