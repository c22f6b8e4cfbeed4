//! pg_partman, the real one, for the tests of taking its sets over: 4.7 from the package of Debian 12,
//! 5.x from a newer suite's source package where there is no package for a server.

use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::postgres::Installation;
use super::{debian_source, packages, paths, private_server};
use crate::progress;

/// The suites whose source package is of version 5, in the order they are tried.
const SUITES: [&str; 3] = ["sid", "forky", "trixie"];

/// Installs it into a server of ours that has none.
pub fn provide(server: &Installation) -> Result<()> {
    let _lock = paths::lock("pg_partman")?;
    if is_installed(server) {
        return Ok(());
    }
    // Debian's package is for Debian's own server.
    if private_server::is_copy(server) {
        let package = format!("postgresql-{}-partman", server.major);
        packages::refresh_lists()?;
        if packages::has_candidate(&package) {
            let work = work_directory()?;
            private_server::add(server, &packages::unpack(&package, work.path())?)?;
        }
    }
    if !is_installed(server) {
        build_into(server)?;
    }
    ensure!(is_installed(server), "pg_partman is not where PostgreSQL {} looks", server.version);
    Ok(())
}

fn is_installed(server: &Installation) -> bool {
    server.sharedir.join("extension/pg_partman.control").is_file()
}

/// SQL alone, without the background worker: nothing is compiled.
fn build_into(server: &Installation) -> Result<()> {
    packages::ensure(&[
        vec!["debian-archive-keyring".to_owned()],
        vec!["build-essential".to_owned()],
    ])?;
    let work = work_directory()?;
    let tarball = debian_source::download("pg-partman", &SUITES, work.path())?;
    let version = debian_source::version_of(&tarball)?;
    let source = debian_source::unpack(&tarball, &work.path().join("source"))?;
    let mut make = Command::new("make");
    make.arg("--silent").arg("NO_BGW=1").arg(format!("PG_CONFIG={}", server.pg_config.display()));
    progress::run(
        &format!("installing pg_partman {version} into PostgreSQL {}", server.version),
        make.arg("install").current_dir(&source),
    )?;
    Ok(())
}

fn work_directory() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("build-").tempdir_in(paths::cache_dir()?)?)
}
