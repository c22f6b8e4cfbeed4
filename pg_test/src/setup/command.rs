//! Cargo as a sub-command, in the checkout, without the traces of the cargo that runs us.

use std::ffi::OsStr;
use std::process::Command;

use super::paths;

/// The cargo that built us.
pub fn cargo() -> Command {
    clean(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A command in the checkout whose environment is as the user's shell had it.
///
/// `cargo run` adds variables of the package it runs; build scripts and macros further down must
/// not take them for their own.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command.env_remove("CARGO_PRIMARY_PACKAGE").env_remove("LD_LIBRARY_PATH");
    command.current_dir(paths::repository());
    command
}
