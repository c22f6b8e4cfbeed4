//! PostgreSQL 16, which no suite of Debian's has: a package of PyPI, `pgserver`, holds server, headers and
//! `pg_config` of it, built to be moved. Without contrib, ICU, TLS, lz4 and zstd.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::packages::Need;
use super::paths;
use super::postgres::Installation;
use crate::progress;

/// The only major that there is a package of.
const MAJOR: u32 = 16;

/// Package and version. It holds PostgreSQL 16.2, for Linux on x86-64.
pub const PACKAGE: &str = "pgserver==0.1.4";

/// Of the one file that is downloaded, for CPython 3.11: what it holds for Python is of no use to us, and what
/// it holds else is the same for each. pip compares.
const SHA256: &str = "d595789b47624a3d963aa9aa6359da9be31beb7e61f1a45541953242068b8813";

/// The directory in the cache; below it all is laid out as in the package, for programs find libraries by that.
const DIRECTORY: &str = "wheel-16.2";

/// Marks a finished installation: an interrupted one has none and is done again.
const FINISHED: &str = ".complete";

/// Whether there is a package of the major for this machine.
pub(super) fn is_to_be_had(major: u32) -> bool {
    major == MAJOR && cfg!(all(target_os = "linux", target_arch = "x86_64"))
}

/// What downloading it takes, unless it is there in another way.
pub(super) fn needs() -> Vec<Need> {
    let pip = pip().arg("--version").output();
    match pip.is_ok_and(|output| output.status.success()) {
        true => Vec::new(),
        false => vec![vec!["python3-pip".to_owned()]],
    }
}

/// The server in the cache, if it is of that major and there.
pub(super) fn find(major: u32) -> Option<Installation> {
    let root = paths::cache_dir().ok()?.join(DIRECTORY);
    if major != MAJOR || !root.join(FINISHED).is_file() {
        return None;
    }
    Installation::from_pg_config(&root.join("pgserver/pginstall/bin/pg_config")).ok()
}

/// Whether a server is this one.
pub fn is_one(server: &Installation) -> bool {
    paths::cache_dir().is_ok_and(|cache| server.pg_config.starts_with(cache.join(DIRECTORY)))
}

/// Downloads the package and puts it into the cache.
pub(super) fn install() -> Result<()> {
    let cache = paths::cache_dir()?;
    let _lock = paths::lock("postgres")?;
    if find(MAJOR).is_some() {
        return Ok(()); // another process did it while we waited
    }
    let work = tempfile::Builder::new().prefix("build-").tempdir_in(&cache)?;
    let wanted = work.path().join("requirements.txt");
    fs::write(&wanted, format!("{PACKAGE} --hash=sha256:{SHA256}\n"))?;
    let unpacked = work.path().join("wheel");
    let mut install = pip();
    install.args(["install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]);
    // Whatever Python this machine has.
    install.args(["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]);
    install.args(["--platform=manylinux2014_x86_64", "--no-deps", "--no-compile"]);
    install
        .arg("--require-hashes")
        .arg("--target")
        .arg(&unpacked)
        .arg("--requirement")
        .arg(&wanted);
    progress::run(&format!("downloading PostgreSQL {MAJOR} ({PACKAGE})"), &mut install)?;

    // The account the servers run as must be able to read it, whatever our umask.
    let mut open = Command::new("chmod");
    progress::run("opening it to all accounts", open.args(["-R", "a+rX"]).arg(&unpacked))?;

    let root = cache.join(DIRECTORY);
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    fs::rename(&unpacked, &root)
        .with_context(|| format!("cannot put {} in place", root.display()))?;
    File::create(root.join(FINISHED))?;
    let found = find(MAJOR).context("the package holds no server that runs here")?;
    ensure!(found.major == MAJOR, "the package holds {}", found.version);
    Ok(())
}

fn pip() -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "pip"]);
    command
}
