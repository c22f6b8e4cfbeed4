//! Real PostgreSQL clusters for pg_steward's tests, demo and benchmarks.
//!
//! * [`setup`] finds or installs everything a fresh Debian machine lacks,
//! * [`cluster`] starts throw-away primaries and standbys,
//! * [`fixtures`] is what tests share: which server to use, and one common cluster,
//! * [`progress`] runs slow commands with a progress line and a log file.

use std::ffi::OsString;

pub mod cluster;
pub mod fixtures;
pub mod progress;
pub mod setup;

/// The command line of one of our programs, with or without the `--` that cargo's users are used to:
/// the aliases in `.cargo/config.toml` end in one already.
pub fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == "--") {
        arguments.remove(1);
    }
    arguments
}
