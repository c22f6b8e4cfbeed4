//! Cargo's further tools, at the versions this project is checked with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{command, paths};
use crate::progress;

/// The newest release when this was written; it builds with the workspace's `rust-version`.
const CARGO_DENY: &str = "0.20.2";

/// cargo-deny, installed into the cache unless it is there or on the PATH.
pub fn cargo_deny() -> Result<PathBuf> {
    tool("cargo-deny", CARGO_DENY, &["--version"])
}

/// rustfmt and clippy, which a minimal rustup leaves out.
pub fn components() -> Result<()> {
    for name in ["rustfmt", "clippy"] {
        let subcommand = if name == "rustfmt" { "fmt" } else { name };
        let there = command::cargo().args([subcommand, "--version"]).output();
        if !there.is_ok_and(|output| output.status.success()) {
            let mut add = command::clean("rustup");
            progress::run(&format!("installing {name}"), add.args(["component", "add", name]))?;
        }
    }
    Ok(())
}

/// A tool of exactly this version, from the PATH or the cache, else installed into the cache.
pub fn tool(name: &str, version: &str, ask_version: &[&str]) -> Result<PathBuf> {
    let root = paths::cache_subdir("tools")?;
    let cached = root.join("bin").join(name);
    for candidate in [Path::new(name), &cached] {
        if version_of(candidate, ask_version).is_some_and(|found| found == version) {
            return Ok(candidate.to_path_buf());
        }
    }
    let mut install = command::cargo();
    // Unoptimised: it is used for seconds, and compiling takes minutes.
    install.args(["install", "--locked", "--debug", "--force", "--root"]).arg(&root);
    install.arg(name).args(["--version", version]).env_remove("CARGO_TARGET_DIR");
    progress::run(&format!("installing {name} {version}"), &mut install)
        .with_context(|| format!("cannot install {name}"))?;
    Ok(cached)
}

fn version_of(program: &Path, ask_version: &[&str]) -> Option<String> {
    let output = Command::new(program).args(ask_version).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1).map(str::to_owned)
}
