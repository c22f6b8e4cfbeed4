//! Building the extension and installing it into a server.

use std::path::Path;

use anyhow::Result;

use super::pgrx::Pgrx;
use super::postgres::Installation;
use super::privilege::is_root;
use crate::progress::{self, Logged};

/// How the extension is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to compile, with debug assertions: for tests.
    Dev,
    /// As users run it: for the demo and measurements.
    Release,
}

/// Builds the extension and installs it into a server, through sudo where that is needed.
pub fn install(pgrx: &Pgrx, server: &Installation, profile: Profile) -> Result<Logged> {
    let mut command = pgrx.cargo_pgrx();
    command.args(["install", "--package", "pg_steward", "--no-default-features", "--features"]);
    command.arg(server.feature()).arg("--pg-config").arg(&server.pg_config);
    if profile == Profile::Release {
        command.arg("--release");
    }
    if !can_install_into(server) {
        command.arg("--sudo");
    }
    progress::run(&format!("building pg_steward for PostgreSQL {}", server.version), &mut command)
}

/// Whether this process may put files into the server's directories itself.
pub fn can_install_into(server: &Installation) -> bool {
    let writable = |dir: &Path| tempfile::tempfile_in(dir).is_ok();
    is_root() || (writable(&server.pkglibdir) && writable(&server.sharedir.join("extension")))
}
