//! The processes: launcher -> scheduler -> executor; and the procedures that do an executor's work
//! while somebody waits.

mod api;
mod executor;
mod launcher;
mod run;
mod scheduler;

pub(crate) use launcher::register;
