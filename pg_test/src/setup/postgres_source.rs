//! A major that the machine's Debian has no package of, built from a newer suite's source package.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::postgres::Installation;
use super::{debian_source, paths};
use crate::progress;

/// Marks a finished build: an interrupted one has none and is built again.
const FINISHED: &str = ".complete";

/// The suites whose source package of a major may be found, in the order they are tried.
fn suites(major: u32) -> &'static [&'static str] {
    match major {
        17 => &["trixie"],
        18 => &["sid", "forky"],
        _ => &[],
    }
}

/// Whether some Debian suite has a source package of the major.
pub fn is_to_be_had(major: u32) -> bool {
    !suites(major).is_empty()
}

/// The newest finished build of a major in the cache.
pub fn find_built(major: u32) -> Option<Installation> {
    let prefix = format!("postgres-{major}.");
    let entries = fs::read_dir(paths::cache_dir().ok()?).ok()?;
    let mut builds: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.path().join(FINISHED).is_file())
        .filter_map(|entry| {
            let minor = entry.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok()?;
            Some((minor, entry.path().join("bin/pg_config")))
        })
        .collect();
    builds.sort();
    builds.iter().rev().find_map(|(_, path)| Installation::from_pg_config(path).ok())
}

/// Downloads, builds and installs a major into the cache; about five minutes on two cores.
pub fn build(major: u32) -> Result<Installation> {
    let cache = paths::cache_dir()?;
    let _lock = paths::lock("postgres")?;
    if let Some(found) = find_built(major) {
        return Ok(found); // another process built it while we waited
    }

    let work = tempfile::Builder::new().prefix("build-").tempdir_in(&cache)?;
    let package = format!("postgresql-{major}");
    let tarball = debian_source::download(&package, suites(major), work.path())?;
    let version = debian_source::version_of(&tarball)?;
    let label = |step: &str| format!("PostgreSQL {version}: {step}");
    let source = debian_source::unpack(&tarball, &work.path().join("source"))?;

    let prefix = cache.join(format!("postgres-{version}"));
    let mut configure = Command::new("./configure");
    configure.arg(format!("--prefix={}", prefix.display())).arg("--quiet");
    configure.args(["--with-openssl", "--with-lz4", "--with-zstd", "--with-icu"]);
    progress::run(&label("configure"), configure.current_dir(&source))?;
    let jobs = std::thread::available_parallelism().map_or(2, usize::from);
    let make = |step: &str, arguments: &[&str]| {
        let mut command = Command::new("make");
        command.arg("-s").args(arguments).current_dir(&source);
        progress::run(&label(step), &mut command)
    };
    let jobs = format!("-j{jobs}");
    make("compile", &[&jobs])?;
    make("compile contrib", &[&jobs, "-C", "contrib"])?;
    make("install", &["install"])?;
    make("install contrib", &["-C", "contrib", "install"])?;
    // The account the servers run as must be able to read it, whatever our umask.
    progress::run(&label("open"), Command::new("chmod").args(["-R", "a+rX"]).arg(&prefix))?;
    let installation = Installation::from_pg_config(&prefix.join("bin/pg_config"))?;
    ensure!(installation.major == major, "the source package holds {}", installation.version);
    File::create(prefix.join(FINISHED))?;
    Ok(installation)
}
