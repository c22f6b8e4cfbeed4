//! Servers of our own, in the cache: the machine's directories are read and never written.
//!
//! PostgreSQL is relocatable: a program finds its libraries and files by the path from where it was
//! compiled to be to where they were (`make_relative_path()`, src/port/path.c). Debian compiles for
//! `/usr/lib/postgresql/15/bin` and `/usr/share/postgresql/15`, so a copy that is laid out alike
//! below a directory of any name works, and its `pg_config` names the copy's own directories.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::files::{By, mirror};
use super::paths;
use super::postgres::Installation;
use crate::progress::Progress;

/// Below this the machine's packaged servers are.
const MACHINE: &str = "/usr";

/// What belongs to a server of a major, below [`MACHINE`] and below a copy of it.
fn directories(major: u32) -> [String; 3] {
    ["lib", "share", "include"].map(|kind| format!("{kind}/postgresql/{major}"))
}

/// Our copy of the machine's packaged server of a major, brought up to date, with the extensions
/// that are installed there. None: the machine has no such server.
pub(super) fn find_copy(major: u32) -> Result<Option<Installation>> {
    let program = format!("lib/postgresql/{major}/bin/pg_config");
    let Ok(machine) = Installation::from_pg_config(&Path::new(MACHINE).join(&program)) else {
        return Ok(None);
    };
    let root = paths::cache_dir()?.join(format!("server-{}", machine.release));
    bring(Path::new(MACHINE), &root, &directories(major), By::Copy, &machine.version)?;
    let copy = Installation::from_pg_config(&root.join(program))?;
    ensure_inside(&copy, &root)?;
    Ok(Some(copy))
}

/// Adds what a Debian package of an extension holds, unpacked in `tree`, to our copy of a server.
pub(super) fn add(server: &Installation, tree: &Path) -> Result<()> {
    let source = tree.join(MACHINE.trim_start_matches('/'));
    let mut wanted = directories(server.major).to_vec();
    wanted.retain(|directory| source.join(directory).is_dir());
    bring(&source, &root_of(server)?, &wanted, By::Copy, &server.version)
}

/// Whether a server is a copy of one of Debian's: then its packages of extensions fit.
pub(super) fn is_copy(server: &Installation) -> bool {
    server.pkglibdir.ends_with(format!("lib/postgresql/{}/lib", server.major))
}

/// A second tree of one of our servers, for the in-server tests alone: cargo-pgrx writes its files in
/// place (`sudo cp`), and ones that belong to no other test.
///
/// It is made of links to the first one's files, but for those of pg_steward.
pub(super) fn for_in_server_tests(server: &Installation) -> Result<Installation> {
    let root = root_of(server)?;
    let twin = twin_of(&root);
    bring(&root, &twin, &[String::new()], By::Link, &server.version)?;
    let program = server.pg_config.strip_prefix(&root)?;
    let found = Installation::from_pg_config(&twin.join(program))?;
    ensure_inside(&found, &twin)?;
    Ok(found)
}

/// Only one command at a time runs in-server tests on a server: until this is dropped, ours.
pub fn reserve_for_in_server_tests(server: &Installation) -> Result<File> {
    let twin = twin_of(&root_of(server)?);
    let name = twin.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let _progress = Progress::start("waiting for another command's in-server tests");
    paths::lock(&name)
}

fn twin_of(root: &Path) -> PathBuf {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    root.with_file_name(format!("in-server-{name}"))
}

/// The directory in the cache that a server of ours is all in.
fn root_of(server: &Installation) -> Result<PathBuf> {
    let cache = paths::cache_dir()?;
    let name = server.pg_config.strip_prefix(&cache).ok().and_then(|path| path.iter().next());
    let name = name.with_context(|| format!("{} is not ours", server.pg_config.display()))?;
    Ok(cache.join(name))
}

/// One command at a time; one that was interrupted is made good by the next.
fn bring(from: &Path, to: &Path, directories: &[String], by: By, version: &str) -> Result<()> {
    let _lock = paths::lock("servers")?;
    let progress = Progress::start(format!("copying PostgreSQL {version}"));
    for directory in directories {
        mirror(&from.join(directory), &to.join(directory), by)?;
    }
    progress.finish();
    Ok(())
}

/// An installation that names other directories than its own would have us write into those.
fn ensure_inside(found: &Installation, root: &Path) -> Result<()> {
    let root = fs::canonicalize(root)?;
    for directory in [&found.bindir, &found.pkglibdir, &found.sharedir, &found.includedir] {
        ensure!(
            directory.starts_with(&root),
            "PostgreSQL {} cannot be moved: in {} it still looks into {}",
            found.version,
            root.display(),
            directory.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::postgres::{self, SUPPORTED_MAJORS};

    /// `cargo verify` has seen to it that there is a server.
    fn servers() -> Vec<Installation> {
        let found = SUPPORTED_MAJORS.iter().filter_map(|&major| postgres::find(major).unwrap());
        let found: Vec<_> = found.collect();
        assert!(!found.is_empty(), "no PostgreSQL server is installed");
        found
    }

    #[test]
    fn no_server_that_commands_use_is_the_machines() {
        let cache = fs::canonicalize(paths::cache_dir().unwrap()).unwrap();
        for server in servers() {
            ensure_inside(&server, &cache).unwrap();
        }
    }

    #[test]
    fn in_server_tests_write_where_no_other_test_reads() {
        for server in servers() {
            let twin = for_in_server_tests(&server).unwrap();
            assert_eq!(twin.version, server.version);
            assert_ne!(twin.pkglibdir, server.pkglibdir);
            assert_ne!(twin.sharedir, server.sharedir);
            let file = |of: &Installation| fs::metadata(of.pkglibdir.join("pg_steward.so")).ok();
            if let (Some(one), Some(other)) = (file(&twin), file(&server)) {
                use std::os::unix::fs::MetadataExt as _;
                assert_ne!(one.ino(), other.ino(), "one library for both");
            }
        }
    }
}
