//! One `initdb` a process and installation; every cluster starts from a copy of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use super::warden::Warden;
use crate::setup::Installation;
use crate::setup::privilege::{SERVER_ACCOUNT, as_server_account, is_root};

/// A data directory that no server has run in yet.
struct Template {
    dir: PathBuf,
    _warden: Warden,
}

/// A fresh directory under /tmp that belongs to the servers' account.
///
/// /tmp and not `$TMPDIR`: a Unix socket's path may be 107 bytes long.
pub fn server_directory() -> Result<PathBuf> {
    let dir = tempfile::Builder::new().prefix("pgs-").tempdir_in("/tmp")?.keep();
    if is_root() {
        run(Command::new("chown").arg(format!("{SERVER_ACCOUNT}:")).arg(&dir))?;
    }
    Ok(dir)
}

/// Fills `data` with a freshly initialised data directory.
pub(super) fn copy_to(installation: &Installation, data: &Path) -> Result<()> {
    static TEMPLATES: OnceLock<Mutex<HashMap<PathBuf, Template>>> = OnceLock::new();
    let mut templates =
        TEMPLATES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if !templates.contains_key(&installation.bindir) {
        templates.insert(installation.bindir.clone(), initdb(installation)?);
    }
    let source = templates[&installation.bindir].dir.join("data");
    drop(templates);
    run(as_server_account("cp").args(["-a", "--reflink=auto"]).arg(source).arg(data))
}

fn initdb(installation: &Installation) -> Result<Template> {
    let dir = server_directory()?;
    let warden = Warden::watch(&dir)?;
    run(as_server_account(installation.program("initdb"))
        .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"])
        .args(["--locale=C", "--no-instructions", "--pgdata"])
        .arg(dir.join("data")))?;
    Ok(Template { dir, _warden: warden })
}

/// Runs a short command whose output matters only if it fails.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let program = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!said.trim().is_empty(), "{program} failed: {}", output.status);
        bail!("{program} failed: {}", said.trim());
    }
    Ok(())
}
