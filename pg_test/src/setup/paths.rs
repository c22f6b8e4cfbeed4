//! Where the checkout is, and where things outside it are kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::privilege;

/// The root of the checkout this binary was built from.
pub fn repository() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_path_buf()
}

/// The directory for built servers, tools and logs, made if need be.
///
/// Root's home is closed to the user the servers run as, so root's cache is in `/var/cache`;
/// everyone else's is in `$XDG_CACHE_HOME` or `~/.cache`.
pub fn cache_dir() -> Result<PathBuf> {
    let base = if privilege::is_root() {
        PathBuf::from("/var/cache")
    } else if let Some(dir) = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        PathBuf::from(dir)
    } else {
        let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
        PathBuf::from(home).join(".cache")
    };
    subdirectory(&base, "pg_steward")
}

/// A directory inside the cache, made if need be.
pub fn cache_subdir(name: &str) -> Result<PathBuf> {
    subdirectory(&cache_dir()?, name)
}

/// A lock that all our commands on this cache take by that name; dropping the file lets it go.
pub(super) fn lock(name: &str) -> Result<File> {
    let path = cache_dir()?.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

fn subdirectory(base: &Path, name: &str) -> Result<PathBuf> {
    let dir = base.join(name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}
