//! Debian packages: which are missing, and installing them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::privilege::{Privilege, as_root, is_root, privilege};
use crate::progress;

/// A package that is needed, with others that would do as well; the last one is installed.
pub type Need = Vec<String>;

/// What building the extension and running it takes, besides a server.
pub fn for_the_extension() -> Vec<Need> {
    let mut needs: Vec<Need> = [
        &["build-essential"][..],
        &["pkgconf", "pkg-config"],
        &["clang-*", "clang"],
        &["libclang-*-dev", "libclang-dev"],
        &["libssl-dev"],
        &["ca-certificates"],
        &["xz-utils"],
    ]
    .iter()
    .map(|names| names.iter().map(|&name| name.to_owned()).collect())
    .collect();
    if is_root() {
        // cargo pgrx test runs its server as another user through sudo.
        needs.push(vec!["sudo".to_owned()]);
    }
    needs
}

/// What building a server from its source takes.
pub fn for_a_server_build() -> Vec<Need> {
    ["bison", "flex", "perl", "libreadline-dev", "zlib1g-dev", "libicu-dev", "libssl-dev"]
        .iter()
        .chain(&["liblz4-dev", "libzstd-dev", "build-essential", "pkg-config", "bzip2"])
        // apt-get verifies what it downloads with these keys.
        .chain(&["debian-archive-keyring", "tzdata"])
        .map(|&name| vec![name.to_owned()])
        .collect()
}

/// The server's packages of a major.
pub fn for_a_packaged_server(major: u32) -> Vec<Need> {
    vec![vec![format!("postgresql-{major}")], vec![format!("postgresql-server-dev-{major}")]]
}

/// Installs what is missing; without root's rights says what that is and stops.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let mut missing: Vec<&str> = needs
        .iter()
        .filter(|need| !need.iter().any(|pattern| is_installed(pattern)))
        .filter_map(|need| need.last().map(String::as_str))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if privilege() == Privilege::None {
        bail!(
            "these Debian packages are missing: {names}\n\
             Neither root nor sudo is at hand to install them. Have someone run\n    \
             apt-get install {names}\nand try again."
        );
    }
    refresh_lists()?;
    let mut install = as_root("env");
    install.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes"]);
    install.args(["--quiet", "--no-install-recommends"]).args(&missing);
    progress::run(&format!("installing {names}"), &mut install)?;
    Ok(())
}

/// Downloads a package and unpacks it below `directory`, which is empty; nothing is installed.
pub(super) fn unpack(package: &str, directory: &Path) -> Result<PathBuf> {
    progress::run(
        &format!("downloading {package}"),
        Command::new("apt-get")
            .args(["-o", "APT::Sandbox::User=root", "download", "--quiet", package])
            .current_dir(directory),
    )?;
    let mut entries = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let archive = entries.next().with_context(|| format!("apt has not downloaded {package}"))?;
    let tree = directory.join("tree");
    progress::run(
        &format!("unpacking {package}"),
        Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&tree),
    )?;
    Ok(tree)
}

/// Whether apt knows a version of the package that it could install.
pub fn has_candidate(package: &str) -> bool {
    let output = Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C").output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().any(|line| {
            line.trim().strip_prefix("Candidate:").is_some_and(|rest| rest.trim() != "(none)")
        })
    })
}

/// Has apt read the mirrors' lists, once a process; does nothing without root's rights.
pub fn refresh_lists() -> Result<()> {
    static DONE: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    if DONE.get().is_some() || privilege() == Privilege::None {
        return Ok(());
    }
    let mut update = as_root("apt-get");
    update.args(["update", "--quiet"]);
    let outcome = progress::run_logged("reading apt's package lists", &mut update)?;
    if !outcome.success {
        // A third party's mirror may be down; apt works with the lists it has.
        eprintln!("apt-get update had trouble, going on ({})", outcome.log.display());
    }
    let _ = DONE.set(());
    Ok(())
}

/// Whether a package that matches the pattern is installed.
fn is_installed(pattern: &str) -> bool {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n", pattern])
        .output()
        .context("cannot run dpkg-query");
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().filter_map(|line| line.strip_suffix(" installed"));
        // `clang-*` would match clang-format as well: only a number may stand for the star.
        names.into_iter().any(|name| match pattern.split_once('*') {
            None => true,
            Some((before, after)) => name
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())),
        })
    })
}
