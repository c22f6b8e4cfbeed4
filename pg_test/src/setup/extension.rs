//! Building the extension and installing it into a server.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::pgrx::Pgrx;
use super::postgres::Installation;
use super::{files, paths};
use crate::progress::{self, Logged};

/// How the extension is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to compile, with debug assertions: for tests.
    Dev,
    /// As users run it: for the demo and measurements.
    Release,
}

/// Builds the extension and installs it into a server of ours.
///
/// Its files arrive by rename: servers that another command has started there keep those they have.
pub fn install(pgrx: &Pgrx, server: &Installation, profile: Profile) -> Result<Logged> {
    let stage = tempfile::Builder::new().prefix("build-").tempdir_in(paths::cache_dir()?)?;
    let mut command = pgrx.cargo_pgrx();
    command.args(["package", "--package", "pg_steward", "--no-default-features", "--features"]);
    command.arg(server.feature()).arg("--pg-config").arg(&server.pg_config);
    command.arg("--out-dir").arg(stage.path());
    if profile == Profile::Dev {
        command.arg("--debug");
    }
    let label = format!("building pg_steward for PostgreSQL {}", server.version);
    let outcome = progress::run(&label, &mut command)?;

    // The files of two builds must not mix.
    let _lock = paths::lock("extension")?;
    for directory in [server.pkglibdir.clone(), server.sharedir.join("extension")] {
        place_all(stage.path(), &directory)?;
    }
    Ok(outcome)
}

/// cargo-pgrx has put what is to be in `directory` into the directory of that path below the stage.
fn place_all(stage: &Path, directory: &Path) -> Result<()> {
    let staged = stage.join(directory.strip_prefix("/").unwrap_or(directory));
    let entries =
        fs::read_dir(&staged).with_context(|| format!("cannot read {}", staged.display()))?;
    for entry in entries {
        let entry = entry?;
        files::place(&entry.path(), &directory.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_staged_replaces_by_rename_what_a_server_has_open() {
        let dir = tempfile::tempdir().unwrap();
        let (stage, pkglibdir) = (dir.path().join("stage"), dir.path().join("lib"));
        let staged = stage.join(pkglibdir.strip_prefix("/").unwrap());
        fs::create_dir_all(&staged).unwrap();
        fs::create_dir(&pkglibdir).unwrap();
        fs::write(staged.join("pg_steward.so"), "new").unwrap();
        fs::write(pkglibdir.join("pg_steward.so"), "old").unwrap();
        let mut held = File::open(pkglibdir.join("pg_steward.so")).unwrap();
        place_all(&stage, &pkglibdir).unwrap();
        let mut text = String::new();
        held.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old", "written in place");
        assert_eq!(fs::read_to_string(pkglibdir.join("pg_steward.so")).unwrap(), "new");
        assert!(
            place_all(&stage, &dir.path().join("share")).is_err(),
            "nothing staged, and no word"
        );
    }
}
