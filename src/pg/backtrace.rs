//! Where in our source an error came from is nobody's business but ours: with RUST_BACKTRACE in the
//! server's environment pgrx would put it into every DETAIL.

use std::backtrace::Backtrace;
use std::env;

const VARIABLE: &str = "RUST_LIB_BACKTRACE";

/// Switches backtraces off in this library, for good: std asks the environment once.
pub(crate) fn switch_off() {
    let before = env::var_os(VARIABLE);
    // SAFETY: a server process has one thread. The environment is as it was when this returns, for
    // other libraries' sake.
    unsafe { env::set_var(VARIABLE, "0") };
    drop(Backtrace::capture());
    // SAFETY: as above.
    unsafe {
        match before {
            Some(value) => env::set_var(VARIABLE, value),
            None => env::remove_var(VARIABLE),
        }
    }
}
