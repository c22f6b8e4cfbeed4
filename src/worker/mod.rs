//! The processes: launcher -> scheduler -> executor; and the procedures that do an executor's work
//! while somebody waits.

mod api;
mod executor;
mod kinds;
mod launcher;
mod on_behalf;
mod run;
mod scheduler;

pub(crate) use launcher::register;

/// What is the matter for long is said again after this.
const SAY_AGAIN_MICROSECONDS: i64 = 3_600_000_000;
/// A clock that is less than this behind has not been set back.
const SLEW_MICROSECONDS: i64 = 1_000_000;
