//! cargo-pgrx, and a configuration of our own for it, so that the user's `~/.pgrx` stays as it is.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::postgres::{self, SUPPORTED_MAJORS};
use super::{command, paths, private_server, tools};

/// A cargo-pgrx of the version the extension is built with, and its home.
#[derive(Clone, Debug)]
pub struct Pgrx {
    program: PathBuf,
    home: PathBuf,
}

impl Pgrx {
    /// Installs cargo-pgrx if need be and names to it, of every server of ours, the tree that `cargo
    /// pgrx test` may write into. Builds take the headers from there, too: they are the same files.
    pub fn provide() -> Result<Self> {
        let version = locked_version("pgrx")?;
        let program = tools::tool("cargo-pgrx", &version, &["pgrx", "--version"])?;
        let home = paths::cache_subdir("pgrx")?;

        let mut config = "[configs]\n".to_owned();
        for major in SUPPORTED_MAJORS {
            let Some(server) = postgres::find(major)? else { continue };
            let found = private_server::for_in_server_tests(&server)?;
            writeln!(config, "{} = \"{}\"", found.feature(), found.pg_config.display())?;
        }
        let path = home.join("config.toml");
        // Rewritten only when it says something new: pgrx's bindings are rebuilt when it is touched.
        if fs::read_to_string(&path).unwrap_or_default() != config {
            fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self { program, home })
    }

    /// `cargo pgrx`, in the checkout.
    pub fn cargo_pgrx(&self) -> Command {
        let mut command = command::clean(&self.program);
        command.arg("pgrx").env("PGRX_HOME", &self.home);
        // cargo-pgrx adds a linker flag that linkers before binutils 2.36 need. It changes every
        // crate's fingerprint, so that all dependencies would be compiled once more.
        command.env("CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND", "1");
        command
    }

    /// Plain `cargo`, able to build the extension.
    pub fn cargo(&self) -> Command {
        let mut command = command::cargo();
        command.env("PGRX_HOME", &self.home);
        command
    }
}

/// The version of a package in Cargo.lock: cargo-pgrx must be of exactly pgrx's.
fn locked_version(package: &str) -> Result<String> {
    let path = paths::repository().join("Cargo.lock");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = format!("name = \"{package}\"");
    let mut lines = text.lines().skip_while(|line| *line != name);
    lines
        .nth(1)
        .and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .with_context(|| format!("{} names no {package}", path.display()))
}
