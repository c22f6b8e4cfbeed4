//! What a worker does when it is signalled, and how it sleeps.
//!
//! The server's own handlers, not pgrx's: those only set flags, so a running query would never
//! notice a terminate, a cancel, DROP DATABASE … (FORCE) or a fast shutdown.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::version::{self, server};
use super::{query, subtransaction};
use crate::error::Result;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Installs the handlers and lets signals in. SIGINT is StatementCancelHandler already
/// (bgworker.c, for workers that connect to a database).
pub(crate) fn install() {
    // SAFETY: called once at the start of a worker's main, before signals are let in.
    unsafe {
        version::handle_signal(SIGHUP, server::SignalHandlerForConfigReload);
        version::handle_signal(SIGTERM, server::die);
        pg_sys::BackgroundWorkerUnblockSignals();
        // The postmaster has us ignore SIGHUP until here (bgworker.c, BackgroundWorkerMain), and what it
        // had read when it made us may be old by now.
        pg_sys::ConfigReloadPending = 1;
    }
}

/// Acts on a pending terminate, cancel or settings reload.
pub(crate) fn check() {
    pgrx::check_for_interrupts!();
    // SAFETY: a backend-local flag set by our SIGHUP handler; ProcessConfigFile is called outside
    // any transaction, as the server's own workers do.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Sleeps until the latch is set or the time has passed, then acts on what is pending.
pub(crate) fn sleep(at_most: Duration) {
    nap(at_most);
    check();
}

/// Sleeps until the latch is set or the time has passed; interruptible, and unlike `sleep` no settings
/// are reloaded, for this may be inside a transaction.
pub(crate) fn wait(at_most: Duration) {
    nap(at_most);
    pgrx::check_for_interrupts!();
}

fn nap(at_most: Duration) {
    let milliseconds = at_most.as_millis().clamp(1, 3_600_000) as std::ffi::c_long;
    // SAFETY: MyLatch belongs to this process.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            (pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH) as i32,
            milliseconds,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
}

/// Waits out a time, however often the latch is set; interruptible, as `wait` is.
fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        wait(left);
    }
}

/// The same for where nothing is under way that would have to be rolled back. Err: somebody asked us to
/// stop meanwhile, which outside of a transaction would end a worker without a word.
pub(crate) fn try_pause(time: Duration) -> Result<()> {
    subtransaction::caught(|| {
        pause(time);
        Ok(())
    })
}

/// Sends SIGTERM to a worker of ours.
pub(super) fn terminate(pid: i32) {
    // SAFETY: a system call on a process of this server.
    unsafe { server::kill(pid, SIGTERM) };
}

/// Sends SIGINT to a worker of ours, where no query can be run.
pub(super) fn interrupt(pid: i32) {
    // SAFETY: a system call on a process of this server.
    unsafe { server::kill(pid, SIGINT) };
}

/// Sends SIGINT to a process of this server, as pg_cancel_backend does.
pub(crate) fn cancel(pid: i32) -> Result<()> {
    query::one("SELECT pg_catalog.pg_cancel_backend($1)", &[pid.into()], |_| Ok(()))
}

/// Wakes another process of this server; one that is gone is nobody.
pub(crate) fn wake(pid: i32) {
    if pid == 0 {
        return;
    }
    // SAFETY: BackendPidGetProc answers NULL for a pid that is no backend. The PGPROC array is
    // never freed; a process that leaves meanwhile costs its successor a spurious wake-up.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            pg_sys::SetLatch(&raw mut (*process).procLatch);
        }
    }
}

/// Whether the pid is a backend of this server now.
pub(crate) fn is_alive(pid: i32) -> bool {
    // SAFETY: as in `wake`.
    pid != 0 && !unsafe { pg_sys::BackendPidGetProc(pid) }.is_null()
}

/// This process.
pub(crate) fn my_pid() -> i32 {
    // SAFETY: constant after start.
    unsafe { pg_sys::MyProcPid }
}
